#!/usr/bin/env bash
# A million fibers that only park, at default stack size and default limits: what one costs in memory and page
# tables, how long spawning and parking takes beside a bare loop that maps, guards and touches as many
# stacks, and that all of it comes back when they have ended.
#
# Memory is exact, so it has sharp limits. Time is not, where others use the machine: the aim is 2.5 times the
# bare loop, and only 4 times fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

readonly FIBERS=1000000
readonly MOST_BYTES=5120
readonly MOST_LEFT=5.0
readonly AIM=2.5
readonly MOST_RATIO=4.0

available=$(awk '/^MemAvailable:/ { print int($2 / 1024) }' /proc/meminfo)
if [ "$available" -lt 7000 ]; then
    echo "skipped: $available MiB of memory available, a million fibers and the bare loop need 7000"
    exit 0
fi
kernel=$(uname -r)
if [ "$(printf '%s\n' 6.13 "$kernel" | sort -V | head -n 1)" != 6.13 ]; then
    echo "skipped: Linux $kernel has no MADV_GUARD_INSTALL; 6.13 has"
    exit 0
fi
printf 'vm.max_map_count: '
cat /proc/sys/vm/max_map_count

cargo build --release --quiet -p sisal-benches --bin million-fibers
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo run --release --quiet -p sisal-benches --bin million-fibers -- "$FIBERS" | tee "$log"

# value NAME: what the program printed for it.
value() {
    sed -nE "s/^ *$1: ([0-9.]+)$/\1/p" "$log"
}

# at_most NAME LIMIT: fails if there is no such value, or a larger one.
failed=0
at_most() {
    local is
    is=$(value "$1")
    if [ -z "$is" ] || awk -v a="$is" -v b="$2" 'BEGIN { exit !(a > b) }'; then
        echo "FAILED: $1: ${is:-nothing}, at most $2" >&2
        failed=1
    else
        echo "ok: $1: $is, at most $2"
    fi
}

[ "$(value fibers)" = "$FIBERS" ] || { echo 'it did not run' >&2; exit 1; }
at_most 'bytes per parked fiber' "$MOST_BYTES"
at_most 'left, percent of the peak' "$MOST_LEFT"
at_most ratio "$MOST_RATIO"
awk -v a="$(value ratio)" -v b="$AIM" 'BEGIN { if (a > b) print "note: the ratio is above the aim of " b }'
exit "$failed"
