//! Who is woken, step by step, on one thread. What threads do to each other: `loom_worker.rs`.

use super::{Idle, SleepFlag};

/// Workers with these loads, all asleep; those in `watching` watch.
fn asleep<const N: usize>(loads: [u64; N], watching: &[usize]) -> (Idle, [(SleepFlag, u64); N]) {
    let idle = Idle::new();
    let workers = loads.map(|load| (SleepFlag::new(false), load));
    for (index, (flag, _)) in workers.iter().enumerate() {
        idle.announce(flag, watching.contains(&index));
        assert_eq!(idle.rest(flag), !watching.contains(&index));
    }
    (idle, workers)
}

/// The worker that a push wakes, if those with a load above `bar` hold back.
fn push<const N: usize>(idle: &Idle, workers: &[(SleepFlag, u64); N], bar: u64) -> Option<usize> {
    let all = workers.iter().enumerate();
    idle.pick_sleeper(
        all.map(|(index, (flag, load))| (flag, *load, index)),
        || bar,
    )
}

#[test]
fn a_push_wakes_one() {
    let (idle, workers) = asleep([0; 4], &[]);
    assert_eq!(push(&idle, &workers, 4), Some(0));
    assert!(!idle.is_asleep(&workers[0].0) && idle.has_searchers());
    // It was told to search: whatever is pushed before it is done wakes nobody.
    assert_eq!([push(&idle, &workers, 4); 3], [None; 3]);
    let end = idle.wake_up(&workers[0].0);
    assert!(end.by_other && end.searching);
    assert_eq!(push(&idle, &workers, 4), None);
    // The last searcher sends another in its place.
    assert!(idle.end_search());
    assert_eq!(push(&idle, &workers, 4), Some(1));
}

#[test]
fn a_push_beside_a_worker_that_searches_by_itself_wakes_nobody() {
    let (idle, workers) = asleep([0; 4], &[]);
    assert!(!idle.wake_up(&workers[3].0).by_other);
    assert!(idle.start_search(4));
    assert_eq!(push(&idle, &workers, 4), None);
    assert!(idle.end_search());
    assert_eq!(push(&idle, &workers, 4), Some(0));
}

#[test]
fn a_push_with_nobody_asleep_wakes_nobody() {
    let (idle, workers) = asleep([0; 2], &[]);
    for (flag, _) in &workers {
        assert!(idle.end_sleep(flag));
        // And a sleep ends once.
        assert!(!idle.end_sleep(flag));
    }
    assert_eq!(push(&idle, &workers, 4), None);
    assert!(!idle.has_searchers());
}

#[test]
fn of_the_sleepers_the_one_with_the_least_load_is_woken() {
    let (idle, workers) = asleep([7, 3, 5], &[]);
    for expected in [1, 2, 0] {
        assert_eq!(push(&idle, &workers, 100), Some(expected));
        assert!(idle.wake_up(&workers[expected].0).searching);
        assert!(idle.end_search());
    }
    assert_eq!(push(&idle, &workers, 100), None);
}

#[test]
fn who_would_hold_back_is_woken_only_if_nobody_watches() {
    let (idle, workers) = asleep([50, 60], &[]);
    assert_eq!(push(&idle, &workers, 4), Some(0));
    let (idle, workers) = asleep([50, 60], &[1]);
    assert_eq!(push(&idle, &workers, 4), None);
    // At the bar it does not hold back.
    assert_eq!(push(&idle, &workers, 50), Some(0));
}

/// Pushers rely on a watcher: from its wake on it counts as a searcher, whoever woke it and for what.
#[test]
fn a_watcher_wakes_as_a_searcher() {
    for woken_by_other in [false, true] {
        let (idle, workers) = asleep([0, 50], &[1]);
        if woken_by_other {
            assert!(idle.end_sleep(&workers[1].0));
            assert!(idle.has_searchers());
        }
        let end = idle.wake_up(&workers[1].0);
        assert_eq!((end.by_other, end.searching), (woken_by_other, true));
        assert_eq!(push(&idle, &workers, 4), None);
        assert!(idle.end_search());
        assert!(!idle.has_searchers());
        assert_eq!(push(&idle, &workers, 4), Some(0));
    }
}

/// Its thread may be inside an async task, for long: nobody relies on it. But it is better than nobody: its tasks may be
/// many short ones, without an end, and then it never rests.
#[test]
fn a_sleeper_that_is_not_in_its_reactor_is_woken_last_and_not_relied_on() {
    let (idle, workers) = asleep([0, 50], &[1]);
    assert!(!idle.stir(&workers[0].0), "it may go on");
    assert_eq!(push(&idle, &workers, 4), None);
    assert!(idle.stir(&workers[1].0), "what it watched is its business");
    assert!(idle.has_searchers() && idle.wake_up(&workers[1].0).searching);
    assert!(idle.end_search());
    assert_eq!(push(&idle, &workers, 4), Some(0));
    assert!(!idle.has_searchers() && !idle.rest(&workers[0].0));
    assert_eq!(push(&idle, &workers, 4), None, "once is enough");
    // What is for it alone ends its sleep all the same.
    idle.announce(&workers[0].0, false);
    assert!(idle.rest(&workers[0].0) && !idle.stir(&workers[0].0));
    assert!(idle.end_sleep(&workers[0].0) && !idle.has_searchers());
    assert!(!idle.rest(&workers[0].0));
}
