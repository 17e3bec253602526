#!/usr/bin/env bash
# The file server under real clients: every file byte for byte, and a thousand connections of wrk.
# Needs the release build of the tour.
set -euo pipefail
cd "$(dirname "$0")/.."
# shellcheck source=.ci/lib.sh
. .ci/lib.sh

server=${CARGO_TARGET_DIR:-target}/release/sisal-tour
tree=$(mktemp -d)
pid=
finish() {
    if [ -n "$pid" ]; then kill -KILL "$pid" 2>/dev/null || true; fi
    rm -rf "$tree"
}
trap finish EXIT

mkdir -p "$tree/root/a/b c"
for size in 0 1 511 4096 65536 65537 1048576 9000001; do
    head -c "$size" /dev/urandom >"$tree/root/a/b c/$size.bin"
done
echo '<p>hello</p>' >"$tree/root/index.html"
head -c 1024 /dev/zero | tr '\0' x >"$tree/root/small.html"

ulimit -n "$(ulimit -H -n)"
"$server" serve --addr 127.0.0.1:0 --root "$tree/root" >"$tree/out" 2>"$tree/log" &
pid=$!
for _ in $(seq 200); do
    grep -q listening "$tree/out" && break
    kill -0 "$pid"
    read -rt 0.05 <> <(:) || true
done
url=$(sed -nE 's/.*listening on (http:[^ ]*).*/\1/p' "$tree/out")
[ -n "$url" ]

if have curl curl; then
    files=0
    while IFS= read -r file; do
        path=${file#"$tree/root/"}
        curl -sS --fail "$url/${path// /%20}" | cmp - "$file"
        files=$((files + 1))
    done < <(find "$tree/root" -type f)
    echo "curl: $files files, byte for byte"
    [ "$files" -ge 10 ]
else
    echo "skipped: curl is not here and cannot be installed: apt-get install curl"
fi

if have wrk wrk; then
    wrk -t1 -c1000 -d10s "$url/small.html" | tee "$tree/wrk"
    grep -q 'Requests/sec' "$tree/wrk"
    if grep -E 'Socket errors|Non-2xx' "$tree/wrk"; then exit 1; fi
else
    echo "skipped: wrk is not here and cannot be installed: apt-get install wrk"
fi

kill -TERM "$pid"
status=0
wait "$pid" || status=$?
pid=
echo "server: exit code $status after SIGTERM"
[ "$status" = 0 ]
