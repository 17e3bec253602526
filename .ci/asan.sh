#!/usr/bin/env bash
# switch-asm and the runtime under AddressSanitizer: their suites, with every switch announced to it, and bugs that it must find.
#
# Needs a nightly toolchain. The standard library is the prebuilt one; our own code and the tests are instrumented. Prints
# `skipped: <why>` and succeeds where there is no nightly.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=.ci/lib.sh
. .ci/lib.sh

# How many tests there have to be, of both runs together: less means that some do not run any more.
floor=250
# Counts of mappings, of which the sanitizer has some itself, and frames of a size that it changes.
skip=(an_older_kernel_runs_out_of_mappings ten_thousand_stacks_in_a_few_mappings recursion_close_to_the_limit)
# Tests of `traps` that leave a call on another stack by a jump, of which the sanitizer is not told. The tests of overflows do the same
# with a real handler, and run.
skip+=(it_leaves_with_a_value it_leaves_with_a_panic a_walk_from_there_finds_the_parent large_and_aligned_values a_scoped_one the_primitive)
# Tests that look where locals are: not on the stack, if returns are watched.
skip_watched=(it_runs_there_and_returns_here the_stack_of_the_parent saved_registers_of_a_stack_that_waits)
target=x86_64-unknown-linux-gnu

if ! cargo +nightly --version >/dev/null 2>&1 && ! rustup --quiet toolchain install nightly --profile minimal; then
    echo "skipped: no nightly toolchain can be had"
    exit 0
fi
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/asan
export RUSTFLAGS="-Zsanitizer=address"
unset CARGO_ENCODED_RUSTFLAGS
# A fault of the program stays a signal, as the tests of guards expect. Leaks are looked for on the stacks that the thread was
# created with, which is not where coroutines keep their pointers.
options=handle_segv=0:handle_sigbus=0:handle_sigill=0:detect_leaks=0
export SWITCH_ASM_ASAN=1

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Names to skip, as arguments.
run() {
    local flags=()
    for name in "$@"; do flags+=(--skip "$name"); done
    cargo +nightly test -p switch-asm --features sanitizer --lib --tests --target $target --no-fail-fast -- "${flags[@]}" 2>&1 |
        tee -a "$log"
}
echo "== asan: memory, and what switches tell"
ASAN_OPTIONS=$options:detect_stack_use_after_return=0 run "${skip[@]}"
echo "== asan: and locals after a return"
ASAN_OPTIONS=$options:detect_stack_use_after_return=1 run "${skip[@]}" "${skip_watched[@]}"

passed=$(grep -o '^test result: ok. [0-9]* passed' "$log" | awk '{ sum += $4 } END { print sum + 0 }')
echo "asan: $passed tests passed"
if [ "$passed" -lt "$floor" ]; then
    echo "asan: there should be at least $floor"
    exit 1
fi
if grep -q 'skipped: built without AddressSanitizer' "$log"; then
    echo "asan: built without AddressSanitizer"
    exit 1
fi

# --- The runtime: its behaviour tests, whose switches are announced by the same code.

# Those in which memory changes hands or comes to its end. Not the rest: they are about time, numbers and limits, place
# locals themselves, fault on purpose, or do the same more often; and each is a program to be built.
files=(cancel cancel_moved catch_loops join join_ends join_future left_waits locals moved_coroutine nested_waits net_cancel net_clones
    net_echo on_switch park run_and_unblock sanitizer scope scope_cancel scope_shutdown shield shutdown shutdown_drops shutdown_waits
    spans spawn_local thread_states timeout unwind_waits wakers wakes
    # Waits whose places lie in the frames of those who wait, and messages that go from one to the other.
    sync_channel_stress sync_condvar sync_misbehaved sync_mpmc sync_mpmc_streams sync_mpsc sync_mpsc_waits sync_mutex sync_once sync_oneshot
    sync_properties sync_rwlock sync_semaphore
    # Buffers that go to other threads and come back, or do not.
    fs_waits io_blocking io_copy io_nonblocking io_nonblocking_random io_nonblocking_seek io_stdio net_udp net_timeouts_left net_unix net_waits net_worker_stack
    process_waits)
skip_runtime=(
    # Counts allocations, of which the sanitizer keeps what is freed.
    wakers_leak_nothing
    # Counts mappings, of which the sanitizer has some itself.
    runtimes_leave_nothing_behind
    # Looks where locals are: not on the stack, if returns are watched.
    fibers_that_never_wait_share_one_stack named_children_with_stacks_of_their_own the_builders_settings_hold
    # Wants more of the address space than is left.
    a_local_fiber_without_a_stack_is_dropped_on_its_worker
)
log_runtime=$(mktemp)
trap 'rm -f "$log" "$log_runtime"' EXIT
tests=()
for name in "${files[@]}"; do tests+=(--test "$name"); done
flags=()
for name in "${skip_runtime[@]}"; do flags+=(--skip "$name"); done
echo "== asan: the runtime"
export SISAL_ASAN=1 SISAL_TEST_WATCHDOG=300
# Locals stay on the stack: by their addresses an unwind tells where it has to go (S6).
ASAN_OPTIONS=$options:detect_stack_use_after_return=0 timeout 3000 \
    cargo +nightly test -p sisal --features sanitizer "${tests[@]}" --target $target --no-fail-fast -- "${flags[@]}" 2>&1 |
    tee "$log_runtime" | grep -vE '^test .* \.\.\. ok$|^ +(Compiling|Downloaded|Downloading) '
count_tests "$log_runtime" "$FLOOR_ASAN_RUNTIME" "asan: the runtime"

# --- Valgrind, which is told about stacks where they are mapped.
if ! command -v valgrind >/dev/null; then
    echo "skipped: no valgrind"
    exit 0
fi
unset RUSTFLAGS
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR%/asan}
echo "== valgrind"
cargo test --quiet -p switch-asm --test nesting --test dropping --test values_cross --test other_stacks --no-run
CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_RUNNER="valgrind --error-exitcode=9" \
    cargo test -p switch-asm --test nesting --test dropping --test values_cross --test other_stacks -- --test-threads=1 2>&1 | tee "$log"
# It says so if a stack is not one that it knows.
if grep -q 'client switching stacks' "$log"; then
    echo "valgrind: a stack is not registered"
    exit 1
fi
