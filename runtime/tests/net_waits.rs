//! Network waits beside other waits: park tokens, futures, pools of threads, tokio's own tasks.

mod common_net;

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use common_net::{pair, pair_with_std, runtime, until, watchdog};
use sisal::fiber;

/// Tokens that come during a read neither end it nor are eaten by it.
#[test]
fn tokens_come_during_a_read() {
    let _dog = watchdog("tokens_come_during_a_read");
    runtime(1).run(|| {
        let (near, mut far) = pair_with_std();
        let begun = Arc::new(AtomicBool::new(false));
        let begins = begun.clone();
        let reader = sisal::spawn(move || {
            begins.store(true, Ordering::SeqCst);
            let mut buf = [0; 3];
            (&near).read_exact(&mut buf).unwrap();
            // The token that came meanwhile is still there; two are one.
            fiber::park();
            near.set_read_timeout(Some(Duration::from_millis(5)))
                .unwrap();
            assert!((&near).read(&mut [0]).is_err());
            buf
        });
        until(|| begun.load(Ordering::SeqCst));
        for byte in b"abc" {
            for _ in 0..20 {
                reader.fiber().unpark();
                fiber::yield_now();
            }
            assert!(!reader.is_finished());
            far.write_all(&[*byte]).unwrap();
        }
        assert_eq!(reader.join().unwrap(), *b"abc");
    });
}

/// A future that reads while it is polled, as a blocking library under an async one would; whoever waits
/// for the future is woken meanwhile.
#[test]
fn a_read_inside_a_poll() {
    let _dog = watchdog("a_read_inside_a_poll");
    runtime(2).run(|| {
        let (near, mut far) = pair_with_std();
        let (give, given) = tokio::sync::oneshot::channel::<()>();
        let (asleep, wakes) = std::sync::mpsc::channel();
        let sender = thread::spawn(move || {
            // The reader is in its wait, or about to be.
            wakes.recv().unwrap();
            give.send(()).unwrap();
            far.write_all(b"inner").unwrap();
        });
        let mut given = std::pin::pin!(given);
        let mut buf = [0; 5];
        let mut polls = 0;
        let done = sisal::block_on(std::future::poll_fn(|cx| {
            polls += 1;
            let outer = given.as_mut().poll(cx);
            if polls == 1 {
                assert!(outer.is_pending());
                asleep.send(()).unwrap();
                (&near).read_exact(&mut buf).unwrap();
            }
            match outer {
                Poll::Ready(done) => Poll::Ready(done),
                Poll::Pending => Poll::Pending,
            }
        }));
        done.unwrap();
        assert_eq!(&buf, b"inner");
        assert!(polls >= 2);
        sender.join().unwrap();
    });
}

/// On a thread of the pool, and of tokio's, it is a plain thread that waits; the fiber's own use of the
/// same stream goes on beside it.
#[test]
fn on_threads_of_pools() {
    let _dog = watchdog("on_threads_of_pools");
    runtime(1).run(|| {
        let (near, far) = pair();
        let near = Arc::new(near);
        let echo = sisal::spawn(move || common_net::echo(far, 8));
        let reads = near.clone();
        sisal::unblock(move || {
            (&*reads).write_all(b"in a pool").unwrap();
            (&*reads).read_exact(&mut [0; 9]).unwrap();
        });
        let reads = near.clone();
        let of_tokio = tokio::task::spawn_blocking(move || {
            let mut buf = [0; 8];
            (&*reads).read_exact(&mut buf).unwrap();
            buf
        });
        (&*near).write_all(b"of tokio").unwrap();
        assert_eq!(&sisal::block_on(of_tokio).unwrap(), b"of tokio");
        near.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!((&*near).read(&mut [0; 8]).unwrap(), 0);
        assert_eq!(echo.join().unwrap(), 17);
    });
}

/// Many fibers wait for the network, for each other and for time, at once.
#[test]
fn everything_at_once() {
    const PAIRS: usize = 60;
    let _dog = watchdog("everything_at_once");
    let pairs: Vec<_> = (0..PAIRS).map(|_| pair()).collect();
    runtime(2).run(|| {
        fiber::scope(|s| {
            for (number, (near, far)) in pairs.iter().enumerate() {
                s.spawn(move || {
                    let waiter = s.spawn(move || {
                        let mut buf = [0; 4];
                        for _ in 0..20 {
                            (&*far).read_exact(&mut buf).unwrap();
                            if number % 3 == 0 {
                                fiber::sleep(Duration::from_millis(1));
                            }
                            (&*far).write_all(&buf).unwrap();
                        }
                    });
                    for round in 0..20u32 {
                        (&*near).write_all(&round.to_le_bytes()).unwrap();
                        if number % 5 == 0 {
                            fiber::park_timeout(Duration::from_millis(1));
                        }
                        let mut buf = [0; 4];
                        (&*near).read_exact(&mut buf).unwrap();
                        assert_eq!(u32::from_le_bytes(buf), round);
                    }
                    waiter.join().unwrap();
                });
            }
        });
    });
}
