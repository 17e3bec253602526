//! `block_on`: what a future costs that is ready, and one that is pending once.
//!
//! Ours is called in a fiber. The peers have theirs only outside their tasks, on the thread that runs them.

use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Instant;

use super::work::{Scale, Side, Work, timed};
use crate::faces::{Current, Fibers, Multi, Sisal, Smol, Tasks};

pub(super) const ROWS: &[Work] = &[
    Work {
        name: "block_on(ready)",
        group: "block_on",
        operation: "a call",
        least_units: 10_000,
        note: Some("ours in a fiber, the others on the thread that owns the runtime"),
        sides: &[
            ("sisal", ours::<Ready>),
            ("tokio current_thread", theirs::<Current, Ready>),
            ("tokio multi_thread", theirs::<Multi, Ready>),
            ("smol", theirs::<Smol, Ready>),
        ],
        ..Work::BASE
    },
    Work {
        name: "block_on(pending once)",
        group: "block_on",
        operation: "a call",
        least_units: 10_000,
        note: Some("the future wakes itself at its first poll"),
        sides: &[
            ("sisal", ours::<PendingOnce>),
            ("tokio current_thread", theirs::<Current, PendingOnce>),
            ("tokio multi_thread", theirs::<Multi, PendingOnce>),
            ("smol", theirs::<Smol, PendingOnce>),
        ],
        ..Work::BASE
    },
];

/// A future whose output is what it was made of.
trait Of: Future<Output = u64> + 'static {
    fn of(n: u64) -> Self;
}

struct Ready(u64);

impl Of for Ready {
    fn of(n: u64) -> Self {
        Ready(n)
    }
}

impl Future for Ready {
    type Output = u64;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<u64> {
        Poll::Ready(self.0)
    }
}

struct PendingOnce(u64, bool);

impl Of for PendingOnce {
    fn of(n: u64) -> Self {
        PendingOnce(n, false)
    }
}

impl Future for PendingOnce {
    type Output = u64;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<u64> {
        if self.1 {
            return Poll::Ready(self.0);
        }
        self.1 = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

fn ours<F: Of>(scale: Scale) -> Side {
    let runtime = Sisal::runtime(scale.workers);
    timed(move |calls| {
        Sisal::run(&runtime, move || {
            let mut sum = 0;
            let start = Instant::now();
            for n in 0..calls {
                sum += sisal::block_on(F::of(black_box(n)));
            }
            let took = start.elapsed();
            assert_eq!(sum, expected(calls), "a call was skipped");
            took
        })
    })
}

fn theirs<T: Tasks, F: Of>(scale: Scale) -> Side {
    let runtime = T::runtime(scale.workers);
    timed(move |calls| {
        let mut sum = 0;
        let start = Instant::now();
        for n in 0..calls {
            sum += T::block_on(&runtime, F::of(black_box(n)));
        }
        let took = start.elapsed();
        assert_eq!(sum, expected(calls), "a call was skipped");
        took
    })
}

fn expected(calls: u64) -> u64 {
    calls * calls.saturating_sub(1) / 2
}
