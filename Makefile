# run · music · test · portable-test · site · examples · goldens · parity · bench · lint · slow · fuzz · baseline: each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
BASELINE ?= .venv-baseline
MUSIC21 ?= .venv-music21
WHEEL_VENV ?= .venv-wheel
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := runs/demo
MUSIC := runs/music
WRITE = $(BIN)/midigpt generate --checkpoint $(MUSIC)/model/model_final.pt --temperature 0.8 --seed 1 --overwrite
CXX_FILES = $(shell find csrc tests -name '*.cpp' -o -name '*.h')

.PHONY: run music control site wheels release versions wheel wheel-venv examples test portable-test goldens parity bench map plugin-pages lint slow soak clean setup baseline peer

setup: $(READY)

include native.mk

# torch first and pinned (constraints.txt says why); the editable build compiles the two extension modules.
$(READY): constraints.txt pyproject.toml CMakeLists.txt $(shell find csrc -name '*.cpp' -o -name '*.h' -o -name CMakeLists.txt)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BIN)/pip install --quiet --constraint constraints.txt --editable '.[test,dev,docs]'
	touch $(READY)

# Composes the data set, preprocesses it, trains a small model for two to three minutes, evaluates it, and has it work on a
# piece that it was not trained on: fill in two bars of the melody, and write four bars of sparse drums from left to right.
run: $(READY)
	$(BIN)/python docs/demo/compose.py $(DEMO)/data
	$(BIN)/midigpt preprocess --parquet '$(DEMO)/data/*/*.parquet' --encoder-config yellow
	rm -rf $(DEMO)/model
	$(BIN)/midigpt train --plugin gigamidi --config docs/demo/train_config.json \
	  --train-data $(DEMO)/data/train/*.parquet --eval-data $(DEMO)/data/validation/*.parquet --output-dir $(DEMO)/model
	$(BIN)/midigpt evaluate --checkpoint $(DEMO)/model/model_final.pt --data $(DEMO)/data/validation/*.parquet
	$(BIN)/python docs/demo/check.py $(DEMO)/model
	$(BIN)/midigpt curves $(DEMO)/model
	$(BIN)/midigpt report $(DEMO)/model
	$(BIN)/midigpt generate --checkpoint $(DEMO)/model/model_final.pt --input $(DEMO)/data/song.mid --track 0 --bars 4-5 \
	  --seed 6 --overwrite -o $(DEMO)/music
	$(BIN)/midigpt generate --checkpoint $(DEMO)/model/model_final.pt --input $(DEMO)/data/song.mid --track 3 --bars 0-3 \
	  --autoregressive --attribute note_density=2 --temperature 0.8 --seed 1 --overwrite -o $(DEMO)/drums
	@echo "The music is song-1.mid, its picture song-1.png, in $(DEMO)/music and $(DEMO)/drums: what was written is orange."

# Trains as `make run` does, but twice as long and to fill in whole tracks as well, and shows how well the model follows
# attribute controls.
control: $(READY)
	$(BIN)/python docs/demo/compose.py $(DEMO)/data
	$(BIN)/midigpt preprocess --parquet '$(DEMO)/data/*/*.parquet' --encoder-config yellow
	rm -rf $(DEMO)/longer
	$(BIN)/midigpt train --plugin gigamidi --config docs/demo/train_config.json \
	  --max-steps 4000 --infill-track-probability 0.4 \
	  --train-data $(DEMO)/data/train/*.parquet --eval-data $(DEMO)/data/validation/*.parquet --output-dir $(DEMO)/longer
	$(BIN)/python docs/demo/control.py $(DEMO)/longer/model_final.pt

# Trains for some 25 minutes on 329 of Bach's chorales (docs/chorales/SOURCES.md), measures the music of the model on the other 36,
# and has it work on five of these: fill in two bars of the alto, four of the bass, two of the melody, two of all voices, and go
# on for four bars.
music: $(READY) $(MUSIC21)/.ready
	$(MUSIC21)/bin/python docs/chorales/prepare.py $(MUSIC)/songs
	rm -rf $(MUSIC)/model
	$(BIN)/midigpt train $(MUSIC)/songs/train --eval-data $(MUSIC)/songs/held-out --config docs/chorales/train_config.json \
	  --output-dir $(MUSIC)/model
	$(BIN)/midigpt curves $(MUSIC)/model
	$(BIN)/midigpt evaluate $(MUSIC)/songs/held-out --checkpoint $(MUSIC)/model/model_final.pt \
	  --music --train-data $(MUSIC)/songs/train
	$(WRITE) --input $(MUSIC)/songs/held-out/bwv33.6.mid --track 1 --bars 4-5 -o $(MUSIC)/alto
	$(WRITE) --input $(MUSIC)/songs/held-out/bwv248.33-3.mid --track 3 --bars 4-7 -o $(MUSIC)/bass
	$(WRITE) --input $(MUSIC)/songs/held-out/bwv283.mid --track 0 --bars 4-5 -o $(MUSIC)/melody
	$(WRITE) --input $(MUSIC)/songs/held-out/bwv385.mid --track 0,1,2,3 --bars 6-7 -o $(MUSIC)/all-voices
	$(WRITE) --input $(MUSIC)/songs/held-out/bwv367.mid --continue 4 -o $(MUSIC)/continued

# music21 and its corpus, in an environment of its own.
$(MUSIC21)/.ready: constraints.txt
	test -x $(MUSIC21)/bin/python || $(PYTHON) -m venv $(MUSIC21)
	$(MUSIC21)/bin/pip install --quiet --upgrade pip
	$(MUSIC21)/bin/pip install --quiet --constraint constraints.txt music21
	touch $@

test: $(READY) native-test browser fluidsynth
	$(BIN)/python -m pytest -n 2 --dist worksteal

# Without anything that only some operating systems can do: corpora with a parser that crashes and hangs, locks, a run that is
# stopped and continued, workers of a run that was killed. tests/system has the rest: docs/systems.md.
PORTABLE_TESTS := tests/corpus/test_isolation.py tests/corpus/test_durability.py tests/training/keeping/test_resume.py \
  tests/training/processes/test_stopping.py
PORTABLE := test_a_hanging_row or test_batches_of or test_a_batch_after or (test_the_guilty_rows and guilty3) or \
  test_four_processes or test_a_dead_owners_lock or test_a_killed_build_leaves or test_two_runs_do_not_share or \
  (test_a_stopped_run_continues and accumulation) or test_a_run_killed_with_its_workers_busy
portable-test: $(READY)
	MIDIGPT_WITHOUT=all $(BIN)/python -m pytest -q -n 2 --dist worksteal -k '$(PORTABLE)' $(PORTABLE_TESTS)

# The core's wheel with what it needs, in an environment of its own that has nothing of the clone.
wheel-venv: $(WHEEL_VENV)/.ready
wheel: $(WHEEL_VENV)/wheel/.ready
$(WHEEL_VENV)/wheel/.ready: $(READY) $(shell find midigpt_core plugins -name '*.py' -o -name '*.txt' -o -name '*.js' -o -name '*.html')
	rm -rf $(WHEEL_VENV)
	$(BIN)/pip wheel --quiet --no-deps --wheel-dir $(WHEEL_VENV)/wheel .
	touch $@
$(WHEEL_VENV)/.ready: $(WHEEL_VENV)/wheel/.ready
	$(PYTHON) -m venv $(WHEEL_VENV)
	$(WHEEL_VENV)/bin/pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(WHEEL_VENV)/bin/pip install --quiet --constraint constraints.txt $(WHEEL_VENV)/wheel/*.whl
	touch $@

# Every distribution of examples/ in that environment, as wheels: listed, checked by the kit, and trained with for two steps.
examples: $(WHEEL_VENV)/.ready
	$(WHEEL_VENV)/bin/python examples/check_all.py --python $(WHEEL_VENV)/bin/python

# How many rows of each golden file agree, by preset, and which differ for which reason.
goldens: $(READY)
	$(BIN)/python -m pytest -q tests/score/test_goldens.py tests/encoder/test_golden_tokens.py \
	  tests/encoder/test_golden_synthetic.py tests/data_stage/test_windows_native.py::test_golden_windows

# Wheels of this machine for the Pythons that it has, repaired, checked and tried; and one with SSE2 only, tried.
wheels:
	.ci/wheels
	SSE2=1 .ci/wheels $(PYTHON)

# The files of a release from its tag and the wheels in build/wheels, with hashes and an SBOM: docs/releasing.md.
release: $(READY)
	$(BIN)/python .ci/release.py "$(TAG)"

# The fast tests with the lowest versions of the dependencies that pyproject.toml allows, and with the newest.
versions: $(READY)
	.ci/versions lowest
	.ci/versions newest

# The documentation site, build/site/index.html: a warning, such as a link to nowhere, is an error.
site: $(READY)
	$(BIN)/python -m sphinx --fail-on-warning --quiet --jobs auto -b html -c docs/site -d build/site-pages . build/site

# docs/map.md: a sentence for every source file.
map: $(READY)
	$(BIN)/python docs/map.py

# docs/plugins/: a page for every hook; examples/: a plugin for every kind. Both from the source.
plugin-pages: $(READY)
	$(BIN)/python docs/plugin_pages.py

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/clang-format --dry-run --Werror $(CXX_FILES)
	$(BIN)/mypy
	$(BIN)/lint-imports

# The long forms of the tests that CI runs short.
slow: $(READY)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m slow

# The name that `make slow` had before.
soak: slow

# The figures of bench/results, compared with the public package if `make baseline` was run before, and the plot of their growth.
bench: $(READY)
	$(BIN)/python -m bench.run
	$(BIN)/python -m bench.growth

# The same music through both programs; each reads the other's bundles; one bundle around all formats and back.
parity: $(READY) $(BASELINE)/.ready
	$(BIN)/python tests/parity/encoding.py --baseline $(BASELINE)/bin/python
	$(BIN)/python -m tests.parity.cross_loading $(BASELINE)/bin/python
	$(BIN)/python -m tests.parity.circle

# The public package midigpt, in an environment of its own: what `make bench` and `make parity` measure against.
baseline peer: $(BASELINE)/.ready
$(BASELINE)/.ready: constraints.txt
	test -x $(BASELINE)/bin/python || $(PYTHON) -m venv $(BASELINE)
	$(BASELINE)/bin/pip install --quiet --upgrade pip
	$(BASELINE)/bin/pip install --quiet --constraint constraints.txt "$$(grep '^torch==' constraints.txt)"
	$(BASELINE)/bin/pip install --quiet --constraint constraints.txt "midigpt[train,http]==0.4.2" transformers
	touch $@

clean:
	rm -rf build runs $(VENV) $(BASELINE) $(MUSIC21) $(WHEEL_VENV)
