//! `sync::mpmc::Receiver` as a `Stream`: each message comes once, and no stream keeps one from the others.

mod common;

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread;

use common::{Count, runtime, until, watchdog};
use futures::{FutureExt, Stream, StreamExt};
use sisal::fiber::spawn;
use sisal::sync::mpmc::{Receiver, RecvError, channel, sync_channel};
use sisal::{block_on, timeout};

/// Counts its wakes.
struct Wakes(Count);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.add();
    }
}

fn counted() -> (Count, Waker) {
    let count = Count::new();
    let waker = Waker::from(Arc::new(Wakes(count.clone())));
    (count, waker)
}

fn poll<T>(rx: &mut Receiver<T>, waker: &Waker) -> Poll<Option<T>> {
    Pin::new(rx).poll_next(&mut Context::from_waker(waker))
}

/// Two clones in two tasks, fibers or threads: each message once, in order for each, and both are told of the end.
#[test]
fn two_clones_share_the_messages() {
    const ALL: usize = 2000;
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    for capacity in [Some(0), Some(1), Some(5), None] {
        let (tx, rx) = match capacity {
            Some(capacity) => sync_channel(capacity),
            None => channel(),
        };
        let clones = [rx.clone(), rx];
        let (fiber, task) = runtime.run(move || {
            let [one, two] = clones;
            let fiber = spawn(move || block_on(one.collect::<Vec<usize>>()));
            (fiber, tokio::spawn(two.collect::<Vec<usize>>()))
        });
        let sender = thread::spawn(move || (0..ALL).for_each(|n| tx.send(n).unwrap()));
        let mut got = [fiber.join().unwrap(), block_on(task).unwrap()];
        sender.join().unwrap();
        assert!(got.iter().all(|got| got.is_sorted()));
        got.as_mut_slice().sort();
        let mut all = got.concat();
        all.sort_unstable();
        assert!(all.into_iter().eq(0..ALL));
    }
}

/// One is polled and dropped again and again beside one that goes on.
#[test]
fn one_that_is_dropped_in_the_middle_takes_nothing_along() {
    const ALL: usize = 1000;
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    for capacity in [0, 1, 4] {
        let (tx, rx) = sync_channel(capacity);
        let kept = rx.clone();
        let kept = runtime.spawn(move || block_on(kept.collect::<Vec<usize>>()));
        let dropped = runtime.spawn(move || {
            let mut got = Vec::new();
            loop {
                let mut clone = rx.clone();
                // Waits for nothing: the future goes, then the stream.
                match clone.next().now_or_never() {
                    Some(Some(n)) => got.push(n),
                    Some(None) => return got,
                    None => sisal::fiber::yield_now(),
                }
            }
        });
        let sender = runtime.spawn(move || (0..ALL).for_each(|n| tx.send(n).unwrap()));
        sender.join().unwrap();
        let mut all = kept.join().unwrap();
        all.extend(dropped.join().unwrap());
        all.sort_unstable();
        assert!(all.into_iter().eq(0..ALL));
    }
}

/// One that is not polled again keeps nobody from the message, and is not in the way of the end.
#[test]
fn one_that_is_not_polled_any_more_keeps_nothing() {
    let _watchdog = watchdog(60);
    let (tx, mut paused) = channel();
    let mut others = [paused.clone(), paused.clone()];
    let (of_paused, waker) = counted();
    assert!(poll(&mut paused, &waker).is_pending());
    let wakes = others.each_mut().map(|rx| {
        let (count, waker) = counted();
        assert!(poll(rx, &waker).is_pending());
        count
    });
    tx.send(1).unwrap();
    // All are told, once.
    assert_eq!((of_paused.get(), wakes[0].get(), wakes[1].get()), (1, 1, 1));
    assert_eq!(poll(&mut others[1], Waker::noop()), Poll::Ready(Some(1)));
    assert!(poll(&mut others[0], Waker::noop()).is_pending());
    tx.send(2).unwrap();
    assert_eq!(of_paused.get(), 1, "once for each wait");
    // Its other calls find it too.
    assert_eq!(paused.try_recv(), Ok(2));
    tx.send(3).unwrap();
    drop(tx);
    let [mut first, second] = others;
    assert_eq!(poll(&mut first, Waker::noop()), Poll::Ready(Some(3)));
    for rx in [first, second] {
        assert_eq!(rx.recv(), Err(RecvError));
    }
    assert_eq!(poll(&mut paused, &waker), Poll::Ready(None));
}

/// A stream that waits has room for one message; then its sender knows it as received.
#[test]
fn without_room_a_stream_has_room_for_one() {
    let _watchdog = watchdog(60);
    let (tx, mut rx) = sync_channel(0);
    let mut other = rx.clone();
    tx.try_send(0).unwrap_err();
    for rx in [&mut rx, &mut other] {
        assert!(poll(rx, Waker::noop()).is_pending());
    }
    tx.try_send(1).unwrap();
    tx.try_send(2).unwrap_err();
    // Who was woken is gone: the message is the other's.
    drop(rx);
    assert_eq!(poll(&mut other, Waker::noop()), Poll::Ready(Some(1)));
    // A stream that is gone has no room.
    assert!(poll(&mut other, Waker::noop()).is_pending());
    let kept = other.clone();
    drop(other);
    tx.try_send(3).unwrap_err();
    drop(kept);
}

/// A call that waits comes first; one that was served and gives up hands on to the streams.
#[test]
fn a_call_that_gives_up_hands_on_to_a_stream() {
    let _watchdog = watchdog(60);
    for senders_go in [false, true] {
        let (tx, mut rx) = channel();
        let other = rx.clone();
        let (wakes, waker) = counted();
        assert!(poll(&mut rx, &waker).is_pending());
        let mut call = Box::pin(other.recv_async());
        let mut cx = Context::from_waker(Waker::noop());
        assert!(call.as_mut().poll(&mut cx).is_pending());
        tx.send(7).unwrap();
        let kept = (!senders_go).then_some(tx);
        assert_eq!(wakes.get(), 0);
        // Not the end: the message may come back.
        assert!(poll(&mut rx, &waker).is_pending());
        drop(call);
        assert_eq!(wakes.get(), 1);
        assert_eq!(poll(&mut rx, &waker), Poll::Ready(Some(7)));
        drop(kept);
        assert_eq!(poll(&mut rx, &waker), Poll::Ready(None));
    }
}

/// After the end it is asked again and again.
#[test]
fn after_the_end() {
    let (tx, mut rx) = channel();
    let mut other = rx.clone();
    let wakes = [&mut rx, &mut other].map(|rx| {
        let (count, waker) = counted();
        assert!(poll(rx, &waker).is_pending());
        count
    });
    let more = tx.clone();
    drop(tx);
    assert_eq!(wakes[0].get() + wakes[1].get(), 0);
    more.send(1).unwrap();
    drop(more);
    assert_eq!(poll(&mut rx, Waker::noop()), Poll::Ready(Some(1)));
    for _ in 0..3 {
        assert_eq!(poll(&mut rx, Waker::noop()), Poll::Ready(None));
        assert_eq!(poll(&mut other, Waker::noop()), Poll::Ready(None));
    }
    assert!(wakes.iter().all(|wakes| wakes.get() == 1));
}

/// Many streams at once, more than are woken in one go: all are told of a message, and of the end, also if a waker panics.
#[test]
fn every_stream_is_woken() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("in a waker");
        }
    }
    for streams in [1, 2, 15, 16, 17, 50] {
        for end in [false, true] {
            let (tx, rx) = channel();
            let mut bad = rx.clone();
            assert!(poll(&mut bad, &Waker::from(Arc::new(Panics))).is_pending());
            let mut clones: Vec<_> = (0..streams).map(|_| rx.clone()).collect();
            let (wakes, waker) = counted();
            for rx in &mut clones {
                assert!(poll(rx, Waker::noop()).is_pending());
                // The one before is forgotten.
                assert!(poll(rx, &waker).is_pending());
            }
            drop(rx);
            let told = catch_unwind(AssertUnwindSafe(|| match end {
                true => drop(tx),
                false => tx.send(1).unwrap(),
            }));
            assert!(told.is_err());
            assert_eq!(wakes.get(), streams);
            let found = poll(&mut clones[0], Waker::noop());
            assert_eq!(found, Poll::Ready((!end).then_some(1)));
        }
    }
}

/// What a poll leaves behind: a waker, until a message comes or the receiver goes.
#[test]
fn a_poll_leaves_a_waker_until_its_receiver_goes() {
    let (tx, rx) = channel::<u8>();
    let (count, waker) = counted();
    let held = Arc::new(Wakes(count));
    for _ in 0..3 {
        let mut clones = [rx.clone(), rx.clone(), rx.clone()];
        for rx in &mut clones {
            let own = Waker::from(Arc::clone(&held));
            assert!(
                pin!(rx.next())
                    .poll(&mut Context::from_waker(&own))
                    .is_pending()
            );
            assert!(poll(rx, &own).is_pending());
        }
        assert_eq!(Arc::strong_count(&held), 4);
        let [first, second, third] = clones;
        drop(second);
        assert_eq!(Arc::strong_count(&held), 3);
        drop(first);
        assert_eq!(Arc::strong_count(&held), 2);
        drop(third);
        assert_eq!(Arc::strong_count(&held), 1);
    }
    drop((tx, waker));
}

/// A fiber that is cancelled while it waits for a stream, with the message on its way.
#[test]
fn a_cancelled_fiber_leaves_the_message() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for capacity in [0, 1] {
            let (tx, mut rx) = sync_channel(capacity);
            let mut theirs = rx.clone();
            let begun = Count::new();
            let (count, left) = (begun.clone(), std::time::Duration::from_millis(2));
            let waits = spawn(move || {
                count.add();
                block_on(theirs.next())
            });
            until(|| begun.get() == 1);
            common::settle();
            tx.try_send(7).unwrap();
            waits.cancel();
            assert!(waits.join().unwrap_err().is_cancelled());
            assert_eq!(block_on(rx.next()), Some(7));
            assert!(timeout(left, || block_on(rx.next())).is_err());
            drop(tx);
            assert_eq!(block_on(rx.next()), None);
        }
    });
}
