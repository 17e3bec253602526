//! `sync::oneshot`: one message, or the news that there is none.

mod common;

use std::cell::Cell;
use std::panic::{RefUnwindSafe, UnwindSafe};
use std::thread;
use std::time::{Duration, Instant};

use common::{LONG, Tally, panic_text, runtime, settle, watchdog};
use sisal::fiber::spawn;
use sisal::sync::oneshot::{
    Receiver, RecvError, RecvTimeoutError, SendError, Sender, TryRecvError, channel,
};
use sisal::{block_on, timeout};

const SHORT: Duration = Duration::from_millis(3);

#[test]
fn what_each_side_sees() {
    let _watchdog = watchdog(60);
    let test = || {
        let (tx, rx) = channel();
        assert!(!tx.is_closed());
        assert_eq!(rx.is_ready(), Ok(false));
        // Each gives the receiver back.
        let Err(TryRecvError::Empty(rx)) = rx.try_recv() else {
            panic!("nothing was sent");
        };
        let Err(RecvTimeoutError::Timeout(rx)) = rx.recv_timeout(SHORT) else {
            panic!("nothing was sent");
        };
        let Err(RecvTimeoutError::Timeout(rx)) = rx.recv_deadline(Instant::now()) else {
            panic!("nothing was sent");
        };
        tx.send(7).unwrap();
        assert_eq!(rx.is_ready(), Ok(true));
        assert_eq!(rx.recv_deadline(Instant::now()).unwrap(), 7);

        // Received by reference: then there is no more.
        for after in 0..4 {
            let (tx, mut rx) = channel();
            tx.send(7).unwrap();
            assert_eq!(block_on(&mut rx), Ok(7));
            assert_eq!(rx.is_ready(), Err(RecvError));
            match after {
                0 => assert_eq!(rx.recv(), Err(RecvError)),
                1 => assert!(matches!(rx.try_recv(), Err(TryRecvError::Disconnected))),
                2 => assert!(matches!(
                    rx.recv_timeout(LONG),
                    Err(RecvTimeoutError::Disconnected)
                )),
                _ => assert_eq!(block_on(&mut rx), Err(RecvError)),
            }
        }

        let (tx, rx) = channel::<u8>();
        drop(tx);
        assert_eq!(rx.is_ready(), Err(RecvError));
        assert_eq!(rx.recv(), Err(RecvError));
        let (tx, rx) = channel::<u8>();
        drop(tx);
        assert!(matches!(rx.try_recv(), Err(TryRecvError::Disconnected)));
        // A wait with an end, ended by the message and by the sender.
        for sent in [true, false] {
            let (tx, rx) = channel();
            let sender = thread::spawn(move || match sent {
                true => tx.send(7).unwrap(),
                false => drop(tx),
            });
            match rx.recv_timeout(LONG) {
                Ok(7) => assert!(sent),
                Err(RecvTimeoutError::Disconnected) => assert!(!sent),
                other => panic!("{other:?}"),
            }
            sender.join().unwrap();
        }
        let (tx, rx) = channel();
        drop(rx);
        assert!(tx.is_closed());
        assert_eq!(tx.send(7), Err(SendError(7)));
    };
    test();
    runtime(1).run(test);
}

#[test]
fn between_all_kinds() {
    let _watchdog = watchdog(60);
    let runtime = runtime(2);
    for _ in 0..50 {
        // Thread to fiber, fiber to thread, task to fiber, fiber to task.
        let (tx, rx) = channel();
        let fiber = runtime.spawn(move || rx.recv());
        thread::spawn(move || tx.send(1).unwrap()).join().unwrap();
        assert_eq!(fiber.join().unwrap(), Ok(1));
        let (tx, rx) = channel();
        let fiber = runtime.spawn(move || tx.send(2));
        assert_eq!(rx.recv(), Ok(2));
        fiber.join().unwrap().unwrap();
        runtime.run(|| {
            let (there, asked) = channel();
            let (back, answered) = channel();
            let task = tokio::spawn(async move { back.send(asked.await.unwrap() + 1).unwrap() });
            there.send(3).unwrap();
            assert_eq!(answered.recv(), Ok(4));
            block_on(task).unwrap();
        });
    }
}

#[test]
fn the_sender_that_goes_wakes() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, rx) = channel::<u8>();
        let receiver = spawn(move || rx.recv());
        settle();
        assert!(!receiver.is_finished());
        drop(tx);
        assert_eq!(receiver.join().unwrap(), Err(RecvError));
    });
}

#[test]
fn a_wait_that_is_cut_short_leaves_the_message() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (tx, mut rx) = channel();
        assert!(timeout(SHORT, || block_on(&mut rx)).is_err());
        assert!(timeout(SHORT, || block_on(&mut rx)).is_err());
        tx.send(1).unwrap();
        assert_eq!(rx.try_recv().unwrap(), 1);
        let (tx, rx) = channel();
        assert!(timeout(SHORT, || rx.recv_timeout(LONG)).is_err());
        assert!(tx.send(1).is_err());

        // With the receiver the message goes too.
        let tally = Tally::new();
        let (tx, rx) = channel();
        let receiver = spawn(move || rx.recv().map(drop));
        settle();
        tx.send(tally.make()).unwrap();
        receiver.cancel();
        assert!(receiver.join().unwrap_err().is_cancelled());
        tally.check(1..=1, "the message");
        let (tx, rx) = channel();
        let receiver = spawn(move || rx.recv().map(drop));
        settle();
        receiver.cancel();
        assert!(receiver.join().unwrap_err().is_cancelled());
        assert!(tx.send(tally.make()).map_err(drop).is_err());
        tally.check(2..=2, "the message that came back");
    });
}

#[test]
fn no_wait_on_a_workers_own_stack() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let task = tokio::spawn(async {
            let (tx, rx) = channel();
            tx.send(1).unwrap();
            let text = panic_text(|| rx.recv_timeout(SHORT));
            assert!(text.contains("`.await`"), "{text}");
            let (tx, rx) = channel();
            tx.send(1).unwrap();
            let text = panic_text(|| rx.recv());
            assert!(text.contains("`.await`"), "{text}");
        });
        block_on(task).unwrap();
    });
}

#[test]
fn traits() {
    fn all<T: Send + Sync + UnwindSafe + RefUnwindSafe + Unpin>() {}
    all::<Sender<Cell<u8>>>();
    all::<Receiver<Cell<u8>>>();
    let (tx, rx) = channel::<Cell<u8>>();
    assert_eq!(format!("{tx:?} {rx:?}"), "Sender { .. } Receiver { .. }");
    // What is inside need not be `Debug`; and `?` makes errors of each other.
    fn error<E: std::error::Error + From<RecvError>>(error: E) -> String {
        assert!(!error.to_string().is_empty());
        format!("{error:?} {:?}", E::from(RecvError))
    }
    let empty = error(rx.try_recv().map(drop).unwrap_err());
    assert_eq!(empty, "Empty(..) Disconnected");
    let (tx, rx) = channel::<Cell<u8>>();
    let late = rx.recv_deadline(Instant::now()).map(drop).unwrap_err();
    assert_eq!(error(late), "Timeout(..) Disconnected");
    drop(tx);
}
