# What tests the C++ beside Python's tests: included by the Makefile, explained in docs/fuzzing.md.

# Debian's own packages, beside a compiler.
NATIVE_PACKAGES := cmake ninja-build clang-14 libclang-rt-14-dev
NATIVE := -G Ninja -DCMAKE_BUILD_TYPE=Release -DMIDIGPT_PYTHON=OFF -DMIDIGPT_WERROR=ON
FUZZ_TARGETS := reader differential encoder_config encode_batch decode round_trip
FUZZ_RUNS ?= -1
FUZZ_SECONDS ?= $(if $(filter -1,$(FUZZ_RUNS)),60,0)

.PHONY: native-tools fuzz fuzz-build $(FUZZ_TARGETS:%=fuzz-%)

native-tools:
	@missing=$$(for name in $(NATIVE_PACKAGES); do dpkg -s $$name >/dev/null 2>&1 || echo $$name; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "install first:" $$missing; exit 1; fi; \
	apt-get update --quiet && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $$missing

# Each target for FUZZ_SECONDS, or for FUZZ_RUNS executions; fuzz-reader is one of them.
fuzz: $(FUZZ_TARGETS:%=fuzz-%)

fuzz-build: native-tools
	cmake -S . -B build/fuzz $(NATIVE) -DCMAKE_CXX_COMPILER=clang++-14 -DMIDIGPT_FUZZ=ON \
	  -DMIDIGPT_SANITIZE=address,undefined,float-cast-overflow >/dev/null
	cmake --build build/fuzz
	$(PYTHON) csrc/fuzz/seeds.py build/fuzz/seeds

$(FUZZ_TARGETS:%=fuzz-%): fuzz-%: fuzz-build
	@csrc/fuzz/run.sh build/fuzz $* $(FUZZ_SECONDS) $(FUZZ_RUNS)
