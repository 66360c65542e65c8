#!/usr/bin/env bash
# Runs every target over its seeds and what fuzzing has found, without a fuzzer: replay.sh BUILD. PYTHON: which python3.
set -euo pipefail
build=$1
here=$(dirname "$0")
"${PYTHON:-python3}" "$here/seeds.py" "$build/seeds"
for seeds in "$build"/seeds/*; do
  target=$(basename "$seeds")
  inputs=("$seeds")
  if [ -d "$here/regressions/$target" ]; then inputs+=("$here/regressions/$target"); fi
  "$build/tests/fuzz/fuzz_replay" "$target" "${inputs[@]}"
done
