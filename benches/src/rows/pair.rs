//! `resume` and the `suspend` that answers it: the switch itself, without a scheduler.

use std::hint::black_box;
use std::time::Instant;

use generator::Gn;

use super::work::{BOOST_CONTEXT, Scale, Side, Work, timed};

pub(super) const ROWS: &[Work] = &[Work {
    name: "resume+suspend pair",
    group: "coroutines",
    operation: "a pair",
    least_units: 100_000,
    short: true,
    sides: &[
        ("switch-asm", switch_asm),
        ("corosensei", corosensei),
        ("generator", generator),
    ],
    foreign: &[BOOST_CONTEXT],
    ..Work::BASE
}];

/// A value goes in and a different one comes out, so neither switch can be skipped. A macro, because the two crates
/// share names and no trait; both sides are the same tokens.
macro_rules! side {
    ($origin:ident) => {
        fn $origin(_: Scale) -> Side {
            let mut coroutine = $origin::Coroutine::<u64, u64, ()>::new(|yielder, mut input| {
                loop {
                    input = yielder.suspend(input + 1);
                }
            });
            timed(move |pairs| {
                let mut sum = 0u64;
                let start = Instant::now();
                for input in 0..pairs {
                    match coroutine.resume(black_box(input)) {
                        $origin::CoroutineResult::Yield(output) => sum = sum.wrapping_add(output),
                        $origin::CoroutineResult::Return(()) => unreachable!("it loops"),
                    }
                }
                let took = start.elapsed();
                assert_eq!(sum, pairs * (pairs + 1) / 2, "a pair was skipped");
                took
            })
        }
    };
}
side!(switch_asm);
side!(corosensei);

fn generator(_: Scale) -> Side {
    let mut generator = Gn::<u64>::new_scoped(|mut scope| {
        let mut input = scope.get_yield().expect("it was sent something");
        loop {
            input = scope.yield_(input + 1).expect("it was sent something");
        }
    });
    timed(move |pairs| {
        let mut sum = 0u64;
        let start = Instant::now();
        for input in 0..pairs {
            sum = sum.wrapping_add(generator.send(black_box(input)));
        }
        let took = start.elapsed();
        assert_eq!(sum, pairs * (pairs + 1) / 2, "a pair was skipped");
        took
    })
}
