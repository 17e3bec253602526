#!/usr/bin/env bash
# Runs std's own tests of threads, sync, net and Unix sockets against Sisal's modules of the same names, each
# inside a fiber: once on a runtime of one worker, once of four.
#
# The texts come from nightly's component `rust-src`; nothing of them is kept here. `std-suite/retarget.py` rewrites
# them and counts, `std-suite/face.rs` puts Sisal's modules where std's were, and `std-suite/left-out.txt` names the
# tests that are left out, each with its reason. Built with nightly, as the texts are for it.
#
# Fails if a test fails, if one neither ran nor is on the list, if the list names none, or if fewer ran than expected.
# `SISAL_NIGHTLY` names another nightly than the machine's.
# With arguments: runs only the tests whose names contain them, and counts nothing.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# shellcheck source=.ci/lib.sh
. .ci/lib.sh
here=$root/.ci/std-suite
work=${CARGO_TARGET_DIR:-$root/target}/std-suite

if ! have python3 python3; then
    echo "skipped: std's own test suites did not run: python3 is not here: apt-get install python3"
    exit 0
fi
# The machine's nightly if its texts are those that are known here, else one of a day on which they were.
known="nightly-2026-10-30"
texts_of() {
    local sysroot
    sysroot=$(rustc +"$1" --print sysroot 2>/dev/null) || return 1
    library=$sysroot/lib/rustlib/src/rust/library
    if [ ! -d "$library/std" ]; then
        rustup component add rust-src --toolchain "$1" >/dev/null 2>&1 || true
    fi
    [ -f "$library/std/src/net/tests.rs" ]
}
nightly=${SISAL_NIGHTLY:-nightly}
if ! texts_of "$nightly"; then
    nightly=$known
    rustup toolchain install "$nightly" --profile minimal --component rust-src >/dev/null 2>&1 || true
    if ! texts_of "$nightly"; then
        echo "skipped: std's own test suites did not run: no nightly with known texts: rustup toolchain install $known --component rust-src"
        exit 0
    fi
fi

# --- rewrite ---------------------------------------------------------------
python3 "$here/retarget.py" self-test
mkdir -p "$work"
rm -rf "$work/src" "$work/Cargo.toml"
echo "std's tests: as of $(rustc +"$nightly" --version)"
python3 "$here/retarget.py" write "$library" "$here/left-out.txt" "$here/face.rs" "$work"
cat > "$work/Cargo.toml" <<TOML
[package]
name = "std-suite"
version = "0.0.0"
edition = "2024"
[dev-dependencies]
libc = "0.2"
# As std's own tests have them.
rand = { version = "0.9", default-features = false, features = ["alloc"] }
rand_xorshift = "0.4"
sisal = { path = "$root/runtime" }
# One of the tests takes a lock a billion times.
[profile.dev]
debug = "line-tables-only"
opt-level = 1
[profile.dev.package.sisal]
opt-level = 2
[workspace]
TOML

# --- run -------------------------------------------------------------------
export CARGO_TARGET_DIR=$work/target
log=$work/log
passed=0
cargo +"$nightly" test --manifest-path "$work/Cargo.toml" --lib --no-run --quiet
for workers in 1 4; do
    # Most of the tests wait most of the time. Output is kept together with the outcome.
    failed=
    SUITE_WORKERS=$workers cargo +"$nightly" test --manifest-path "$work/Cargo.toml" --lib --quiet -- \
        --test-threads 8 --format pretty "$@" >"$log" 2>&1 || failed=1
    if [ $# -gt 0 ]; then
        cat "$log"
        [ -z "$failed" ]
        continue
    fi
    if [ -n "$failed" ]; then
        grep -vE '^test .* \.\.\. ok$' "$log"
    fi
    python3 "$here/retarget.py" check "$work" "$workers worker(s)" "$log"
    [ -z "$failed" ]
    count_tests "$log" "$FLOOR_STD" "std's tests, $workers worker(s)"
    passed=$((passed + 1))
done
[ $# -gt 0 ] || [ "$passed" = 2 ]
