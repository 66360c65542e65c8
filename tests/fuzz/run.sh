#!/usr/bin/env bash
# Fuzzes one target: run.sh BUILD TARGET SECONDS RUNS. Regressions, seeds and what earlier runs found come first.
set -euo pipefail
build=$1 target=$2 seconds=$3 runs=$4
here=$(dirname "$0")
corpus=$build/corpus/$target
log=$build/$target.log
mkdir -p "$corpus"
inputs=("$corpus" "$build/seeds/$target")
if [ -d "$here/regressions/$target" ]; then inputs+=("$here/regressions/$target"); fi
# Short stacks and a small quarantine: what they would add to a report is not worth half of the executions.
export ASAN_OPTIONS=malloc_context_size=5:quarantine_size_mb=16
if ! "$build/tests/fuzz/fuzz_$target" -max_len=4096 -max_total_time="$seconds" -runs="$runs" -print_final_stats=1 \
  -artifact_prefix="$build/$target-" "${inputs[@]}" >"$log" 2>&1; then
  tail -n 60 "$log"
  echo "$target: failed. Once it is fixed, add the input ($build/$target-*) to $here/regressions/$target/."
  exit 1
fi
executions=$(sed -n 's/stat::number_of_executed_units: *//p' "$log")
edges=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
echo "$target: $executions executions, ${edges#cov: } edges, no finding"
