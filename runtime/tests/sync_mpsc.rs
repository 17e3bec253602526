//! `sync::mpsc` as std's: what arrives, in which order, what is told to whom when the other side goes.

mod common;

use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread;
use std::time::Duration;

use common::{Count, LONG, Tally, runtime, settle, until, watchdog};
use sisal::fiber::spawn;
use sisal::sync::mpsc::{
    Receiver, RecvError, RecvTimeoutError, SendError, Sender, SyncSender, TryRecvError,
    TrySendError, channel, sync_channel,
};

/// As in a fiber, so on a thread.
fn in_both(test: impl Fn() + Send + Sync) {
    let _watchdog = watchdog(60);
    test();
    runtime(1).run(&test);
    runtime(2).run(&test);
}

#[test]
fn messages_come_in_order_and_then_the_end() {
    in_both(|| {
        let (tx, rx) = channel();
        for n in 0..5000 {
            tx.send(n).unwrap();
        }
        let other = tx.clone();
        drop(tx);
        assert_eq!(
            rx.iter().take(2000).collect::<Vec<_>>(),
            (0..2000).collect::<Vec<_>>()
        );
        other.send(5000).unwrap();
        drop(other);
        assert_eq!(
            rx.into_iter().collect::<Vec<_>>(),
            (2000..=5000).collect::<Vec<_>>()
        );
    });
}

#[test]
fn try_calls_say_what_they_find() {
    in_both(|| {
        let (tx, rx) = sync_channel(2);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Empty));
        assert_eq!(
            rx.recv_timeout(Duration::ZERO),
            Err(RecvTimeoutError::Timeout)
        );
        tx.try_send(1).unwrap();
        tx.try_send(2).unwrap();
        assert_eq!(tx.try_send(3), Err(TrySendError::Full(3)));
        assert_eq!(rx.recv_timeout(Duration::ZERO), Ok(1));
        tx.send(4).unwrap();
        assert_eq!(rx.try_iter().collect::<Vec<_>>(), [2, 4]);
        drop(tx);
        assert_eq!(rx.try_recv(), Err(TryRecvError::Disconnected));
        assert_eq!(rx.recv(), Err(RecvError));
        assert_eq!(rx.recv_timeout(LONG), Err(RecvTimeoutError::Disconnected));

        let (tx, rx) = sync_channel(1);
        tx.send(1).unwrap();
        drop(rx);
        assert_eq!(tx.try_send(2), Err(TrySendError::Disconnected(2)));
        assert_eq!(tx.send(3), Err(SendError(3)));
        let (tx, rx) = channel();
        drop(rx);
        assert_eq!(tx.send(3), Err(SendError(3)));
    });
}

/// A sender that has to wait is served before one that comes later, and its message is received before.
#[test]
fn senders_are_served_in_order() {
    let _watchdog = watchdog(60);
    for capacity in [0, 1, 3] {
        runtime(1).run(|| {
            let (tx, rx) = sync_channel(capacity);
            let done = Count::new();
            let senders: Vec<_> = (0..8)
                .map(|n| {
                    let (tx, done) = (tx.clone(), done.clone());
                    let sender = spawn(move || {
                        tx.send(n).unwrap();
                        done.add();
                    });
                    settle();
                    sender
                })
                .collect();
            assert_eq!(done.get(), capacity);
            for n in 0..8 {
                assert_eq!(rx.recv(), Ok(n));
                settle();
                // Each makes room for one, and for no more.
                assert_eq!(done.get(), (capacity + n + 1).min(8));
            }
            senders
                .into_iter()
                .for_each(|sender| sender.join().unwrap());
        });
    }
}

#[test]
fn rendezvous() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, rx) = sync_channel(0);
        assert_eq!(tx.try_send(0), Err(TrySendError::Full(0)));
        let sent = Count::new();
        let sender = {
            let (tx, sent) = (tx.clone(), sent.clone());
            spawn(move || {
                tx.send(1).unwrap();
                sent.add();
            })
        };
        settle();
        assert_eq!(sent.get(), 0, "nobody has taken it");
        assert_eq!(rx.try_recv(), Ok(1));
        sender.join().unwrap();
        assert_eq!(sent.get(), 1);
        // A receiver that waits takes it from a `try_send` too.
        let receiver = spawn(move || rx.recv());
        settle();
        tx.try_send(2).unwrap();
        assert_eq!(receiver.join().unwrap(), Ok(2));
        assert_eq!(tx.try_send(3), Err(TrySendError::Disconnected(3)));
    });
}

/// The last sender wakes the receiver, the receiver all senders, and they have their messages back.
#[test]
fn who_waits_is_told_of_the_end() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, rx) = channel::<u8>();
        let other = tx.clone();
        let receiver = spawn(move || rx.recv());
        settle();
        drop(tx);
        settle();
        assert!(!receiver.is_finished());
        drop(other);
        assert_eq!(receiver.join().unwrap(), Err(RecvError));

        // More than are woken at once.
        for capacity in [0, 1] {
            let (tx, rx) = sync_channel(capacity);
            let senders: Vec<_> = (0..50)
                .map(|n| {
                    let tx = tx.clone();
                    spawn(move || tx.send(n))
                })
                .collect();
            settle();
            drop(rx);
            let sent: Vec<_> = senders
                .into_iter()
                .map(|sender| sender.join().unwrap())
                .collect();
            for (n, sent) in sent.into_iter().enumerate() {
                match n < capacity {
                    true => assert_eq!(sent, Ok(())),
                    false => assert_eq!(sent, Err(SendError(n))),
                }
            }
        }
    });
}

/// Each message is dropped once: received, left behind, or given back.
#[test]
fn messages_are_dropped_once() {
    in_both(|| {
        for capacity in [Some(3), None] {
            let tally = Tally::new();
            let send: Box<dyn Fn() -> bool>;
            let rx;
            match capacity {
                Some(capacity) => {
                    let (tx, receiver) = sync_channel(capacity);
                    rx = receiver;
                    let tally = tally.clone();
                    send = Box::new(move || tx.try_send(tally.make()).is_ok());
                }
                None => {
                    let (tx, receiver) = channel();
                    rx = receiver;
                    let tally = tally.clone();
                    send = Box::new(move || tx.send(tally.make()).is_ok());
                }
            }
            for _ in 0..3 {
                assert!(send());
            }
            drop(rx.recv().unwrap());
            assert_eq!(tally.dropped.get(), 1);
            // Right away, though there is a sender.
            drop(rx);
            assert_eq!(tally.dropped.get(), 3);
            assert!(!send());
            drop(send);
            tally.check(4..=4, "messages");
        }
    });
}

/// A destructor of a message may use the channel: no lock is held.
#[test]
fn destructors_may_send() {
    struct Resends(Sender<Resends>, Count);
    impl Drop for Resends {
        fn drop(&mut self) {
            let Resends(tx, count) = self;
            count.add();
            let again = Resends(tx.clone(), Count::new());
            let refused = tx
                .send(again)
                .map_err(|SendError(back)| std::mem::forget(back));
            assert_eq!(refused, Err(()));
        }
    }
    in_both(|| {
        let (tx, rx) = channel();
        let count = Count::new();
        tx.send(Resends(tx.clone(), count.clone())).unwrap();
        tx.send(Resends(tx.clone(), count.clone())).unwrap();
        drop(rx);
        assert_eq!(count.get(), 2);
    });
}

/// The receiver goes to another thread, and threads and fibers share the senders.
#[test]
fn threads_and_fibers() {
    const EACH: u64 = 300;
    let _watchdog = watchdog(120);
    for capacity in [Some(0), Some(1), Some(16), None] {
        for receive_on_thread in [true, false] {
            let runtime = runtime(2);
            let (send, rx): (Box<dyn Fn(u64) + Send + Sync>, _) = match capacity {
                Some(capacity) => {
                    let (tx, rx) = sync_channel(capacity);
                    (Box::new(move |n| tx.send(n).unwrap()), rx)
                }
                None => {
                    let (tx, rx) = channel();
                    (Box::new(move |n| tx.send(n).unwrap()), rx)
                }
            };
            let send = std::sync::Arc::new(send);
            let part = |base: u64| {
                let send = send.clone();
                move || (0..EACH).for_each(|n| send(base + n))
            };
            let fibers = [runtime.spawn(part(0)), runtime.spawn(part(EACH))];
            let threads = [thread::spawn(part(2 * EACH)), thread::spawn(part(3 * EACH))];
            drop(send);
            let receive = move || rx.into_iter().collect::<Vec<u64>>();
            let mut received = match receive_on_thread {
                true => thread::spawn(receive).join().unwrap(),
                false => runtime.spawn(receive).join().unwrap(),
            };
            fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
            threads
                .into_iter()
                .for_each(|thread| thread.join().unwrap());
            received.sort_unstable();
            assert_eq!(received, (0..4 * EACH).collect::<Vec<_>>());
        }
    }
}

/// A fiber whose channel is never empty lets the others of its worker run, and meets a cancel.
#[test]
fn a_busy_receiver_lets_others_run() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, rx) = sync_channel(1);
        let busy = spawn(move || {
            loop {
                tx.send(()).unwrap();
                rx.recv().unwrap();
            }
        });
        let ran = spawn(|| ());
        until(|| ran.is_finished());
        busy.cancel();
        assert!(
            busy.join()
                .map(|never: ()| never)
                .unwrap_err()
                .is_cancelled()
        );
    });
}

/// Sends and receives of a bounded channel allocate nothing; checked by the room not growing: the capacity
/// is what was asked for, also beyond what is allocated at once.
#[test]
fn large_rooms_are_as_large_as_asked() {
    in_both(|| {
        let (tx, rx) = sync_channel::<[u64; 64]>(1000);
        for n in 0..1000 {
            tx.try_send([n; 64]).unwrap();
        }
        assert!(matches!(tx.try_send([0; 64]), Err(TrySendError::Full(_))));
        for n in 0..1000 {
            assert_eq!(rx.recv().unwrap()[63], n);
        }
    });
}

#[test]
fn traits_are_stds() {
    fn all<T: Send + Sync + UnwindSafe + RefUnwindSafe + Unpin>() {}
    fn receiver<T: Send + UnwindSafe + RefUnwindSafe + Unpin>() {}
    all::<Sender<Cell<u8>>>();
    all::<SyncSender<Cell<u8>>>();
    receiver::<Receiver<Cell<u8>>>();

    trait NotSync<Which> {
        fn is() {}
    }
    struct Given;
    impl<T> NotSync<()> for T {}
    impl<T: Sync> NotSync<Given> for T {}
    // Ambiguous if it were `Sync`.
    <Receiver<u8> as NotSync<_>>::is();

    let (tx, rx) = channel::<Cell<u8>>();
    assert_eq!(format!("{tx:?} {rx:?}"), "Sender { .. } Receiver { .. }");
    let std = std::sync::mpsc::channel::<Cell<u8>>();
    assert_eq!(format!("{tx:?} {rx:?}"), format!("{:?} {:?}", std.0, std.1));
    let (tx, _rx) = sync_channel::<u8>(0);
    assert_eq!(format!("{tx:?}"), "SyncSender { .. }");
    assert_eq!(format!("{:?}", _rx.iter()), "Iter { rx: Receiver { .. } }");
    // The very types of std.
    let _: std::sync::mpsc::TryRecvError = _rx.try_recv().unwrap_err();
}
