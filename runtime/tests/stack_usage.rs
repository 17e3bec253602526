//! How deep fibers went, by spawn place: what is counted, and that former users of a stack are not.

mod common;

use std::panic::Location;

use common::{Count, one_on_each_worker, reach, runtime, until, watchdog};
use sisal::fiber::{self, JoinHandle};
use sisal::{Runtime, StackUsage};

const KIB: usize = 1024;

/// Spawns at the caller's place.
#[track_caller]
fn spawn_deep(bytes: usize) -> (JoinHandle<usize>, &'static Location<'static>) {
    let handle = fiber::spawn(move || reach(bytes, &mut || {}));
    (handle, Location::caller())
}

fn usage_at(runtime: &Runtime, place: &Location<'_>) -> Option<StackUsage> {
    let usage = runtime.metrics().stacks.usage;
    let mut found = usage.into_iter().filter(|usage| usage.location == place);
    let first = found.next();
    assert!(found.next().is_none(), "{place} is there twice");
    first
}

/// So many fibers, one after the other, all spawned here.
fn shallow(fibers: usize) -> &'static Location<'static> {
    let mut place = None;
    for _ in 0..fibers {
        let (handle, at) = spawn_deep(0);
        handle.join().unwrap();
        place = Some(at);
    }
    place.unwrap()
}

fn deep(fibers: usize, bytes: usize) -> &'static Location<'static> {
    let mut place = None;
    for _ in 0..fibers {
        let (handle, at) = spawn_deep(bytes);
        assert!(handle.join().unwrap() >= bytes);
        place = Some(at);
    }
    place.unwrap()
}

#[test]
fn each_place_has_its_own() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (a, b) = runtime.run(|| (shallow(10_000), deep(300, 150 * KIB)));
    let (a, b) = (
        usage_at(&runtime, a).unwrap(),
        usage_at(&runtime, b).unwrap(),
    );
    println!("{a:?}\n{b:?}");
    assert_eq!((a.ended, b.ended), (10_000, 300));
    for usage in [a, b] {
        // The first ones, then a few.
        assert!((4..100).contains(&usage.samples));
        assert!(usage.typical <= usage.most && usage.most <= usage.deepest);
    }
    assert!((1..=16 * KIB).contains(&a.deepest));
    assert!((150 * KIB..=200 * KIB).contains(&b.deepest));
    assert_eq!(b.typical, b.deepest);
}

/// One stack, first used deep down, then by fibers of another place.
#[test]
fn former_users_do_not_count() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (a, b, c) = runtime.run(|| {
        let a = deep(20, 200 * KIB);
        let b = shallow(20);
        (a, b, deep(3, 60 * KIB))
    });
    // One call of `spawn_deep`, so one place.
    assert_eq!(a, c);
    assert!(usage_at(&runtime, a).unwrap().deepest >= 200 * KIB);
    let b = usage_at(&runtime, b).unwrap();
    assert!(b.samples >= 4);
    assert!(b.deepest <= 16 * KIB, "{b:?}");
}

#[test]
fn depths_are_told_apart() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let place = runtime.run(|| {
        let depths = [KIB, KIB, KIB, 120 * KIB];
        let mut place = None;
        for bytes in depths {
            let (handle, at) = spawn_deep(bytes);
            handle.join().unwrap();
            place = Some(at);
        }
        place.unwrap()
    });
    let usage = usage_at(&runtime, place).unwrap();
    assert_eq!((usage.ended, usage.samples), (4, 4));
    assert!(usage.typical <= 16 * KIB, "{usage:?}");
    assert!(
        usage.most >= 120 * KIB && usage.deepest >= 120 * KIB,
        "{usage:?}"
    );
}

#[test]
fn workers_are_added_up() {
    let _watchdog = watchdog(60);
    let runtime = runtime(3);
    // All of these are spawned at one place, and one runs on each worker.
    runtime.run(|| one_on_each_worker(3, |n| reach((n + 1) * 40 * KIB, &mut || {})));
    until(|| runtime.metrics().live() == 0);
    let usage = runtime.metrics().stacks.usage;
    let place = usage
        .iter()
        .find(|usage| usage.ended == 3)
        .expect("one place");
    assert!(
        place.samples == 3 && place.deepest >= 120 * KIB,
        "{place:?}"
    );
    assert!(place.typical >= 80 * KIB, "{place:?}");
    let places: Vec<_> = usage
        .iter()
        .map(|u| (u.location.file(), u.location.line()))
        .collect();
    assert!(places.is_sorted(), "{places:?}");
}

/// Whatever way it ends, it has ended; if it never began, nothing is known of it.
#[test]
fn every_end_counts_once() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let began = Count::new();
    runtime.run(|| {
        let panics = fiber::spawn(|| panic!("as it should"));
        assert!(panics.join().unwrap_err().is_panic());
        let begins = began.clone();
        drop(fiber::spawn(move || {
            begins.add();
            fiber::park();
        }));
        until(|| began.get() == 1);
    });
    // All but the one that is parked.
    until(|| runtime.metrics().live() == 1);
    let usage = runtime.metrics().stacks.usage;
    let ended = |ended| usage.iter().filter(|usage| usage.ended == ended).count();
    // The body of `run` and the one that panicked; the one that is parked.
    println!("{usage:?}");
    assert_eq!((ended(1), ended(0), usage.len()), (2, 1, 3));
    assert_eq!(began.get(), 1);
}

#[test]
fn huge_stacks_are_not_measured() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    runtime.run(|| {
        let builder = fiber::Builder::new().stack_size(1 << 30);
        builder.spawn(|| ()).unwrap().join().unwrap();
    });
    // The body of `run` too.
    until(|| runtime.metrics().live() == 0);
    let usage = runtime.metrics().stacks.usage;
    let huge = usage.iter().find(|usage| usage.samples == 0).expect("it");
    assert_eq!((huge.ended, huge.deepest, huge.typical), (1, 0, 0));
}
