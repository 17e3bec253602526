//! Channels with many ends: one fiber sends to many, each with a channel of its own, and many send to one.

use std::time::Instant;

use super::work::{BOOST_FIBER, GO, Scale, Side, Work, everybody, timed};
use crate::faces::{Fibers, Tasks};

const ROOM: usize = 16;

pub(super) const ROWS: &[Work] = &[
    Work {
        name: "channels, 1 to 100",
        sides: everybody!(one_to_many_fibers, one_to_many_tasks),
        ..BASE
    },
    Work {
        name: "channel, 100 to 1",
        sides: everybody!(many_to_one_fibers, many_to_one_tasks),
        ..BASE
    },
];

const BASE: Work = Work {
    group: "channels",
    size: 100,
    quick: 20,
    operation: "a message",
    operations: |fibers| fibers,
    least_units: 40,
    note: Some(
        "room for 16 messages; boost.fiber's have room for 31, may's channels have no bound, so its senders never wait",
    ),
    foreign: &[GO, BOOST_FIBER],
    ..Work::BASE
};

fn one_to_many_fibers<F: Fibers>(scale: Scale) -> Side {
    let runtime = F::runtime(scale.workers);
    timed(move |messages| {
        F::run(&runtime, move || {
            let (mut senders, mut receivers) = (Vec::new(), Vec::new());
            for _ in 0..scale.size {
                let (tx, rx) = F::channel(ROOM);
                senders.push(tx);
                receivers.push(F::spawn(move || {
                    let mut sum = 0;
                    while let Some(message) = F::recv(&rx) {
                        sum += message;
                    }
                    sum
                }));
            }
            let start = Instant::now();
            for message in 0..messages {
                for tx in &senders {
                    F::send(tx, message);
                }
            }
            drop(senders);
            let sum = receivers.into_iter().map(F::join).sum::<u64>();
            let took = start.elapsed();
            assert_eq!(sum, expected(scale, messages), "a message was lost");
            took
        })
    })
}

fn one_to_many_tasks<T: Tasks>(scale: Scale) -> Side {
    let runtime = T::runtime(scale.workers);
    timed(move |messages| {
        T::run(&runtime, async move {
            let (mut senders, mut receivers) = (Vec::new(), Vec::new());
            for _ in 0..scale.size {
                let (tx, mut rx) = T::channel(ROOM);
                senders.push(tx);
                receivers.push(T::spawn(async move {
                    let mut sum = 0;
                    while let Some(message) = T::recv(&mut rx).await {
                        sum += message;
                    }
                    sum
                }));
            }
            let start = Instant::now();
            for message in 0..messages {
                for tx in &senders {
                    T::send(tx, message).await;
                }
            }
            drop(senders);
            let mut sum = 0;
            for receiver in receivers {
                sum += T::join(receiver).await;
            }
            let took = start.elapsed();
            assert_eq!(sum, expected(scale, messages), "a message was lost");
            took
        })
    })
}

fn many_to_one_fibers<F: Fibers>(scale: Scale) -> Side {
    let runtime = F::runtime(scale.workers);
    timed(move |messages| {
        F::run(&runtime, move || {
            let (tx, rx) = F::channel(ROOM);
            let mut senders = Vec::new();
            let start = Instant::now();
            for _ in 0..scale.size {
                let tx = tx.clone();
                senders.push(F::spawn(move || {
                    for message in 0..messages {
                        F::send(&tx, message);
                    }
                    messages
                }));
            }
            drop(tx);
            let mut sum = 0;
            while let Some(message) = F::recv(&rx) {
                sum += message;
            }
            let took = start.elapsed();
            for sender in senders {
                assert_eq!(F::join(sender), messages);
            }
            assert_eq!(sum, expected(scale, messages), "a message was lost");
            took
        })
    })
}

fn many_to_one_tasks<T: Tasks>(scale: Scale) -> Side {
    let runtime = T::runtime(scale.workers);
    timed(move |messages| {
        T::run(&runtime, async move {
            let (tx, mut rx) = T::channel(ROOM);
            let mut senders = Vec::new();
            let start = Instant::now();
            for _ in 0..scale.size {
                let tx = tx.clone();
                senders.push(T::spawn(async move {
                    for message in 0..messages {
                        T::send(&tx, message).await;
                    }
                    messages
                }));
            }
            drop(tx);
            let mut sum = 0;
            while let Some(message) = T::recv(&mut rx).await {
                sum += message;
            }
            let took = start.elapsed();
            for sender in senders {
                assert_eq!(T::join(sender).await, messages);
            }
            assert_eq!(sum, expected(scale, messages), "a message was lost");
            took
        })
    })
}

fn expected(scale: Scale, messages: u64) -> u64 {
    scale.size * (messages * (messages - 1) / 2)
}
