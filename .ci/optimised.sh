#!/usr/bin/env bash
# The tests whose outcome hangs on what the optimiser does with frames: unwinding, overflows, walks.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=.ci/lib.sh
. .ci/lib.sh

log=$(mktemp)
trap 'rm -f "$log"' EXIT
programs=(backtraces cancel cancel_moved catch_loops left_waits moved_coroutine overflow overflow_kill scope_cancel shield spans stall
    sync_poison timeout unwind_waits)
{
    cargo test --release -p sisal --lib "${programs[@]/#/--test=}"
    # Whether a landing pad finds its registers.
    cargo test --release -p switch-asm --features unwind-info --test unwind_register --test unwind_drop_order --test unwind_stepped
    cargo test --release -p sisal-examples --test jit
} 2>&1 | tee "$log" | grep -vE '^test .* \.\.\. ok$|^ +(Compiling|Downloaded|Downloading) '
count_tests "$log" "$FLOOR_OPTIMISED" "optimised"
