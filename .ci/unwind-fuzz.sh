#!/usr/bin/env bash
# Unwind information of random functions, at every instruction: ours, pe-unwind-info, gimli and an emulator agree.
#
# SISAL_FUZZ_SEED repeats a run, whose seed it prints.
set -euo pipefail
cd "$(dirname "$0")/.."

floor=1000000
log=$(mktemp)
trap 'rm -f "$log"' EXIT
SISAL_FUZZ_POINTS=${SISAL_FUZZ_POINTS:-$floor} cargo test --quiet --release -p switch-asm --features unwind-info --test unwind_fuzz -- \
    --nocapture --test-threads=1 2>&1 | tee "$log"

points=$(sed -nE 's/^.*unwind fuzz: seed [0-9]+, .* threads: ([0-9]+) points, 0 failures;.*$/\1/p' "$log")
mutants=$(grep -cE '^  (Windows|DWARF): .* points wrong in ' "$log" || true)
echo "unwind fuzz: ${points:-0} points without a failure, $mutants mutants looked at"
[ "${points:-0}" -ge "$floor" ] || { echo "unwind fuzz: fewer than $floor points"; exit 1; }
[ "$mutants" -ge 35 ] || { echo "unwind fuzz: fewer than 35 mutants"; exit 1; }
