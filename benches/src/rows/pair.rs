//! `resume` and the `suspend` that answers it: the switch itself, without a scheduler.

use std::hint::black_box;
use std::time::Instant;

use super::{Side, Sides, Work};

pub(super) const WORK: Work = Work {
    name: "resume+suspend pair",
    peer: "corosensei",
    operations_per_unit: 1,
    least_units: 100_000,
    note: None,
    sides: || Sides {
        ours: side!(switch_asm),
        peer: side!(corosensei),
    },
};

/// A value goes in and a different one comes out, so neither switch can be skipped. A macro, because the two crates
/// share names and no trait; both sides are the same tokens.
macro_rules! side {
    ($origin:ident) => {{
        let mut coroutine = $origin::Coroutine::<u64, u64, ()>::new(|yielder, mut input| {
            loop {
                input = yielder.suspend(input + 1);
            }
        });
        Box::new(move |pairs| {
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
        }) as Side
    }};
}
use side;
