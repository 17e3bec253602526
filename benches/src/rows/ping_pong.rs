//! Two fibers send a number to and fro through a pair of channels.
//!
//! Both sides use tokio's channel, so the row compares waiting for a future with `block_on` to awaiting it in a task.

use std::time::{Duration, Instant};

use tokio::sync::mpsc::{Receiver, Sender, channel};

use super::{Side, Sides, Work, one_thread};

pub(super) const WORK: Work = Work {
    name: "channel ping-pong",
    peer: one_thread::TOKIO,
    operations_per_unit: 1,
    least_units: 1_000,
    note: Some("tokio::sync::mpsc::channel(1) on both sides, ours through block_on; a round trip"),
    sides: || Sides {
        ours: ours(),
        peer: tokio(),
    },
};

fn ours() -> Side {
    fn ping(trips: u64, tx: &Sender<u64>, rx: &mut Receiver<u64>) -> Duration {
        let mut ball = 0;
        let start = Instant::now();
        for _ in 0..trips {
            sisal::block_on(tx.send(ball)).expect("pong listens");
            ball = sisal::block_on(rx.recv()).expect("pong answers");
        }
        let took = start.elapsed();
        assert_eq!(ball, trips, "a trip was skipped");
        took
    }
    fn pong(tx: &Sender<u64>, rx: &mut Receiver<u64>) {
        while let Some(ball) = sisal::block_on(rx.recv()) {
            sisal::block_on(tx.send(ball + 1)).expect("ping listens");
        }
    }

    let runtime = one_thread::sisal();
    Box::new(move |trips| {
        runtime.run(|| {
            let (to_pong, mut at_pong) = channel(1);
            let (to_ping, mut at_ping) = channel(1);
            let pong = sisal::fiber::spawn(move || pong(&to_ping, &mut at_pong));
            let ping = sisal::fiber::spawn(move || ping(trips, &to_pong, &mut at_ping));
            let took = ping.join().expect("ping ends");
            pong.join().expect("pong ends when ping hangs up");
            took
        })
    })
}

fn tokio() -> Side {
    async fn ping(trips: u64, tx: &Sender<u64>, rx: &mut Receiver<u64>) -> Duration {
        let mut ball = 0;
        let start = Instant::now();
        for _ in 0..trips {
            tx.send(ball).await.expect("pong listens");
            ball = rx.recv().await.expect("pong answers");
        }
        let took = start.elapsed();
        assert_eq!(ball, trips, "a trip was skipped");
        took
    }
    async fn pong(tx: &Sender<u64>, rx: &mut Receiver<u64>) {
        while let Some(ball) = rx.recv().await {
            tx.send(ball + 1).await.expect("ping listens");
        }
    }

    let runtime = one_thread::tokio();
    Box::new(move |trips| {
        runtime.block_on(async {
            let (to_pong, mut at_pong) = channel(1);
            let (to_ping, mut at_ping) = channel(1);
            let pong = tokio::spawn(async move { pong(&to_ping, &mut at_pong).await });
            let ping = tokio::spawn(async move { ping(trips, &to_pong, &mut at_ping).await });
            let took = ping.await.expect("ping ends");
            pong.await.expect("pong ends when ping hangs up");
            took
        })
    })
}
