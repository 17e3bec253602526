//! `sync::mpmc`: each message is received once, by the receiver that waits longest.

mod common;

use std::cell::Cell;
use std::future::Future;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::task::{Context, Waker};
use std::thread;
use std::time::{Duration, Instant};

use common::{Count, LONG, panic_text, runtime, settle, watchdog};
use sisal::fiber::spawn;
use sisal::sync::mpmc::{
    Receiver, RecvError, RecvTimeoutError, SendError, SendTimeoutError, Sender, TryRecvError,
    channel, sync_channel,
};
use sisal::{block_on, timeout};

const SHORT: Duration = Duration::from_millis(3);

#[test]
fn receivers_are_served_in_order() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for capacity in [0, 1, 8] {
            let (tx, rx) = sync_channel(capacity);
            let receivers: Vec<_> = (0..5)
                .map(|_| {
                    let rx = rx.clone();
                    let receiver = spawn(move || rx.recv());
                    settle();
                    receiver
                })
                .collect();
            for n in 0..5 {
                tx.try_send(n).unwrap();
            }
            assert_eq!(tx.try_send(5).is_ok(), capacity > 0);
            for (n, receiver) in receivers.into_iter().enumerate() {
                assert_eq!(receiver.join().unwrap(), Ok(n));
            }
        }
    });
}

#[test]
fn what_one_asks_about_a_channel() {
    let (tx, rx) = sync_channel(2);
    let (other, other_rx) = channel::<u8>();
    assert_eq!(
        (tx.capacity(), rx.capacity(), other.capacity()),
        (Some(2), Some(2), None)
    );
    assert!(tx.is_empty() && rx.is_empty() && !tx.is_full() && !other_rx.is_full());
    tx.send(1).unwrap();
    tx.send(2).unwrap();
    assert!(tx.is_full() && rx.is_full());
    assert_eq!((tx.len(), rx.len()), (2, 2));
    assert!(tx.same_channel(&tx.clone()) && rx.same_channel(&rx.clone()));
    assert!(!tx.same_channel(&other) && !rx.same_channel(&other_rx));
    let (none, none_rx) = sync_channel::<u8>(0);
    assert!(none.is_full() && none.is_empty() && none_rx.is_full());
    drop(tx);
    assert!(rx.is_disconnected());
    assert_eq!(rx.iter().collect::<Vec<_>>(), [1, 2]);
    assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    let again = other_rx.clone();
    drop(other_rx);
    assert!(!other.is_disconnected());
    drop(again);
    assert!(other.is_disconnected());
    assert_eq!(other.send(3), Err(SendError(3)));
}

#[test]
fn sends_and_receives_with_an_end() {
    let _watchdog = watchdog(60);
    let test = || {
        let (tx, rx) = sync_channel(1);
        tx.send_timeout(1, LONG).unwrap();
        for late in [
            tx.send_timeout(2, SHORT),
            tx.send_timeout(2, Duration::ZERO),
        ] {
            assert_eq!(late, Err(SendTimeoutError::Timeout(2)));
        }
        let past = Instant::now();
        assert_eq!(tx.send_deadline(2, past), Err(SendTimeoutError::Timeout(2)));
        assert_eq!(rx.recv_deadline(past), Ok(1));
        assert_eq!(rx.recv_deadline(past), Err(RecvTimeoutError::Timeout));
        assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        let taker = thread::spawn(move || (rx.recv(), rx.recv()));
        tx.send_timeout(3, LONG).unwrap();
        tx.send_deadline(4, Instant::now() + LONG).unwrap();
        assert_eq!(taker.join().unwrap(), (Ok(3), Ok(4)));
        assert_eq!(
            tx.send_timeout(5, LONG),
            Err(SendTimeoutError::Disconnected(5))
        );
        assert_eq!(
            SendTimeoutError::from(SendError(6)),
            SendTimeoutError::Disconnected(6)
        );
    };
    test();
    runtime(1).run(test);
}

/// One that was handed a message and is cancelled before it runs: the next has it, also if the senders have gone meanwhile.
#[test]
fn a_cancelled_receiver_hands_on() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for capacity in [0, 1] {
            for senders_go in [false, true] {
                let (tx, rx) = sync_channel(capacity);
                let receivers = [rx.clone(), rx.clone()].map(|rx| {
                    let receiver = spawn(move || rx.recv());
                    settle();
                    receiver
                });
                tx.try_send(7).unwrap();
                let kept = (!senders_go).then_some(tx);
                let [first, second] = receivers;
                first.cancel();
                assert!(first.join().unwrap_err().is_cancelled());
                assert_eq!(second.join().unwrap(), Ok(7));
                drop(kept);
                assert_eq!(rx.recv(), Err(RecvError));
            }
        }
    });
}

/// Nobody is told of the end while a message may come back; all are when it is taken up.
#[test]
fn the_end_waits_for_what_was_handed() {
    let mut cx = Context::from_waker(Waker::noop());
    for take in [true, false] {
        let (tx, rx) = channel();
        let other = rx.clone();
        let mut first = Box::pin(rx.recv_async());
        let mut second = Box::pin(other.recv_async());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        tx.send(7).unwrap();
        drop(tx);
        assert_eq!(other.try_recv(), Err(TryRecvError::Empty));
        assert!(second.as_mut().poll(&mut cx).is_pending());
        match take {
            true => {
                assert_eq!(block_on(first), Ok(7));
                assert_eq!(block_on(second), Err(RecvError));
            }
            false => {
                drop(first);
                assert_eq!(block_on(second), Ok(7));
            }
        }
        assert_eq!(other.try_recv(), Err(TryRecvError::Disconnected));
    }
}

#[test]
fn timeouts_and_workers_own_stacks() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, rx) = sync_channel(0);
        assert!(timeout(SHORT, || rx.recv()).is_err());
        assert!(timeout(SHORT, || rx.recv_timeout(LONG)).is_err());
        assert!(timeout(SHORT, || tx.send(1)).is_err());
        assert!(timeout(SHORT, || tx.send_timeout(1, LONG)).is_err());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        let task = tokio::spawn(async move {
            for text in [
                panic_text(|| tx.send(1)),
                panic_text(|| tx.send_timeout(1, SHORT)),
            ] {
                assert!(text.contains("`send_async`"), "{text}");
            }
            for text in [
                panic_text(|| rx.recv()),
                panic_text(|| rx.recv_timeout(SHORT)),
            ] {
                assert!(text.contains("`recv_async`"), "{text}");
            }
            // Without a bound nothing waits.
            let (tx, rx) = channel();
            tx.send(1).unwrap();
            assert_eq!(rx.recv_async().await, Ok(1));
        });
        block_on(task).unwrap();
    });
}

/// Fibers, threads and tasks at both ends: each message comes once.
#[test]
fn everybody_at_once() {
    const EACH: usize = 300;
    let _watchdog = watchdog(120);
    let runtime = runtime(2);
    for capacity in [0, 1, 7] {
        let (tx, rx) = sync_channel(capacity);
        let seen: std::sync::Arc<Vec<Count>> =
            std::sync::Arc::new((0..3 * EACH).map(|_| Count::new()).collect());
        let send = |base: usize| {
            let tx = tx.clone();
            move || (base..base + EACH).for_each(|n| tx.send(n).unwrap())
        };
        let receive = || {
            let (rx, seen) = (rx.clone(), seen.clone());
            move || rx.iter().for_each(|n| _ = seen[n].add())
        };
        let fibers = [runtime.spawn(send(0)), runtime.spawn(receive())];
        let threads = [thread::spawn(send(EACH)), thread::spawn(receive())];
        let task = {
            let (tx, rx, seen) = (tx.clone(), rx.clone(), seen.clone());
            runtime.run(move || {
                tokio::spawn(async move {
                    for n in 2 * EACH..3 * EACH {
                        tx.send_async(n).await.unwrap();
                    }
                    drop(tx);
                    while let Ok(n) = rx.recv_async().await {
                        seen[n].add();
                    }
                })
            })
        };
        drop((tx, rx));
        fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        block_on(task).unwrap();
        assert!(seen.iter().all(|count| count.get() == 1));
    }
}

#[test]
fn traits() {
    fn all<T: Send + Sync + UnwindSafe + RefUnwindSafe + Unpin + Clone>() {}
    all::<Sender<Cell<u8>>>();
    all::<Receiver<Cell<u8>>>();
    let (tx, rx) = channel::<u8>();
    assert_eq!(format!("{tx:?} {rx:?}"), "Sender { .. } Receiver { .. }");
    // Its content need not be `Debug`.
    let error = SendTimeoutError::Timeout(Cell::new(1));
    assert_eq!(format!("{error:?}"), "Timeout(..)");
    assert!(!error.to_string().is_empty());
}
