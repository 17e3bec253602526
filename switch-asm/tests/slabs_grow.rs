//! Slabs of every size: classes, growth, trimming, release, high-water marks.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::ops::Range;

use switch_asm::stack::{DefaultStack, Extent, Slab, SlabStack, Slabs, Stack, Verdict};
use switch_asm::{Coroutine, trap};

const KIB: usize = 1024;
const PAGE: usize = 4096;

/// The part of a stack that does not fault.
fn usable(stack: &SlabStack) -> Range<usize> {
    let Verdict::Guard(extent) = trap::locate(stack.limit().get()) else {
        panic!("the limit is in the guard")
    };
    extent.limit.get() + extent.guard_size..stack.base().get()
}

fn touch(address: usize) {
    // SAFETY: memory of a stack that is ours and that nothing runs on.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(1) }
}

#[test]
fn size_classes() {
    let class = |size| Slabs::size_class(size).expect("small enough");
    assert_eq!(class(1), PAGE);
    assert_eq!(class(PAGE), PAGE);
    assert_eq!(class(PAGE + 1), 2 * PAGE);
    assert_eq!(class(256 * KIB), 256 * KIB);
    assert_eq!(class(256 * KIB + 1), 320 * KIB);
    let mut classes = std::collections::BTreeSet::new();
    for size in (KIB..4096 * KIB).step_by(700) {
        let class = class(size);
        assert!(
            class >= size && class - size < (size / 4).max(PAGE),
            "{size}: {class}"
        );
        assert!(class.is_multiple_of(PAGE));
        assert_eq!(Slabs::size_class(class).expect("small enough"), class);
        classes.insert(class);
    }
    assert!(classes.len() < 60, "{}", classes.len());
}

#[test]
fn they_grow_and_are_released() {
    let slabs = Slabs::new(PAGE);
    let mut stacks = Vec::new();
    for n in 0..1000 {
        let size = [16 * KIB, 64 * KIB, 100_000][n % 3];
        let stack = slabs.take(size).expect("a stack");
        assert!(usable(&stack).len() + 512 >= size);
        stacks.push(stack);
    }
    assert_eq!(slabs.taken(), 1000);
    let count = slabs.slab_count();
    assert!((6..30).contains(&count), "{count}");
    // All apart from each other.
    let mut ranges: Vec<_> = stacks
        .iter()
        .map(|stack| (stack.limit().get(), stack.base().get()))
        .collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0));

    // What was taken last lies in the newest slabs: they drain first.
    stacks.truncate(100);
    assert!(slabs.release_idle() >= 3);
    assert!(slabs.slab_count() < count);
    assert_eq!(slabs.release_idle(), 0);
    stacks.clear();
    slabs.release_idle();
    assert_eq!((slabs.slab_count(), slabs.taken()), (0, 0));
    assert!(matches!(trap::locate(ranges[0].0), Verdict::Foreign));
    drop(slabs.take(16 * KIB).expect("they grow again"));
}

/// Those that came back last, each once, and what is counted of them; what was never used is not touched for it.
#[test]
fn many_at_once() {
    const FIRST: usize = 64;
    let slabs = Slabs::new(PAGE);
    let mut more = Vec::new();
    // None has come back.
    let first = slabs.take_some(16 * KIB, 100, &mut more).expect("a stack");
    assert!(more.is_empty());
    assert_eq!((slabs.taken(), slabs.cold_takes()), (1, 1));
    let mut stacks: Vec<_> = (1..FIRST)
        .map(|_| slabs.take(16 * KIB).expect("a stack"))
        .collect();
    stacks.push(first);
    let bases: Vec<_> = stacks.iter().map(|stack| stack.base()).collect();
    // Back in order.
    stacks.drain(..).for_each(drop);
    // Half of them lose their memory: those that came first.
    assert!(slabs.tidy(FIRST / 2, FIRST / 2, false));
    assert_eq!(slabs.cold_takes(), FIRST);

    let last = slabs.take_some(16 * KIB, 0, &mut more).expect("a stack");
    assert_eq!((last.base(), more.len()), (bases[FIRST - 1], 0));
    let next = slabs.take_some(16 * KIB, 11, &mut more).expect("a stack");
    assert_eq!(next.base(), bases[FIRST - 2]);
    let taken: Vec<_> = more.iter().map(|stack| stack.base()).collect();
    assert_eq!(
        taken,
        bases[FIRST - 13..FIRST - 2],
        "the last one comes last"
    );
    assert_eq!((slabs.taken(), slabs.cold_takes()), (13, FIRST));
    // As many as there are, some of them without memory.
    let rest = slabs
        .take_some(16 * KIB, 1_000, &mut more)
        .expect("a stack");
    assert_eq!(more.len(), FIRST - 3);
    assert_eq!(
        (slabs.taken(), slabs.cold_takes()),
        (FIRST, FIRST + FIRST / 2)
    );
    let mut all: Vec<_> = more
        .iter()
        .chain([&last, &next, &rest])
        .map(|stack| stack.base())
        .collect();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), FIRST, "one was given out twice");
    // They were needed: nothing of this slab goes.
    slabs.watch();
    drop((more, last, next, rest));
    assert!(!slabs.tidy_unneeded(0, 1_000));
    assert!(slabs.is_untidy(FIRST - 1), "all of them hold memory");
    slabs.watch();
    let mut more = Vec::new();
    drop(slabs.take_some(16 * KIB, 7, &mut more).expect("a stack"));
    drop(more);
    assert!(slabs.tidy_unneeded(0, 1_000));
    let before = slabs.cold_takes();
    let all: Vec<_> = (0..FIRST)
        .map(|_| slabs.take(16 * KIB).expect("a stack"))
        .collect();
    assert_eq!((all.len(), slabs.slab_count()), (FIRST, 1));
    assert_eq!(slabs.cold_takes() - before, FIRST - 8);
}

#[test]
fn from_many_threads() {
    let slabs = Slabs::new(PAGE);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..300_usize {
                    let stack = slabs.take((n % 5 + 1) * 16 * KIB).expect("a stack");
                    let mut coroutine =
                        Coroutine::<usize, (), usize, _>::with_stack(stack, |_, n| n + 1);
                    assert_eq!(coroutine.resume(n).as_return(), Some(n + 1));
                    if n % 50 == 0 {
                        slabs.release_idle();
                        slabs.trim(0).expect("unlocked memory");
                    }
                }
            });
        }
    });
    assert_eq!(slabs.taken(), 0);
    slabs.release_idle();
    assert_eq!(slabs.slab_count(), 0);
}

#[test]
fn high_water_marks() {
    let slab = Slab::new(256 * KIB, PAGE, 2).expect("a slab");
    let stack = slab.take().expect("a guard").expect("a stack");
    let base = stack.base().get();
    assert_eq!(stack.high_water().expect("the kernel tells"), 0);
    touch(base - 1);
    let mark = stack.high_water().expect("the kernel tells");
    assert!((1..=PAGE).contains(&mark), "{mark}");
    touch(base - 100_000);
    let mark = stack.high_water().expect("the kernel tells");
    assert!((100_000..100_000 + PAGE).contains(&mark), "{mark}");
    touch(usable(&stack).start);
    let mark = stack.high_water().expect("the kernel tells");
    assert_eq!(mark, usable(&stack).len());
    // SAFETY: nothing runs on it.
    unsafe { stack.discard_below(2 * PAGE) }.expect("unlocked memory");
    assert!(stack.high_water().expect("the kernel tells") <= PAGE);

    // A coroutine that went deep, and its neighbour that did not.
    let neighbour = slab.take().expect("a guard").expect("a stack");
    let mut deep = Coroutine::<(), (), u64, _>::with_stack(stack, |_, ()| {
        let array = std::hint::black_box([7_u8; 50_000]);
        array.iter().map(|&n| u64::from(n)).sum()
    });
    assert_eq!(deep.resume(()).as_return(), Some(350_000));
    let mark = deep.into_stack().high_water().expect("the kernel tells");
    assert!((50_000..200_000).contains(&mark), "{mark}");
    assert_eq!(neighbour.high_water().expect("the kernel tells"), 0);

    let big = DefaultStack::new(4096 * KIB).expect("a stack");
    touch(big.limit().get() + PAGE);
    assert_eq!(big.high_water().expect("the kernel tells"), 4096 * KIB);
}

#[test]
fn trimming_what_nobody_has() {
    let slab = Slab::new(64 * KIB, PAGE, 10).expect("a slab");
    let mut stacks: Vec<_> = (0..10)
        .map(|_| slab.take().expect("a guard").expect("a stack"))
        .collect();
    for stack in &stacks {
        touch(usable(stack).start);
        touch(usable(stack).end - 1);
    }
    let kept = stacks.pop().expect("ten of them");
    stacks.clear();
    assert_eq!(slab.trim(PAGE).expect("unlocked memory"), 9);
    // The one in use is as it was, the others keep their top.
    assert_eq!(
        kept.high_water().expect("the kernel tells"),
        usable(&kept).len()
    );
    for _ in 0..9 {
        stacks.push(slab.take().expect("a guard").expect("a stack"));
        let mark = stacks
            .last()
            .expect("it")
            .high_water()
            .expect("the kernel tells");
        assert!((1..=2 * PAGE).contains(&mark), "{mark}");
    }
}

#[test]
fn whose_guard_it_is() {
    let slab = Slab::new(20 * KIB, 2 * PAGE, 100).expect("a slab");
    let stacks: Vec<_> = (0..100)
        .map(|_| slab.take().expect("a guard").expect("a stack"))
        .collect();
    for stack in &stacks {
        let expected = Extent {
            limit: stack.limit(),
            base: stack.base(),
            guard_size: 2 * PAGE,
        };
        let limit = stack.limit().get();
        for (address, verdict) in [
            (limit, Verdict::Guard(expected)),
            (limit + 2 * PAGE - 1, Verdict::Guard(expected)),
            (limit + 2 * PAGE, Verdict::Inside(expected)),
            (stack.base().get() - 1, Verdict::Inside(expected)),
        ] {
            assert_eq!(slab.locate(address), verdict);
            assert_eq!(trap::locate(address), verdict);
        }
    }
    let other = DefaultStack::default();
    assert_eq!(slab.locate(other.limit().get()), Verdict::Foreign);
    assert!(matches!(
        trap::locate(other.limit().get()),
        Verdict::Guard(_)
    ));
    let local = 0_u8;
    assert_eq!(trap::locate((&raw const local).addr()), Verdict::Foreign);
}
