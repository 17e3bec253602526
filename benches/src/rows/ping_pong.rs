//! Two fibers send a number to and fro through a pair of channels.
//!
//! Each side uses its own channel with room for one message.

use std::time::{Duration, Instant};

use sisal::sync::mpsc as fibers;
use tokio::sync::mpsc as tasks;

use super::{Side, Sides, Work, one_thread};

pub(super) const WORK: Work = Work {
    name: "channel ping-pong",
    peer: one_thread::TOKIO,
    operations_per_unit: 1,
    least_units: 1_000,
    note: Some(
        "room for one message, each side its own: sync_channel(1), tokio::sync::mpsc::channel(1); a round trip",
    ),
    sides: || Sides {
        ours: ours(),
        peer: tokio(),
    },
};

fn ours() -> Side {
    fn ping(trips: u64, tx: &fibers::SyncSender<u64>, rx: &fibers::Receiver<u64>) -> Duration {
        let mut ball = 0;
        let start = Instant::now();
        for _ in 0..trips {
            tx.send(ball).expect("pong listens");
            ball = rx.recv().expect("pong answers");
        }
        let took = start.elapsed();
        assert_eq!(ball, trips, "a trip was skipped");
        took
    }
    fn pong(tx: &fibers::SyncSender<u64>, rx: &fibers::Receiver<u64>) {
        while let Ok(ball) = rx.recv() {
            tx.send(ball + 1).expect("ping listens");
        }
    }

    let runtime = one_thread::sisal();
    Box::new(move |trips| {
        runtime.run(|| {
            let (to_pong, at_pong) = fibers::sync_channel(1);
            let (to_ping, at_ping) = fibers::sync_channel(1);
            let pong = sisal::fiber::spawn(move || pong(&to_ping, &at_pong));
            let ping = sisal::fiber::spawn(move || ping(trips, &to_pong, &at_ping));
            let took = ping.join().expect("ping ends");
            pong.join().expect("pong ends when ping hangs up");
            took
        })
    })
}

fn tokio() -> Side {
    async fn ping(trips: u64, tx: &tasks::Sender<u64>, rx: &mut tasks::Receiver<u64>) -> Duration {
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
    async fn pong(tx: &tasks::Sender<u64>, rx: &mut tasks::Receiver<u64>) {
        while let Some(ball) = rx.recv().await {
            tx.send(ball + 1).await.expect("ping listens");
        }
    }

    let runtime = one_thread::tokio();
    Box::new(move |trips| {
        runtime.block_on(async {
            let (to_pong, mut at_pong) = tasks::channel(1);
            let (to_ping, mut at_ping) = tasks::channel(1);
            let pong = tokio::spawn(async move { pong(&to_ping, &mut at_pong).await });
            let ping = tokio::spawn(async move { ping(trips, &to_pong, &mut at_ping).await });
            let took = ping.await.expect("ping ends");
            pong.await.expect("pong ends when ping hangs up");
            took
        })
    })
}
