#!/usr/bin/env bash
# Line coverage of csrc by the C++ tests and what replay.sh runs: coverage.sh BUILD. Fails where midi or score is below 95 %.
set -euo pipefail
build=$1
least=95
export LLVM_PROFILE_FILE=$build/%p.profraw
rm -f "$build"/*.profraw
"$build/tests/native/native_tests" --minimal
"$(dirname "$0")/../fuzz/replay.sh" "$build"
llvm-profdata-14 merge -sparse "$build"/*.profraw -o "$build/all.profdata"
failed=0
for folder in midi score sample vocab encode decode; do
  lines=$(llvm-cov-14 report "$build/tests/native/native_tests" -object "$build/tests/fuzz/fuzz_replay" \
    -instr-profile="$build/all.profdata" "csrc/$folder" 2>/dev/null | awk '/^TOTAL/ { print $10 }')
  echo "csrc/$folder: $lines of lines"
  case $folder in midi | score) awk -v is="${lines%\%}" -v least=$least 'BEGIN { exit is < least }' || failed=1 ;; esac
done
if [ $failed = 1 ]; then
  echo "csrc/midi and csrc/score must reach $least %. What is missing:"
  echo "llvm-cov-14 show $build/tests/native/native_tests -instr-profile=$build/all.profdata csrc/midi csrc/score"
  exit 1
fi
