//! System calls that fail, for unit tests; and what comes of it: nothing leaks,
//! and the error says what to do.

use std::cell::Cell;
use std::io;
use std::ops::Range;
use std::string::{String, ToString};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::vec::Vec;

use super::{DefaultStack, Slab, Slabs, Stack, locate};
use crate::stack::Verdict;

std::thread_local! {
    /// How many calls this thread made.
    static CALLS: Cell<usize> = const { Cell::new(0) };
    /// Which of them fail.
    static FAILING: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
    /// Which calls failed.
    static FAILED: Cell<Vec<&'static str>> = const { Cell::new(Vec::new()) };
}

/// What is mapped, and by whom.
static MAPPED: Mutex<Vec<(usize, usize, ThreadId)>> = Mutex::new(Vec::new());

/// Called before a system call.
pub(crate) fn before(call: &'static str, errno: libc::c_int) -> io::Result<()> {
    let number = CALLS.get();
    CALLS.set(number + 1);
    let (start, end) = FAILING.get();
    if !(start..end).contains(&number) {
        return Ok(());
    }
    let mut failed = FAILED.take();
    failed.push(call);
    FAILED.set(failed);
    Err(io::Error::from_raw_os_error(errno))
}

pub(super) fn mapped(start: usize, len: usize) {
    let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    mapped.push((start, len, std::thread::current().id()));
}

pub(super) fn unmapped(start: usize, len: usize) {
    let mut mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    mapped.retain(|&(other, other_len, _)| (other, other_len) != (start, len));
}

/// What one test fails to unmap, another would try to unmap again: so each holds
/// this.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The ranges that this thread mapped and nobody unmapped.
fn held() -> Vec<Range<usize>> {
    let mapped = MAPPED.lock().unwrap_or_else(PoisonError::into_inner);
    let me = std::thread::current().id();
    let mine = mapped.iter().filter(|(_, _, owner)| *owner == me);
    mine.map(|&(start, len, _)| start..start + len).collect()
}

/// Runs `life` with each of its system calls failing: one, two in a row, or all
/// from there on. Returns the errors that came out, each with the calls that
/// failed.
pub(crate) fn with_each_call_failing(
    life: impl Fn() -> io::Result<()>,
) -> Vec<(String, Vec<&'static str>)> {
    CALLS.set(0);
    FAILING.set((0, 0));
    life().expect("nothing fails");
    let calls = CALLS.get();
    assert!(calls > 0);
    let mut errors = Vec::new();
    for first in 0..calls {
        for end in [first + 1, first + 2, usize::MAX] {
            CALLS.set(0);
            FAILING.set((first, end));
            let result = life();
            FAILING.set((0, 0));
            let failed = FAILED.take();
            assert!(!failed.is_empty());
            if let Err(error) = result {
                errors.push((error.to_string(), failed));
            }
            // What could not be unmapped then is unmapped by the next mapping.
            drop(DefaultStack::new(4096).expect("nothing fails any more"));
            assert_eq!(held(), [], "call {first} to {end}");
        }
    }
    errors
}

pub(crate) fn all_say(errors: &[(String, Vec<&'static str>)], call: &str, texts: &[&str]) {
    let of_call: Vec<_> = errors
        .iter()
        .filter(|(_, failed)| failed.first() == Some(&call))
        .collect();
    assert!(!of_call.is_empty(), "no {call} among {errors:#?}");
    for (error, _) in of_call {
        assert!(
            texts.iter().all(|text| error.contains(text)),
            "{call}: {error}"
        );
    }
}

#[test]
fn a_default_stack() {
    let _alone = alone();
    let errors = with_each_call_failing(|| {
        let stack = DefaultStack::new(64 * 1024)?;
        let top = stack.base().get() - 8;
        // SAFETY: a word of a stack that is ours and that nothing runs on.
        unsafe { std::ptr::with_exposed_provenance_mut::<u64>(top).write(1) };
        assert_eq!(stack.high_water()?, 4096);
        Ok(())
    });
    all_say(
        &errors,
        "mmap",
        &["cannot map", "ulimit -v", "vm.max_map_count"],
    );
    all_say(
        &errors,
        "madvise",
        &["cannot guard", "sysctl -w vm.max_map_count"],
    );
    all_say(&errors, "mincore", &["cannot ask which pages"]);
}

#[test]
fn a_slab() {
    let _alone = alone();
    let errors = with_each_call_failing(|| {
        let slab = Slab::new(64 * 1024, 4096, 3)?;
        let range = held().pop().expect("the slab");
        let stacks = [slab.take()?, slab.take()?].map(|stack| stack.expect("three of them"));
        let guard = stacks[1].limit().get();
        assert!(matches!(locate(guard), Verdict::Guard(_)));
        // SAFETY: nothing is on it.
        unsafe { stacks[0].discard_below(0)? };
        stacks[0].high_water()?;
        drop(stacks);
        assert_eq!(slab.trim(4096)?, 2);
        drop(slab);
        // Gone from the books, even if the kernel did not let go of it.
        assert_eq!(locate(range.start), Verdict::Foreign);
        Ok(())
    });
    all_say(&errors, "mmap", &["cannot map", "ulimit -v"]);
    all_say(&errors, "mincore", &["cannot ask which pages"]);
    let texts: Vec<&str> = errors.iter().map(|(text, _)| text.as_str()).collect();
    assert!(
        texts.iter().any(|text| text.contains("cannot guard")),
        "{texts:?}"
    );
    assert!(
        texts.iter().any(|text| text.contains("ulimit -l")),
        "{texts:?}"
    );
}

#[test]
fn a_failed_guard_loses_no_stack() {
    let _alone = alone();
    let slab = Slab::new(16 * 1024, 4096, 4).expect("a slab");
    let first = slab.take().expect("a guard").expect("a stack");
    for _ in 0..3 {
        CALLS.set(0);
        FAILING.set((0, usize::MAX));
        slab.take().expect_err("no guard");
        FAILING.set((0, 0));
        FAILED.take();
        assert_eq!(slab.taken(), 1);
    }
    drop(first);
    let all: Vec<_> = (0..4)
        .map(|_| slab.take().expect("a guard").expect("a stack"))
        .collect();
    assert_eq!((all.len(), slab.taken()), (4, 4));
    assert!(slab.take().expect("no error").is_none());
}

#[test]
fn slabs_of_sizes() {
    let _alone = alone();
    let errors = with_each_call_failing(|| {
        let slabs = Slabs::new(4096);
        let stacks = [
            slabs.take(16 * 1024)?,
            slabs.take(100_000)?,
            slabs.take(16 * 1024)?,
        ];
        assert_eq!((slabs.taken(), slabs.slab_count()), (3, 2));
        drop(stacks);
        slabs.trim(0)?;
        assert_eq!(slabs.release_idle(), 2);
        Ok(())
    });
    // A slab that is refused is tried again, smaller: the error is that of one
    // stack.
    all_say(&errors, "mmap", &["cannot map", "ulimit -v"]);
}

#[test]
fn a_smaller_slab_if_there_is_no_room_for_a_large_one() {
    let _alone = alone();
    let slabs = Slabs::new(4096);
    CALLS.set(0);
    // Calls: 64 stacks refused, 32 refused, 16 mapped.
    FAILING.set((0, 2));
    let stack = slabs.take(16 * 1024).expect("a smaller slab");
    FAILING.set((0, 0));
    assert_eq!(FAILED.take(), ["mmap", "mmap"]);
    let range = held().pop().expect("the slab");
    assert_eq!(range.len(), 16 * 20 * 1024);
    drop(stack);
}

#[test]
fn what_could_not_be_unmapped_is_unmapped_later() {
    let _alone = alone();
    let stack = DefaultStack::new(1 << 20).expect("a stack");
    let range = held().pop().expect("it");
    CALLS.set(0);
    FAILING.set((0, 1));
    drop(stack);
    FAILING.set((0, 0));
    assert_eq!(FAILED.take(), ["munmap"]);
    assert_eq!(locate(range.start), Verdict::Foreign);
    let _next = DefaultStack::new(4096).expect("a stack");
    assert!(!held().contains(&range));
}
