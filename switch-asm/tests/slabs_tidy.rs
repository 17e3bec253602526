//! Giving back what nobody uses, in steps; trimming one stack.
#![cfg(all(feature = "default-stack", feature = "unwind"))]

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use switch_asm::stack::{Slab, SlabStack, Slabs, Stack};

const KIB: usize = 1024;
const PAGE: usize = 4096;

/// The lowest address that does not fault.
fn lowest(stack: &SlabStack) -> usize {
    stack.limit().get() + PAGE
}

fn touch(address: usize) {
    // SAFETY: memory of a stack that is ours and that nothing runs on.
    unsafe { std::ptr::with_exposed_provenance_mut::<u8>(address).write_volatile(1) }
}

#[test]
fn trimming_what_is_deep() {
    let slab = Slab::new(256 * KIB, PAGE, 2).expect("a slab");
    let mut stack = slab.take().expect("a guard").expect("a stack");
    let base = stack.base().get();
    for page in 0..20 {
        touch(base - 1 - page * PAGE);
    }
    // SAFETY: nothing runs on it.
    let trim = |keep| unsafe { stack.trim(keep) }.expect("unlocked memory");
    let whole = trim(16 * PAGE);
    assert!((3..=5).contains(&whole), "{whole}");
    assert_eq!((trim(16 * PAGE), trim(32 * PAGE)), (0, 0));
    assert_eq!(trim(usize::MAX), 0);
    assert!(trim(0) >= 15);
    assert_eq!(trim(0), 0);
    assert_eq!(stack.high_water().expect("the kernel tells"), 0);

    // A note stays with whoever has it, not with the memory.
    assert_eq!(stack.note(), 0);
    stack.set_note(7);
    assert_eq!(stack.note(), 7);
    drop(stack);
    let again = slab.take().expect("a guard").expect("a stack");
    assert_eq!((again.base().get(), again.note()), (base, 0));
}

#[test]
fn tidying_step_by_step() {
    let slabs = Slabs::new(PAGE);
    assert!(!slabs.tidy(0, 10, false), "there is nothing");
    let stacks: Vec<_> = (0..5000)
        .map(|_| slabs.take(64 * KIB).expect("a stack"))
        .collect();
    for stack in &stacks {
        touch(stack.base().get() - 1);
    }
    assert_eq!(slabs.cold_takes(), 5000);
    let before = slabs.slab_count();
    assert!(!slabs.tidy(0, 10, false), "all are in use");

    // One in a hundred stays: no slab is idle, and the others' memory goes.
    let (mut stay, mut rest) = (Vec::new(), Vec::new());
    for (n, stack) in stacks.into_iter().enumerate() {
        if n % 100 == 0 {
            stay.push(stack)
        } else {
            rest.push(stack)
        }
    }
    drop(rest);
    let mut steps = 0;
    while slabs.tidy(1000, 100, false) {
        steps += 1;
    }
    assert_eq!(steps, (5000 - 50 - 1000) / 100 + 1);
    assert_eq!((slabs.slab_count(), slabs.taken()), (before, 50));

    // What is taken next is warm as long as there is something warm in the oldest slab that has one, and all
    // of it can be used.
    let cold = slabs.cold_takes();
    let stacks: Vec<_> = (0..4950)
        .map(|_| slabs.take(64 * KIB).expect("a stack"))
        .collect();
    assert_eq!(slabs.cold_takes() - cold, 3950);
    assert_eq!(slabs.slab_count(), before);
    for stack in &stacks {
        touch(lowest(stack));
        touch(stack.base().get() - 1);
    }
    drop(stacks);
    drop(stay);

    // All idle: slabs go, but for those that hold what may be kept.
    let mut steps = 0;
    while slabs.tidy(1000, 100, false) {
        steps += 1;
        assert!(steps < 100);
    }
    assert!(slabs.slab_count() < before);
    assert!(slabs.slab_count() > 0);
    let (left, mut steps) = (slabs.slab_count(), 0);
    while slabs.tidy(0, 100, true) {
        steps += 1;
    }
    // Not at once: those that held memory were emptied first.
    assert!(steps > left, "{steps} steps for {left} slabs");
    assert_eq!(slabs.slab_count(), 0);
    drop(slabs.take(64 * KIB).expect("they grow again"));
}

/// What was taken since the last look stays, however much it is.
#[test]
fn what_was_needed_meanwhile_stays() {
    let slabs = Slabs::new(PAGE);
    let take = |count: usize| -> Vec<SlabStack> {
        let touched = |stack: SlabStack| {
            touch(stack.base().get() - 1);
            stack
        };
        let one = || slabs.take(64 * KIB).expect("a stack");
        (0..count).map(|_| touched(one())).collect()
    };
    let tidy = || {
        let mut steps = 0;
        while slabs.tidy_unneeded(1000, 100) {
            steps += 1;
            assert!(steps < 100, "it has no end");
        }
        steps
    };
    drop(take(5000));
    assert!(slabs.is_untidy(1000) && !slabs.is_untidy(5000));
    assert_eq!(tidy(), 0, "nobody has watched");

    // All are needed once more, at the end of the time.
    slabs.watch();
    let cold = slabs.cold_takes();
    drop(take(5000));
    assert_eq!(tidy(), 0, "all were needed");
    assert_eq!(slabs.cold_takes(), cold);

    // Half of them: the others go.
    slabs.watch();
    let (before, half) = (slabs.slab_count(), take(2500));
    let bases: Vec<_> = half.iter().map(|stack| stack.base()).collect();
    drop(half);
    assert!(tidy() > 0);
    assert!(slabs.slab_count() < before);
    let again = take(2500);
    assert_eq!(slabs.cold_takes(), cold, "those are warm");
    assert!(again.iter().all(|stack| bases.contains(&stack.base())));
    drop(again);

    // None: what may stay, stays.
    slabs.watch();
    assert!(tidy() > 0);
    assert!(!slabs.is_untidy(1000) && slabs.is_untidy(0));
    assert_eq!(tidy(), 0);
    drop(take(500));
    assert_eq!(slabs.cold_takes(), cold);
}

/// A slab of which one stack is in use cannot go; the memory of its others does, once nobody needs it.
#[test]
fn what_is_unneeded_beside_one_that_is_in_use_goes() {
    let slabs = Slabs::new(PAGE);
    let one = || {
        let stack = slabs.take(64 * KIB).expect("a stack");
        touch(stack.base().get() - 1);
        stack
    };
    let kept = one();
    let rest: Vec<_> = (0..63).map(|_| one()).collect();
    drop(rest);
    slabs.watch();
    let needed: Vec<_> = (0..20).map(|_| one()).collect();
    drop(needed);
    while slabs.tidy_unneeded(0, 10) {}
    assert_eq!(slabs.slab_count(), 1);
    // The last 20 are warm, the 43 below them are not.
    let cold = slabs.cold_takes();
    let stacks: Vec<_> = (0..63).map(|_| one()).collect();
    assert_eq!(slabs.cold_takes() - cold, 43);
    drop((stacks, kept));
}

/// The slab that is looked at may have more stacks to spare than all slabs had a moment before.
#[test]
fn stacks_come_back_while_somebody_tidies() {
    let slabs = Slabs::new(4096);
    // Slabs of larger stacks, counted after that one's, so that the moment is long.
    let sizes = (0..16).flat_map(|n| (8..16).map(move |eighth| (eighth * 8 * KIB) << n));
    let mut others: Vec<_> = sizes
        .map(|size| slabs.take(size).expect("a stack"))
        .collect();
    // Nobody unmaps the slab that the others come back to.
    others.push(slabs.take(16 * KIB).expect("a stack"));
    let rounds = AtomicUsize::new(0);
    thread::scope(|s| {
        let giver = s.spawn(|| {
            for _ in 0..20_000 {
                let stacks = (0..60).map(|_| slabs.take(16 * KIB).expect("a stack"));
                drop(stacks.collect::<Vec<_>>());
                rounds.fetch_add(1, Ordering::Relaxed);
            }
        });
        // Once a round: whoever lets go of a lock only to take it again keeps others out of it, for minutes.
        let mut seen = 0;
        while !giver.is_finished() {
            slabs.tidy(0, 64, false);
            while rounds.load(Ordering::Relaxed) == seen && !giver.is_finished() {
                thread::yield_now();
            }
            seen = rounds.load(Ordering::Relaxed);
        }
    });
    drop(others);
    while slabs.tidy(0, 64, false) {}
    assert_eq!((slabs.slab_count(), slabs.taken()), (0, 0));
}
