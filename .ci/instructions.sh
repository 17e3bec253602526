#!/usr/bin/env bash
# User-space instructions of the hot paths, by callgrind: fails when one has grown by more than 5 % over the committed
# figure. Counts do not depend on what else the machine does. A new compiler may move them: look, then accept.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=.ci/lib.sh
. .ci/lib.sh

if ! have valgrind valgrind; then
    echo "skipped: valgrind is not here and cannot be installed: apt-get install valgrind"
    exit 0
fi
cargo build --release --quiet -p sisal-benches
if ! cargo run --release --quiet -p sisal-benches -- instructions; then
    cat >&2 <<'EOF'
A hot path has grown (or the paths have changed). If that is meant, accept the new figures and say why in the commit:
  cargo run --release -p sisal-benches -- instructions --accept
EOF
    exit 1
fi
