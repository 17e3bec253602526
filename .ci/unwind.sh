#!/usr/bin/env bash
# Walks of the stack, from everywhere: with and without optimisation, with and without frame pointers.
#
# `single_step` walks at every instruction of every switch; `frame_pointers` has the chains, gdb and perf. Each build has its own target
# directory, since its flags are not those of the others. A test that cannot do its work prints `skipped: <why>`.
set -euo pipefail
cd "$(dirname "$0")/.."

target_dir=${CARGO_TARGET_DIR:-$PWD/target}
log=$(mktemp)
trap 'rm -f "$log"' EXIT

check() {
    local name=$1 pointers=$2
    shift 2
    echo "== $name"
    cargo "${toolchain[@]}" test --quiet -p switch-asm "$@" --test single_step --test frame_pointers --test walks -- --nocapture 2>&1 | tee "$log"
    # Nothing passes by doing nothing.
    grep -q "^frame pointers: $pointers$" "$log" || { echo "unwind: $name: built with other flags"; exit 1; }
    steps=$(grep -o '[0-9]* instructions stepped' "$log" | awk '{ sum += $1 } END { print sum + 0 }')
    failures=$(grep -o 'stepped, [0-9]* failures' "$log" | awk '{ sum += $2 } END { print sum + 0 }')
    echo "unwind: $name: $steps instructions stepped, $failures failures"
    [ "$steps" -gt 10000 ] || { echo "unwind: $name: that is not all of them"; exit 1; }
    if [ "$pointers" = true ] && [ "$failures" != 0 ]; then exit 1; fi
}

unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
toolchain=()
export CARGO_TARGET_DIR=$target_dir
check "debug" false
check "release" false --release
export CARGO_TARGET_DIR=$target_dir/unwind RUSTFLAGS="-C force-frame-pointers=yes"
check "debug with frame pointers" true
check "release with frame pointers" true --release

# With a panic that unwinds through the switch, and one trampoline more.
if ! cargo +nightly --version >/dev/null 2>&1; then
    echo "skipped: no nightly toolchain for the feature asm-unwind"
    exit 0
fi
toolchain=(+nightly)
unset RUSTFLAGS
export CARGO_TARGET_DIR=$target_dir/nightly
check "nightly, asm-unwind" false --features asm-unwind
