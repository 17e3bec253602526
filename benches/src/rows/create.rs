//! A coroutine's whole life, with its own stack or on one that is kept, and a call on another stack.

use std::hint::black_box;
use std::time::Instant;

use generator::Gn;

use super::work::{BOOST_CONTEXT, Scale, Side, Work, timed};

pub(super) const ROWS: &[Work] = &[
    Work {
        name: "create+run+drop",
        group: "coroutines",
        operation: "a coroutine",
        least_units: 100,
        note: Some(
            "with the default stack; generator keeps stacks of its own accord, boost.context's come from malloc, which does too; the others map one each time",
        ),
        sides: &[
            ("switch-asm", switch_asm::new),
            ("corosensei", corosensei::new),
            ("generator", generator),
        ],
        foreign: &[BOOST_CONTEXT],
        ..Work::BASE
    },
    Work {
        name: "create+run+drop, kept stack",
        group: "coroutines",
        operation: "a coroutine",
        least_units: 10_000,
        sides: &[
            ("switch-asm", switch_asm::kept),
            ("corosensei", corosensei::kept),
        ],
        ..Work::BASE
    },
    Work {
        name: "on_stack",
        group: "coroutines",
        operation: "a call",
        least_units: 100_000,
        sides: &[
            ("switch-asm", switch_asm::call),
            ("corosensei", corosensei::call),
        ],
        ..Work::BASE
    },
];

/// The same tokens for both crates, which share names and no trait.
macro_rules! sides {
    ($origin:ident) => {
        mod $origin {
            use ::$origin::stack::DefaultStack;
            use ::$origin::{Coroutine, CoroutineResult, on_stack};

            use super::*;

            /// One that suspends once, so that it lived as a coroutine.
            fn live(
                mut coroutine: Coroutine<u64, u64, u64, DefaultStack>,
                n: u64,
            ) -> (u64, DefaultStack) {
                let CoroutineResult::Yield(first) = coroutine.resume(black_box(n)) else {
                    unreachable!("it suspends")
                };
                let CoroutineResult::Return(last) = coroutine.resume(first) else {
                    unreachable!("it ends")
                };
                (last, coroutine.into_stack())
            }

            pub(super) fn new(_: Scale) -> Side {
                timed(|lives| {
                    let mut sum = 0;
                    let start = Instant::now();
                    for n in 0..lives {
                        let coroutine = Coroutine::new(|yielder, n: u64| yielder.suspend(n) + 1);
                        sum += live(coroutine, n).0;
                    }
                    let took = start.elapsed();
                    assert_eq!(sum, expected(lives), "a coroutine did not run");
                    took
                })
            }

            pub(super) fn kept(_: Scale) -> Side {
                let mut kept = Some(DefaultStack::default());
                timed(move |lives| {
                    let mut stack = kept.take().expect("put back after each round");
                    let mut sum = 0;
                    let start = Instant::now();
                    for n in 0..lives {
                        let coroutine =
                            Coroutine::with_stack(stack, |yielder, n: u64| yielder.suspend(n) + 1);
                        let (last, back) = live(coroutine, n);
                        sum += last;
                        stack = back;
                    }
                    let took = start.elapsed();
                    assert_eq!(sum, expected(lives), "a coroutine did not run");
                    kept = Some(stack);
                    took
                })
            }

            pub(super) fn call(_: Scale) -> Side {
                let mut stack = DefaultStack::default();
                timed(move |calls| {
                    let mut sum = 0;
                    let start = Instant::now();
                    for n in 0..calls {
                        sum += on_stack(&mut stack, || black_box(n) + 1);
                    }
                    let took = start.elapsed();
                    assert_eq!(sum, expected(calls), "a call was skipped");
                    took
                })
            }
        }
    };
}
sides!(switch_asm);
sides!(corosensei);

fn generator(_: Scale) -> Side {
    timed(|lives| {
        let mut sum = 0;
        let start = Instant::now();
        for n in 0..lives {
            let mut generator = Gn::<u64>::new_scoped(|mut scope| {
                let n = scope.get_yield().expect("it was sent something");
                scope.yield_(n).expect("it was sent something") + 1
            });
            let first = generator.send(black_box(n));
            sum += generator.send(first);
            assert!(generator.is_done());
        }
        let took = start.elapsed();
        assert_eq!(sum, expected(lives), "a generator did not run");
        took
    })
}

/// Each adds one to its number.
fn expected(count: u64) -> u64 {
    count * (count + 1) / 2
}
