//! Two fibers send a number to and fro through a pair of channels with room for one message.

use std::time::Instant;

use super::work::{BOOST_FIBER, GO, Scale, Side, Work, everybody, timed};
use crate::faces::{Fibers, Tasks};

pub(super) const ROWS: &[Work] = &[Work {
    name: "channel ping-pong",
    group: "channels",
    operation: "a round trip",
    least_units: 500,
    short: true,
    note: Some(
        "room for one message, each its own: sync_channel(1), tokio::sync::mpsc::channel(1), async-channel's bounded(1), Go's make(chan, 1), boost.fiber's buffered_channel(2), where one place stays free; may has only channels without a bound",
    ),
    sides: everybody!(fibers, tasks),
    foreign: &[GO, BOOST_FIBER],
    ..Work::BASE
}];

fn fibers<F: Fibers>(scale: Scale) -> Side {
    let runtime = F::runtime(scale.workers);
    timed(move |trips| {
        F::run(&runtime, move || {
            let (to_pong, at_pong) = F::channel(1);
            let (to_ping, at_ping) = F::channel(1);
            let pong = F::spawn(move || {
                let mut answers = 0;
                while let Some(ball) = F::recv(&at_pong) {
                    F::send(&to_ping, ball + 1);
                    answers += 1;
                }
                answers
            });
            let mut ball = 0;
            let start = Instant::now();
            for _ in 0..trips {
                F::send(&to_pong, ball);
                ball = F::recv(&at_ping).expect("pong answers");
            }
            let took = start.elapsed();
            drop(to_pong);
            assert_eq!((ball, F::join(pong)), (trips, trips), "a trip was skipped");
            took
        })
    })
}

fn tasks<T: Tasks>(scale: Scale) -> Side {
    let runtime = T::runtime(scale.workers);
    timed(move |trips| {
        T::run(&runtime, async move {
            let (to_pong, mut at_pong) = T::channel(1);
            let (to_ping, mut at_ping) = T::channel(1);
            let pong = T::spawn(async move {
                let mut answers = 0;
                while let Some(ball) = T::recv(&mut at_pong).await {
                    T::send(&to_ping, ball + 1).await;
                    answers += 1;
                }
                answers
            });
            let mut ball = 0;
            let start = Instant::now();
            for _ in 0..trips {
                T::send(&to_pong, ball).await;
                ball = T::recv(&mut at_ping).await.expect("pong answers");
            }
            let took = start.elapsed();
            drop(to_pong);
            let answers = T::join(pong).await;
            assert_eq!((ball, answers), (trips, trips), "a trip was skipped");
            took
        })
    })
}
