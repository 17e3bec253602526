#!/usr/bin/env bash
# Fibers as a console sees them: a server of console-subscriber on loopback, a client without a screen, and fibers whose
# polls, wakes and busy time are known. A build of its own: the cfg is for every crate of it.
set -euo pipefail
cd "$(dirname "$0")/.."

export RUSTFLAGS="--cfg console_without_tokio_unstable"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/console"
unset CARGO_ENCODED_RUSTFLAGS
cargo fmt --manifest-path examples/console/Cargo.toml --check
timeout 900 cargo build --locked --quiet --manifest-path examples/console/Cargo.toml

log=$(mktemp)
trap 'rm -f "$log"' EXIT
timeout 120 "$CARGO_TARGET_DIR/debug/sisal-console" check | tee "$log"
fibers=$(grep -c ' polls ' "$log")
echo "console: $fibers fibers seen"
[ "$fibers" -ge 6 ]
