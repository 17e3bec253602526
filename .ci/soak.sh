#!/usr/bin/env bash
# Random traffic with counted invariants, for a minute or as long as is said: soak.sh [seconds] [seed]. Prints the seed.
set -euo pipefail
cd "$(dirname "$0")/.."

seconds=${1:-60}
seed=()
if [ $# -gt 1 ]; then seed=(--seed "$2"); fi
cargo build --release --quiet -p sisal-soak
# It has a watchdog of its own, which says more; this one is for when that hangs.
RUST_BACKTRACE=1 timeout $((seconds + 240)) cargo run --release --quiet -p sisal-soak -- --seconds "$seconds" "${seed[@]}"
