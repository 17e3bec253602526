#!/usr/bin/env bash
# What runs without assembly, under Miri: the unit tests, and the loom models on threads, with several orders of these.
#
# Needs a nightly toolchain with Miri. Prints `skipped: <why>` and succeeds where that cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=.ci/lib.sh
. .ci/lib.sh

if ! rustup --quiet toolchain install nightly --profile minimal --component miri,rust-src >/dev/null 2>&1 &&
    ! cargo +nightly miri --version >/dev/null 2>&1; then
    echo "skipped: no nightly toolchain with Miri can be had: rustup component add --toolchain nightly miri rust-src"
    exit 0
fi
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target}/miri
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
# Clocks are the system's: some tests wait for a deadline. A waker or a record that leaks is an error.
export MIRIFLAGS="-Zmiri-disable-isolation"

# Miri has no unwinder to ask for frames nor a loader to ask for modules, and maps no stacks.
skip=(--skip may_unwind --skip runtime::tests --skip walk::tests)

log=$(mktemp)
trap 'rm -f "$log"' EXIT
timeout 1500 cargo +nightly miri test -p sisal --lib -- "${skip[@]}" 2>&1 | tee "$log"
count_tests "$log" "$FLOOR_MIRI" "miri"
for seed in 1 2; do
    # Other orders of the threads, and other values that a weak load may see.
    MIRIFLAGS="$MIRIFLAGS -Zmiri-seed=$seed" timeout 1500 cargo +nightly miri test -p sisal --lib --quiet -- "${skip[@]}" 2>&1 | tee "$log"
    count_tests "$log" "$FLOOR_MIRI" "miri, seed $seed"
done
