#!/usr/bin/env bash
# switch-asm's `unwind_info` on Windows: Wine's RtlVirtualUnwind against ours, point by point, then a Windows program that registers
# functions made at run time and panics through them.
#
# Gets what is missing: Wine, a compiler for Windows, the rustup target x86_64-pc-windows-gnu. Prints `skipped: <why>` and succeeds
# where they cannot be had.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=.ci/lib.sh
. .ci/lib.sh

target=x86_64-pc-windows-gnu
target_dir=${CARGO_TARGET_DIR:-$PWD/target}
compiler=x86_64-w64-mingw32-gcc
# They would hide what the program's own file says.
unset RUSTFLAGS CARGO_ENCODED_RUSTFLAGS
export CARGO_TARGET_DIR=$target_dir

# All at once, and without what the packages recommend, which is a desktop.
for program in wine $compiler clang llvm-readobj; do
    if ! command -v "$program" >/dev/null && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        {
            apt-get update -qq && apt-get install -y -qq --no-install-recommends \
                wine64 wine binutils-mingw-w64-x86-64 gcc-mingw-w64-x86-64 clang lld llvm
        } >/dev/null 2>&1 || true
        break
    fi
done
if ! have wine wine || ! have $compiler gcc-mingw-w64-x86-64; then
    echo "skipped: wine and $compiler are not here and cannot be installed: apt-get install wine64 wine gcc-mingw-w64-x86-64"
    exit 0
fi

# Everything that Wine writes, below the target directory.
home=$target_dir/wine
mkdir -p "$home"
export WINEPREFIX=$home/prefix WINEDEBUG=-all WINEDLLOVERRIDES="mscoree,mshtml="

# --- LLVM and RtlVirtualUnwind against ours.
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --quiet -p switch-asm --features unwind-info --test unwind_winx64 -- \
    --nocapture --test-threads 1 llvm:: wine:: | tee "$log"
if grep -q '^[0-9]* points agree' "$log"; then
    points=$(sed -nE 's/^([0-9]+) points agree.*/\1/p' "$log" | head -n 1)
else
    points=0
fi
if [ "$points" -lt 5000 ]; then
    echo "wine: only $points points were compared"
    exit 1
fi

# --- The program, both ways the compiler lays out frames.
if ! rustc --print target-libdir --target $target | xargs test -d && ! rustup --quiet target add $target; then
    echo "skipped: the rustup target $target cannot be had"
    exit 0
fi
tests=$(grep -cE '^ *\(?"?.*(walks|panics)::[a-z_]+\)?,$' switch-asm/tests/wine/src/main.rs)
for profile in debug release; do
    flag=()
    [ $profile = debug ] || flag=(--release)
    (cd switch-asm/tests/wine && CARGO_TARGET_DIR=$home cargo build --quiet --locked "${flag[@]}")
    place=$home/$target/$profile
    # Rust's library wants it and Wine 8 does not have it.
    $compiler -shared -O1 -Wall -Wextra -Werror -o "$place/bcryptprimitives.dll" switch-asm/tests/wine/bcryptprimitives.c -ladvapi32
    timeout 300 wine "$place/switch-asm-wine-test.exe" | tr -d '\r' | sed "s/^/wine $profile: /" | tee "$log"
    grep -q "^wine $profile: $tests tests passed" "$log" || {
        echo "wine: not all $tests tests passed"
        exit 1
    }
done
