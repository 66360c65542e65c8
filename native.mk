# Targets that test the C++ in addition to Python's tests: included by the Makefile, explained in docs/fuzzing.md.

# Debian's own packages, besides a compiler.
NATIVE_PACKAGES := cmake ninja-build doctest-dev clang-14 clang-tidy-14 libclang-rt-14-dev llvm-14
NATIVE := cmake -S . -G Ninja -DMIDIGPT_PYTHON=OFF -DMIDIGPT_WERROR=ON
CLANG := -DCMAKE_CXX_COMPILER=clang++-14
FUZZ_TARGETS := reader differential encoder_config encode_batch decode round_trip generation splice table_grammar
FUZZ_RUNS ?= -1
FUZZ_SECONDS ?= $(if $(filter -1,$(FUZZ_RUNS)),60,0)

# Less what is marked unsanitized; pyproject.toml says why.
SANITIZED_TESTS := tests/score tests/encoder tests/data_stage tests/corpus tests/packed tests/inference tests/attacks
SANITIZERS := address,undefined,float-cast-overflow
SANITIZED := build/sanitize
SANITIZED_BIN := $(SANITIZED)/venv/bin
RUNTIMES = $(foreach name,libasan.so libubsan.so libstdc++.so.6,$(shell gcc -print-file-name=$(name)))

.PHONY: native-tools browser fluidsynth native-test coverage tidy sanitize sanitize-native sanitize-python fuzz fuzz-build $(FUZZ_TARGETS:%=fuzz-%)

native-tools: PACKAGES := $(NATIVE_PACKAGES)
# What shows the studio in tests/studio.
browser: PACKAGES := chromium
# What plays music in tests/audio.
fluidsynth: PACKAGES := libfluidsynth3
native-tools browser fluidsynth:
	@missing=$$(for name in $(PACKAGES); do dpkg -s $$name >/dev/null 2>&1 || echo $$name; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "install first:" $$missing; exit 1; fi; \
	apt-get update --quiet && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $$missing

# The C++ tests; every seed of the fuzzers and everything that they found, replayed.
native-test: native-tools
	$(NATIVE) -B build/native -DMIDIGPT_TESTS=ON -DCMAKE_BUILD_TYPE=Debug >/dev/null
	cmake --build build/native
	build/native/tests/native/native_tests --minimal
	PYTHON=$(PYTHON) tests/fuzz/replay.sh build/native

coverage: native-tools
	$(NATIVE) -B build/coverage $(CLANG) -DMIDIGPT_TESTS=ON -DCMAKE_BUILD_TYPE=Debug \
	  -DCMAKE_CXX_FLAGS="-fprofile-instr-generate -fcoverage-mapping" >/dev/null
	cmake --build build/coverage
	PYTHON=$(PYTHON) tests/native/coverage.sh build/coverage

# What .clang-tidy asks for, over csrc and the fuzzing targets; the bindings need the environment's Python and pybind11.
tidy: native-tools $(READY)
	cmake -S . -G Ninja -B build/tidy $(CLANG) -DMIDIGPT_TESTS=ON -DMIDIGPT_FUZZ=ON -DCMAKE_EXPORT_COMPILE_COMMANDS=ON \
	  -DPython_EXECUTABLE=$(abspath $(BIN))/python -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)" >/dev/null
	find csrc tests/fuzz -name '*.cpp' | sort | xargs -P 2 -n 1 clang-tidy-14 -p build/tidy --quiet

# The native tests, and the Python tests that reach native code, with the sanitizers watching and the standard library
# checking its preconditions. Tests ask for more memory than there is, and are told so by a null pointer.
sanitize: sanitize-native sanitize-python
sanitize-native sanitize-python: export UBSAN_OPTIONS := print_stacktrace=1

sanitize-native: native-tools
	$(NATIVE) -B $(SANITIZED)/native -DMIDIGPT_TESTS=ON -DCMAKE_BUILD_TYPE=Debug -DMIDIGPT_SANITIZE=$(SANITIZERS) \
	  -DCMAKE_CXX_FLAGS=-D_GLIBCXX_ASSERTIONS >/dev/null
	cmake --build $(SANITIZED)/native
	ASAN_OPTIONS=allocator_may_return_null=1 $(SANITIZED)/native/tests/native/native_tests --minimal
	PYTHON=$(PYTHON) ASAN_OPTIONS=allocator_may_return_null=1 tests/fuzz/replay.sh $(SANITIZED)/native

# An environment that sees the packages of the other one, with extension modules of its own. Python is not built for
# sanitizers: their runtime is loaded before it, libstdc++ with it (else exceptions are not followed), and it leaks.
sanitize-python: $(READY)
	test -x $(SANITIZED_BIN)/python || $(PYTHON) -m venv $(SANITIZED)/venv
	$(BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))' \
	  >"$$($(SANITIZED_BIN)/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/packages.pth"
	$(SANITIZED_BIN)/pip install --quiet --no-deps --editable . --config-settings=build-dir=$(SANITIZED)/python \
	  --config-settings=cmake.build-type=RelWithDebInfo --config-settings=cmake.define.MIDIGPT_SANITIZE=$(SANITIZERS) \
	  --config-settings=cmake.define.CMAKE_CXX_FLAGS=-D_GLIBCXX_ASSERTIONS
	LD_PRELOAD="$(RUNTIMES)" ASAN_OPTIONS=allocator_may_return_null=1:detect_leaks=0 \
	  $(SANITIZED_BIN)/python -m pytest -n 2 --dist worksteal -m 'not slow and not unsanitized' $(SANITIZED_TESTS)

# Each target for FUZZ_SECONDS, or for FUZZ_RUNS executions; fuzz-reader is one of them.
fuzz: $(FUZZ_TARGETS:%=fuzz-%)

fuzz-build: native-tools
	$(NATIVE) -B build/fuzz $(CLANG) -DMIDIGPT_FUZZ=ON \
	  -DMIDIGPT_SANITIZE=$(SANITIZERS) >/dev/null
	cmake --build build/fuzz
	$(PYTHON) tests/fuzz/seeds.py build/fuzz/seeds

$(FUZZ_TARGETS:%=fuzz-%): fuzz-%: fuzz-build
	@tests/fuzz/run.sh build/fuzz $* $(FUZZ_SECONDS) $(FUZZ_RUNS)
