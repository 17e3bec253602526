#!/usr/bin/env bash
# The models of the lock-free protocols, in every order of their threads' steps. Says how many ran.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=.ci/lib.sh
. .ci/lib.sh

log=$(mktemp)
trap 'rm -f "$log"' EXIT
# A target folder of its own: the cfg is for every crate of the build.
RUSTFLAGS="--cfg sisal_loom" CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/loom" \
    timeout 900 cargo test -p sisal --lib --release --quiet loom 2>&1 | tee "$log"
count_tests "$log" "$FLOOR_LOOM" "loom"
