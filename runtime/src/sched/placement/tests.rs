//! The rule, as numbers.

use std::time::{Duration, Instant};

use super::{Holding, PATIENCE, bar};

/// Of two loads one at least is not above the bar of the other, and the least load is above no bar.
#[test]
fn two_workers_never_hold_back_from_each_other() {
    for a in 0..300 {
        assert!(a <= bar(a));
        for b in 0..300 {
            assert!(a <= bar(b) || b <= bar(a), "{a} and {b}");
        }
    }
}

/// One spawner, two workers, each fiber taken by whoever may: the busier one has at most three of five.
#[test]
fn the_bar_spreads_in_time() {
    for n in [20, 50, 100, 1000, 100_000] {
        let (mut busier, mut other) = (0_u64, 0_u64);
        for _ in 0..n {
            match busier <= bar(other) {
                true => busier += 1,
                false => other += 1,
            }
        }
        assert!(10 * busier <= 6 * n + 10, "{busier} of {n}");
    }
}

/// A worker that holds back from long-lived fibers, and looks once in each patience.
#[test]
fn who_holds_back_takes_more_and_more() {
    // Not over, however slow this test is.
    let later = Instant::now() + Duration::from_secs(3600);
    let mut holding = Holding {
        since: later,
        load: 100,
        allowance: 0,
        growth: 0,
        other: 0,
        sleeps: 0,
    };
    let mut load = 100;
    // Not at once.
    assert!(!holding.look(load));
    let mut taken = Vec::new();
    for _ in 0..70 {
        let Some(past) = Instant::now().checked_sub(PATIENCE) else {
            println!("skipped: the clock began just now");
            return;
        };
        holding.since = past;
        let before = load;
        let mut takes = holding.look(load);
        holding.since = later;
        while takes {
            load += 1;
            takes = holding.look(load);
        }
        taken.push(load - before);
    }
    let expected: Vec<u64> = (1..=70).map(|n| n.min(64)).collect();
    assert_eq!(taken, expected);
    // What ends gives room, without another wait.
    load -= 1;
    assert!(holding.look(load));
}
