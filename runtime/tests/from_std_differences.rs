//! What the first table of `docs/from-std.md` says, where no other test does.

mod common;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common::{runtime, settle, watchdog};
use sisal::fiber::{self, spawn};
use sisal::sync::{RwLock, mpsc};
use sisal::{timeout, unblock};

const SHORT: Duration = Duration::from_millis(3);

/// A reader that reads again behind a writer waits for that one, which waits for it. A limit helps both.
#[test]
fn a_reader_that_reads_again_behind_a_writer_waits_for_it() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let lock = Arc::new(RwLock::new(0));
        let first = lock.read().unwrap();
        // Nobody waits: as many as one likes.
        drop((lock.read().unwrap(), lock.try_read().unwrap()));
        let theirs = Arc::clone(&lock);
        let writer = spawn(move || *theirs.write().unwrap() += 1);
        settle();
        assert!(lock.try_read().is_err());
        assert!(timeout(SHORT, || drop(lock.read())).is_err());
        assert!(!writer.is_finished());
        drop(first);
        writer.join().unwrap();
        assert_eq!(*lock.read().unwrap(), 1);
    });
}

/// Who sends without a bound does not let the receiver run; who has to wait for room does, and after 128 messages so does who has not.
#[test]
fn a_sender_without_a_bound_keeps_its_worker() {
    let _watchdog = watchdog(60);
    let runs_during = |send: &dyn Fn(u32) -> bool, received: &AtomicUsize| {
        (0..1000)
            .all(send)
            .then_some(received.load(Ordering::SeqCst))
    };
    runtime(1).run(|| {
        let received = Arc::new(AtomicUsize::new(0));
        let count = |rx: mpsc::Receiver<u32>| {
            let received = Arc::clone(&received);
            spawn(move || {
                rx.iter()
                    .for_each(|_| _ = received.fetch_add(1, Ordering::SeqCst))
            })
        };
        let (tx, rx) = mpsc::channel();
        let receiver = count(rx);
        settle();
        assert_eq!(runs_during(&|n| tx.send(n).is_ok(), &received), Some(0));
        drop(tx);
        receiver.join().unwrap();
        let (tx, rx) = mpsc::sync_channel(5000);
        let receiver = count(rx);
        settle();
        let before = received.load(Ordering::SeqCst);
        let after = runs_during(&|n| tx.send(n).is_ok(), &received).unwrap();
        assert!(after > before + 100, "{before} {after}");
        drop(tx);
        receiver.join().unwrap();
    });
}

/// To join oneself is an error.
#[test]
fn a_fiber_that_joins_itself() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (give, take) = mpsc::channel::<fiber::JoinHandle<()>>();
        let (said, text) = mpsc::channel();
        let own = spawn(move || {
            let error = take.recv().unwrap().join().unwrap_err();
            assert!(!error.is_panic() && !error.is_cancelled() && !error.is_overflow());
            said.send(error.to_string()).unwrap();
        });
        give.send(own).unwrap();
        let text = text.recv().unwrap();
        assert!(text.contains("cannot join itself"), "{text}");
    });
}

/// A listener has room for more clients than std's, before it accepts any.
#[test]
fn a_listener_has_a_long_queue() {
    let most = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap();
    if most.trim().parse().is_ok_and(|most: usize| most < 1024) {
        println!("skipped: net.core.somaxconn is {}", most.trim());
        return;
    }
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let listener = sisal::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..300)
            .map(|_| {
                sisal::net::TcpStream::connect_timeout(&addr, Duration::from_secs(10)).unwrap()
            })
            .collect();
        let mut accepted = 0;
        while accepted < clients.len() {
            listener.accept().unwrap();
            accepted += 1;
        }
    });
}

/// Timeouts are Sisal's: the system does not know of them.
#[test]
fn a_read_timeout_is_not_the_systems() {
    use rustix::net::sockopt::{Timeout, socket_timeout};
    let (near, _far) = sisal::os::unix::net::UnixStream::pair().unwrap();
    near.set_read_timeout(Some(SHORT)).unwrap();
    assert_eq!(near.read_timeout().unwrap(), Some(SHORT));
    assert_eq!(socket_timeout(&near, Timeout::Recv).unwrap(), None);
    // As std's it is the system's again.
    let std = std::os::unix::net::UnixStream::from(near);
    assert!(socket_timeout(&std, Timeout::Recv).unwrap().is_some());
}

/// A lock of a standard stream keeps nobody out: each call is whole by itself.
#[test]
fn locks_of_the_standard_streams_keep_nobody_out() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (input, output) = (sisal::io::stdin().lock(), sisal::io::stdout().lock());
        let other = spawn(|| {
            use io::Write;
            drop(sisal::io::stdin().lock());
            sisal::io::stdout().lock().flush()
        });
        other.join().unwrap().unwrap();
        drop((input, output));
    });
}

/// Others of the worker run while a fiber holds a lock of Sisal's across a wait, and may wait for it.
#[test]
fn a_lock_may_be_held_across_a_wait() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let lock = Arc::new(sisal::sync::Mutex::new(1));
        let mut held = lock.lock().unwrap();
        let theirs = Arc::clone(&lock);
        let other = spawn(move || *theirs.lock().unwrap());
        settle();
        unblock(|| *held += 1);
        drop(held);
        assert_eq!(other.join().unwrap(), 2);
    });
}
