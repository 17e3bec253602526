#!/usr/bin/env bash
# Runs corosensei's own tests and examples against switch-asm.
#
# The published crate is fetched by cargo; nothing of it is kept here. A crate
# that says `corosensei = { package = "switch-asm", … }` gets its tests, turned
# into integration tests, and its examples, untouched. They run with the default
# features, without `unwind`, in release, and (where nightly is installed) with
# `asm-unwind`. Then one program that asks both crates for the auto traits of
# all public types, and compares.
#
# Fails if a test fails, or if fewer ran than expected.
set -euo pipefail

version=0.3.4
# All tests of 0.3.4 on x86_64 Linux, those of the examples included, and ours of
# the auto traits; and what is left without `unwind`.
floor=24
floor_without_unwind=12

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/corosensei-suite
rm -rf "$work"
mkdir -p "$work/fetch/src" "$work/suite/src" "$work/suite/tests" "$work/suite/examples"

# --- fetch -----------------------------------------------------------------
cat > "$work/fetch/Cargo.toml" <<TOML
[package]
name = "fetch"
version = "0.0.0"
edition = "2024"
[dependencies]
corosensei = "=$version"
[workspace]
TOML
echo > "$work/fetch/src/lib.rs"
manifest=$(cargo metadata --manifest-path "$work/fetch/Cargo.toml" --format-version 1 |
    tr ',' '\n' | sed -n "s|.*\"manifest_path\":\"\(.*corosensei-$version/Cargo.toml\)\".*|\1|p" | head -n 1)
source=$(dirname "$manifest")
[ -f "$source/src/tests/coroutine.rs" ] || { echo "corosensei $version has no tests at $source" >&2; exit 1; }

# --- retarget --------------------------------------------------------------
cat > "$work/suite/Cargo.toml" <<TOML
[package]
name = "corosensei-suite"
version = "0.0.0"
edition = "2021"
[features]
default = ["default-stack", "unwind"]
default-stack = ["corosensei/default-stack"]
unwind = ["corosensei/unwind"]
asm-unwind = ["unwind", "corosensei/asm-unwind"]
[dependencies]
corosensei = { package = "switch-asm", path = "$root/switch-asm", default-features = false }
[dev-dependencies]
backtrace = "0.3.69"
cfg-if = "1"
libc = "0.2"
theirs = { package = "corosensei", version = "=$version" }
[workspace]
TOML
echo > "$work/suite/src/lib.rs"
for file in "$source"/src/tests/*.rs; do
    name=$(basename "$file" .rs)
    [ "$name" = mod ] && continue
    # Their unit tests say `crate::`, and the root has no `coroutine` outside.
    sed -e 's/\bcrate::coroutine::on_stack\b/corosensei::on_stack/' -e 's/\bcrate::/corosensei::/' \
        "$file" > "$work/suite/tests/theirs_$name.rs"
done
cp "$source"/examples/*.rs "$work/suite/examples/"

# --- auto traits -----------------------------------------------------------
cat > "$work/suite/tests/auto_traits.rs" <<'RUST'
//! The auto traits of every public type, here and there.
use std::fmt::Write;

macro_rules! table {
    ($text:ident, $krate:ident, $($name:ty),+ $(,)?) => {$(
        macro_rules! has {
            ($bound:path) => {{
                // An inherent constant wins over that of a trait, if its bound holds.
                trait No { const IT: bool = false; }
                impl<T: ?Sized> No for T {}
                #[allow(dead_code)]
                struct Ask<T: ?Sized>(std::marker::PhantomData<T>);
                #[allow(dead_code)]
                impl<T: ?Sized + $bound> Ask<T> { const IT: bool = true; }
                <Ask<$name>>::IT
            }};
        }
        writeln!($text, "{}: Send {} Sync {} Unpin {} UnwindSafe {} RefUnwindSafe {} Copy {}",
            stringify!($name), has!(Send), has!(Sync), has!(Unpin), has!(std::panic::UnwindSafe),
            has!(std::panic::RefUnwindSafe), has!(Copy)).unwrap();
    )+};
}

macro_rules! ask {
    ($krate:ident) => {{
        use $krate::stack::{valgrind::ValgrindStackRegistration, DefaultStack};
        use $krate::trap::{CoroutineTrapHandler, TrapHandlerRegs};
        use $krate::{Coroutine, CoroutineResult, ScopedCoroutine, ScopedCoroutineRef, Yielder};
        #[allow(dead_code)]
        struct Local($krate::stack::DefaultStack, *mut ());
        unsafe impl $krate::stack::Stack for Local {
            fn base(&self) -> $krate::stack::StackPointer { self.0.base() }
            fn limit(&self) -> $krate::stack::StackPointer { self.0.limit() }
        }
        type Raw = *mut ();
        let mut text = String::new();
        table!(text, $krate,
            Coroutine<(), (), ()>, Coroutine<Raw, Raw, Raw>, Coroutine<(), (), (), Local>,
            ScopedCoroutine<'static, (), (), ()>, ScopedCoroutine<'static, Raw, Raw, Raw>,
            ScopedCoroutine<'static, (), (), (), Local>,
            ScopedCoroutineRef<'static, (), (), (), DefaultStack>,
            ScopedCoroutineRef<'static, Raw, Raw, Raw, Local>,
            Yielder<(), ()>, Yielder<Raw, Raw>, &'static Yielder<(), ()>,
            CoroutineResult<(), ()>, CoroutineResult<Raw, ()>, CoroutineResult<(), Raw>,
            CoroutineTrapHandler<()>, CoroutineTrapHandler<Raw>,
            TrapHandlerRegs, DefaultStack, ValgrindStackRegistration,
        );
        text
    }};
}

#[test]
fn are_the_same() {
    #[allow(unused_imports)]
    use corosensei::stack::Stack as _;
    #[allow(unused_imports)]
    use theirs::stack::Stack as _;
    let (ours, theirs) = (ask!(corosensei), ask!(theirs));
    println!("{ours}");
    assert_eq!(ours, theirs);
    assert!(ours.contains("Send true") && ours.contains("Send false"));
}
RUST

# --- run -------------------------------------------------------------------
export CARGO_TARGET_DIR=$work/target

# run <what> <least number of tests> <cargo arguments…>
run() {
    local what=$1 least=$2 log=$work/log passed
    shift 2
    if ! cargo "$@" > "$log" 2>&1; then
        cat "$log"
        echo "corosensei $version, $what: FAILED" >&2
        exit 1
    fi
    passed=$(awk '/^test result: ok/ { n += $4 } END { print n + 0 }' "$log")
    echo "corosensei $version, $what: $passed tests passed"
    if [ "$passed" -lt "$least" ]; then
        cat "$log"
        echo "fewer than $least ran" >&2
        exit 1
    fi
}

suite=(test --manifest-path "$work/suite/Cargo.toml")
run "default features" "$floor" "${suite[@]}" --tests --examples
run "release" "$floor" "${suite[@]}" --tests --examples --release
run "without unwind" "$floor_without_unwind" "${suite[@]}" --no-default-features \
    --features default-stack --test theirs_coroutine --test theirs_on_stack
if nightly=$(cargo +nightly --version 2> /dev/null); then
    echo "with $nightly:"
    run "asm-unwind" "$floor" +nightly "${suite[@]}" --features asm-unwind --tests --examples
else
    echo "skipped: asm-unwind needs a nightly toolchain"
fi

# The examples as programs, and what they say.
for example in basic panic backtrace; do
    cargo run --quiet --manifest-path "$work/suite/Cargo.toml" --example "$example" > "$work/$example.out" 2> "$work/$example.err"
done
grep -q '^\[main\] got 4 from coroutine$' "$work/basic.out"
grep -q '^\[main\] caught panic "foobar" from coroutine$' "$work/panic.out"
grep -q 'backtrace::sub_function' "$work/backtrace.out"
echo "corosensei $version: 3 examples run"

cat <<'TEXT'
left out:
  benches/coroutine.rs    a benchmark; ours are in benches/
  cfg(windows), Apple, and other processors inside the tests: not our platforms
  trap::recover_stack_overflow, Stack::teb_fields: exist on Windows only
TEXT
