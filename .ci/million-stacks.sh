#!/usr/bin/env bash
# A million guarded stacks in one process at default limits: fewer than 100
# mappings, and a write to any guard is reported with its stack.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

printf 'vm.max_map_count: '
cat /proc/sys/vm/max_map_count
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --release -p switch-asm --test slab_million -- --ignored --nocapture --test-threads=1 | tee "$log"
grep -q '^test result: ok. 1 passed' "$log" || { echo 'it did not run' >&2; exit 1; }
