# What tests the C++ beside Python's tests: included by the Makefile, explained in docs/fuzzing.md.

# Debian's own packages, beside a compiler.
NATIVE_PACKAGES := cmake ninja-build doctest-dev clang-14 libclang-rt-14-dev llvm-14
NATIVE := cmake -S . -G Ninja -DMIDIGPT_PYTHON=OFF -DMIDIGPT_WERROR=ON
CLANG := -DCMAKE_CXX_COMPILER=clang++-14
FUZZ_TARGETS := reader differential encoder_config encode_batch decode round_trip
FUZZ_RUNS ?= -1
FUZZ_SECONDS ?= $(if $(filter -1,$(FUZZ_RUNS)),60,0)

.PHONY: native-tools native-test coverage fuzz fuzz-build $(FUZZ_TARGETS:%=fuzz-%)

native-tools:
	@missing=$$(for name in $(NATIVE_PACKAGES); do dpkg -s $$name >/dev/null 2>&1 || echo $$name; done); \
	if [ -z "$$missing" ]; then exit 0; fi; \
	if [ "$$(id -u)" != 0 ]; then echo "install first:" $$missing; exit 1; fi; \
	apt-get update --quiet && DEBIAN_FRONTEND=noninteractive apt-get install --quiet --yes --no-install-recommends $$missing

# The C++ tests, and every finding of the fuzzers replayed.
native-test: native-tools
	$(NATIVE) -B build/native -DMIDIGPT_TESTS=ON -DCMAKE_BUILD_TYPE=Debug >/dev/null
	cmake --build build/native
	build/native/tests/native/native_tests --minimal
	@for folder in csrc/fuzz/regressions/*; do build/native/csrc/fuzz/fuzz_replay $${folder##*/} $$folder || exit 1; done

coverage: native-tools
	$(NATIVE) -B build/coverage $(CLANG) -DMIDIGPT_TESTS=ON -DCMAKE_BUILD_TYPE=Debug \
	  -DCMAKE_CXX_FLAGS="-fprofile-instr-generate -fcoverage-mapping" >/dev/null
	cmake --build build/coverage
	$(PYTHON) csrc/fuzz/seeds.py build/coverage/seeds
	tests/native/coverage.sh build/coverage

# Each target for FUZZ_SECONDS, or for FUZZ_RUNS executions; fuzz-reader is one of them.
fuzz: $(FUZZ_TARGETS:%=fuzz-%)

fuzz-build: native-tools
	$(NATIVE) -B build/fuzz $(CLANG) -DMIDIGPT_FUZZ=ON \
	  -DMIDIGPT_SANITIZE=address,undefined,float-cast-overflow >/dev/null
	cmake --build build/fuzz
	$(PYTHON) csrc/fuzz/seeds.py build/fuzz/seeds

$(FUZZ_TARGETS:%=fuzz-%): fuzz-%: fuzz-build
	@csrc/fuzz/run.sh build/fuzz $* $(FUZZ_SECONDS) $(FUZZ_RUNS)
