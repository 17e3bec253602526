//! Waits of `sync::mpsc` that are cut short, and calls where nobody may wait.

mod common;

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Waker};
use std::time::Duration;

use common::{Count, LONG, Tally, panic_text, runtime, settle, watchdog};
use futures::StreamExt;
use sisal::fiber::spawn;
use sisal::sync::mpsc::{RecvTimeoutError, TryRecvError, channel, sync_channel};
use sisal::{block_on, timeout};

const SHORT: Duration = Duration::from_millis(3);

#[test]
fn a_cancelled_receiver_loses_nothing() {
    let _watchdog = watchdog(60);
    for capacity in [0, 1] {
        runtime(1).run(|| {
            // It has the message already when it is cancelled, and has not run since.
            let (tx, rx) = sync_channel(capacity);
            let begun = Count::new();
            let cancelled = {
                let begins = begun.clone();
                let rx = std::sync::Arc::new(std::sync::Mutex::new(rx));
                let kept = rx.clone();
                let fiber = spawn(move || {
                    let rx = rx.lock().unwrap_or_else(|e| e.into_inner());
                    begins.add();
                    rx.recv()
                });
                settle();
                assert_eq!(begun.get(), 1);
                tx.try_send(7).unwrap();
                fiber.cancel();
                assert!(fiber.join().unwrap_err().is_cancelled());
                kept
            };
            let rx = cancelled.lock().unwrap_or_else(|e| e.into_inner());
            assert_eq!(rx.try_recv(), Ok(7));
            assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
            // For that message the capacity did not count; now it does again.
            assert_eq!(tx.try_send(8).is_ok(), capacity == 1);
        });
    }
}

/// A sender that is cancelled in the middle of the queue: its message is dropped, those behind it arrive in order.
#[test]
fn a_cancelled_sender_drops_its_message() {
    let _watchdog = watchdog(60);
    for capacity in [0, 1] {
        runtime(1).run(|| {
            let tally = Tally::new();
            let (tx, rx) = sync_channel(capacity);
            let senders: Vec<_> = (0..4)
                .map(|n| {
                    let (tx, message) = (tx.clone(), tally.make());
                    let sender = spawn(move || tx.send((n, message)).is_ok());
                    settle();
                    sender
                })
                .collect();
            senders[2].cancel();
            settle();
            assert!(senders[2].is_finished());
            assert_eq!(tally.dropped.get(), 1);
            drop(tx);
            assert_eq!(rx.iter().map(|(n, _)| n).collect::<Vec<_>>(), [0, 1, 3]);
            let ended: Vec<_> = senders.into_iter().map(|s| s.join().ok()).collect();
            assert_eq!(ended, [Some(true), Some(true), None, Some(true)]);
            tally.check(4..=4, "messages");
        });
    }
}

/// One that was served just before the cancel has sent.
#[test]
fn a_served_sender_has_sent() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, rx) = sync_channel(0);
        let sender = spawn(move || tx.send(1));
        settle();
        assert_eq!(rx.try_recv(), Ok(1));
        sender.cancel();
        assert!(sender.join().unwrap_err().is_cancelled());
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
    });
}

#[test]
fn timeouts_end_each_wait() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, rx) = sync_channel(1);
        assert!(timeout(SHORT, || rx.recv()).is_err());
        assert!(timeout(SHORT, || rx.recv_timeout(LONG)).is_err());
        assert!(timeout(SHORT, || rx.iter().count()).is_err());
        assert!(timeout(SHORT, || block_on(rx.recv_async())).is_err());
        tx.send(1).unwrap();
        assert!(timeout(SHORT, || tx.send(2)).is_err());
        assert!(timeout(SHORT, || block_on(tx.send_async(3))).is_err());
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [1]);
        tx.send(4).unwrap();
        assert_eq!(timeout(LONG, || rx.recv()), Ok(Ok(4)));
    });
}

#[test]
fn receives_with_an_end() {
    let _watchdog = watchdog(60);
    let test = || {
        let (tx, rx) = channel();
        assert_eq!(rx.recv_timeout(SHORT), Err(RecvTimeoutError::Timeout));
        let sender = std::thread::spawn(move || tx.send(1).unwrap());
        assert_eq!(rx.recv_timeout(LONG), Ok(1));
        sender.join().unwrap();
        assert_eq!(rx.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));
        // A time that cannot be told.
        let (tx, rx) = channel();
        tx.send(2).unwrap();
        assert_eq!(rx.recv_timeout(Duration::MAX), Ok(2));
    };
    test();
    runtime(1).run(test);
}

/// Waiters are woken by deadline and by message at the same time: nothing is lost, nothing comes twice.
#[test]
fn deadlines_against_messages() {
    const MESSAGES: u32 = 400;
    let _watchdog = watchdog(120);
    let runtime = runtime(2);
    for capacity in [0, 1] {
        let (tx, rx) = sync_channel(capacity);
        let sender = std::thread::spawn(move || (0..MESSAGES).for_each(|n| tx.send(n).unwrap()));
        let received = runtime.run(move || {
            let mut received = Vec::new();
            let mut micros = 0;
            loop {
                micros = (micros + 37) % 2500;
                match rx.recv_timeout(Duration::from_micros(micros)) {
                    Ok(n) => received.push(n),
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return received,
                }
            }
        });
        sender.join().unwrap();
        assert_eq!(received, (0..MESSAGES).collect::<Vec<_>>());
    }
}

/// S10, also when there is nothing to wait for.
#[test]
fn no_wait_on_a_workers_own_stack() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let task = tokio::spawn(async {
            let (tx, rx) = sync_channel(2);
            let text = panic_text(|| tx.send(1));
            assert!(text.contains("`send_async`"), "{text}");
            tx.try_send(1).unwrap();
            for text in [
                panic_text(|| rx.recv()),
                panic_text(|| rx.recv_timeout(SHORT)),
                panic_text(|| rx.iter().next()),
            ] {
                assert!(text.contains("`recv_async`"), "{text}");
            }
            // These never wait.
            assert_eq!(rx.try_iter().count(), 1);
            let (tx, rx) = channel();
            tx.send(1).unwrap();
            assert_eq!(rx.try_recv(), Ok(1));
        });
        block_on(task).unwrap();
    });
}

/// Async tasks and fibers at the two ends.
#[test]
fn async_twins() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        for capacity in [0, 1, 10] {
            let (tx, rx) = sync_channel(capacity);
            let (back, answers) = sync_channel(capacity);
            // `Send`, though a receiver is not `Sync`.
            let task = tokio::spawn(async move {
                while let Ok(n) = rx.recv_async().await {
                    back.send_async(n + 1).await.unwrap();
                }
            });
            let sender = spawn(move || (0..100).for_each(|n| tx.send(n).unwrap()));
            assert_eq!(answers.iter().sum::<i32>(), 5050);
            sender.join().unwrap();
            block_on(task).unwrap();
        }
    });
}

/// A stream has room for one while it waits; whoever drops the future loses nothing.
#[test]
fn a_receiver_is_a_stream() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, mut rx) = sync_channel(0);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(pin!(rx.next()).poll(&mut cx).is_pending());
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap_err();
        assert_eq!(rx.recv(), Ok(1));
        let sender = spawn(move || (10..20).for_each(|n| tx.send(n).unwrap()));
        assert_eq!(
            block_on(rx.by_ref().take(4).collect::<Vec<_>>()),
            [10, 11, 12, 13]
        );
        assert_eq!(rx.recv(), Ok(14));
        assert_eq!(block_on(rx.collect::<Vec<_>>()), [15, 16, 17, 18, 19]);
        sender.join().unwrap();
    });
}

/// A future that is dropped after it was served puts its message back, for the next that waits.
#[test]
fn a_dropped_future_hands_on() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, rx) = channel();
        let mut cx = Context::from_waker(Waker::noop());
        let mut first = Box::pin(rx.recv_async());
        let mut second = Box::pin(rx.recv_async());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        assert!(second.as_mut().poll(&mut cx).is_pending());
        tx.send(1).unwrap();
        drop(first);
        assert_eq!(block_on(second), Ok(1));

        // And it is the first again.
        let mut first = Box::pin(rx.recv_async());
        assert!(first.as_mut().poll(&mut cx).is_pending());
        tx.send(2).unwrap();
        tx.send(3).unwrap();
        drop(first);
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [2, 3]);
    });
}

/// Wakers are called, cloned and dropped without a lock held: each uses the channel.
#[test]
fn wakers_may_use_the_channel() {
    use std::sync::{Arc, OnceLock};
    struct Uses(OnceLock<sisal::sync::mpsc::SyncSender<u8>>, Count);
    impl std::task::Wake for Uses {
        fn wake(self: Arc<Self>) {
            self.1.add();
            let _ = self.0.get().unwrap().try_send(9);
        }
    }
    impl Drop for Uses {
        fn drop(&mut self) {
            let _ = self.0.get().unwrap().try_send(9);
        }
    }
    let _watchdog = watchdog(60);
    let (tx, rx) = sync_channel(3);
    let count = Count::new();
    let uses = Arc::new(Uses(OnceLock::new(), count.clone()));
    uses.0.set(tx.clone()).unwrap();
    let waker = Waker::from(uses);
    {
        let mut recv = Box::pin(rx.recv_async());
        assert!(
            recv.as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
        drop(waker);
        tx.send(1).unwrap();
    }
    assert_eq!(count.get(), 1);
    let mut received: Vec<_> = rx.try_iter().collect();
    received.sort_unstable();
    assert_eq!(received, [1, 9, 9]);
}
