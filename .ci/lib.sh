# shellcheck shell=bash
# What the scripts of the gate share. Sourced, with the repository's root as the current folder.

# Tests that have to run, at the least: a script that ran fewer has lost some.
# Raise a floor when tests are added; lower it only with a reason in the commit.
export FLOOR_WORKSPACE=1600
export FLOOR_LOOM=84
export FLOOR_MIRI=96
export FLOOR_ASAN_RUNTIME=490
export FLOOR_STD=375
export FLOOR_OPTIMISED=230

export begun=$SECONDS

# step NAME COMMAND...: runs a command, and says what it was, how long it took, and what is left of the disk.
step() {
    local name=$1 since=$SECONDS
    shift
    echo "== $name"
    "$@"
    echo "== $name: $((SECONDS - since)) s; $(disk)"
}

# Where cargo builds.
built=${CARGO_TARGET_DIR:-$PWD/target}

# disk: how much is built, and how much room there is for more.
disk() {
    echo "$(megabytes_built) MB built, $(megabytes_free) MB free"
}

megabytes_built() {
    du -sm "$built" 2>/dev/null | cut -f1
}

megabytes_free() {
    df --output=avail -BM "$built" | tr -dc '0-9'
}

# drop FOLDER...: removes what is built there, which no later step needs.
drop() {
    local folder
    [ -z "${CI_KEEPS:-}" ] || return 0
    for folder in "$@"; do rm -rf "${built:?}/$folder"; done
}

# drop_programs PROFILE: removes the programs that are linked there. Libraries stay, and so do the programs of which cargo makes them.
drop_programs() {
    [ -z "${CI_KEEPS:-}" ] || return 0
    find "$built/$1" -path "$built/$1/build" -prune -o -type f -executable ! -name '*.so' -exec rm {} +
}

# count_tests LOG FLOOR WHAT: the tests that a cargo test run in LOG passed; fails below the floor.
count_tests() {
    local ran
    ran=$(sed -nE 's/^test result: .* ([0-9]+) passed; .*/\1/p' "$1" | awk '{ n += $1 } END { print n + 0 }')
    echo "$3: $ran tests ran"
    if [ "$ran" -lt "$2" ]; then
        echo "$3: fewer than $2 tests ran" >&2
        return 1
    fi
}

# have PROGRAM PACKAGE: whether a program is there, or can be installed now.
have() {
    command -v "$1" >/dev/null && return
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        { apt-get update -qq && apt-get install -y -qq "$2"; } >/dev/null 2>&1 || true
    fi
    command -v "$1" >/dev/null
}
