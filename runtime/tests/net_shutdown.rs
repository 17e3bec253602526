//! Ends of connections: shutdown wakes whoever waits, ends are seen by all, resets are errors, and no
//! write raises a signal.

mod common_net;

use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use common_net::{
    PLENTY, Place, Rng, fill, looks, pair, pair_of_std, pair_with_std, runtime, seed, until,
    watchdog,
};
use sisal::net::TcpStream;

/// A write that raised SIGPIPE would end the process: std has it ignored, which hides that.
fn let_sigpipe_kill() {
    // SAFETY: sets the default action, which needs no handler.
    let before = unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
    assert_ne!(before, libc::SIG_ERR);
}

/// Closes so that the peer sees a reset.
fn reset(stream: impl AsFd) {
    let zero = Some(Duration::ZERO);
    rustix::net::sockopt::set_socket_linger(&stream, zero).unwrap();
    drop(stream);
}

/// Starts a part that waits in `wait` on one worker, and comes back when it does.
fn waiting<T: Send + 'static>(
    wait: impl FnOnce() -> T + Send + 'static,
) -> sisal::fiber::JoinHandle<T> {
    let begun = Arc::new(AtomicUsize::new(0));
    let begins = Arc::clone(&begun);
    let handle = sisal::spawn(move || {
        begins.store(1, Ordering::SeqCst);
        wait()
    });
    // With one worker, the fiber has come as far as it could when this one runs again.
    until(|| begun.load(Ordering::SeqCst) == 1);
    assert!(!handle.is_finished());
    handle
}

#[test]
fn shutdown_wakes_readers() {
    let _dog = watchdog("shutdown_wakes_readers");
    runtime(1).run(|| {
        for how in [Shutdown::Read, Shutdown::Both] {
            let (near, far) = pair();
            let near = Arc::new(near);
            let by_reference = Arc::clone(&near);
            let clone = near.try_clone().unwrap();
            let readers = [
                waiting(move || (&*by_reference).read(&mut [0; 8])),
                waiting(move || (&clone).read(&mut [0; 8])),
            ];
            let peeking = Arc::clone(&near);
            let peeker = waiting(move || peeking.peek(&mut [0; 8]));
            near.shutdown(how).unwrap();
            for reader in readers {
                assert_eq!(reader.join().unwrap().unwrap(), 0);
            }
            assert_eq!(peeker.join().unwrap().unwrap(), 0);
            drop(far);
        }
    });
}

#[test]
fn shutdown_wakes_writers() {
    let_sigpipe_kill();
    let _dog = watchdog("shutdown_wakes_writers");
    runtime(1).run(|| {
        for how in [Shutdown::Write, Shutdown::Both] {
            let (near, far) = pair();
            fill(&near);
            let near = Arc::new(near);
            let by_reference = Arc::clone(&near);
            let clone = near.try_clone().unwrap();
            let writers = [
                waiting(move || (&*by_reference).write_all(&vec![0; PLENTY])),
                waiting(move || (&clone).write_all(&vec![0; PLENTY])),
            ];
            near.shutdown(how).unwrap();
            for writer in writers {
                let error = writer.join().unwrap().unwrap_err();
                assert_eq!(looks(error), (ErrorKind::BrokenPipe, Some(libc::EPIPE)));
            }
            drop(far);
        }
    });
}

/// Over and over, from another worker or thread, at any moment of the wait.
#[test]
fn shutdown_at_any_moment() {
    let seed = seed();
    let _dog = watchdog(format!("shutdown_at_any_moment, seed {seed}"));
    let runtime = runtime(2);
    let mut rng = Rng::new(seed);
    for round in 0..400 {
        let (near, far) = pair();
        let near = Arc::new(near);
        let reading = Arc::clone(&near);
        let reader = runtime.spawn(move || (&*reading).read(&mut [0; 8]).unwrap());
        let spins = rng.range(0, 20_000);
        let place = [Place::Fiber, Place::Thread][round % 2];
        place.run(&runtime, move || {
            (0..spins).for_each(|_| std::hint::spin_loop());
            near.shutdown(Shutdown::Read).unwrap();
        });
        assert_eq!(reader.join().unwrap(), 0);
        drop(far);
    }
}

/// What a plain thread waits for is shut down by a fiber.
#[test]
fn a_fiber_shuts_down_a_thread() {
    let _dog = watchdog("a_fiber_shuts_down_a_thread");
    let runtime = runtime(1);
    let (near, far) = pair();
    let near = Arc::new(near);
    let reading = Arc::clone(&near);
    let reader = std::thread::spawn(move || (&*reading).read(&mut [0; 8]).unwrap());
    runtime.run(move || near.shutdown(Shutdown::Both).unwrap());
    assert_eq!(reader.join().unwrap(), 0);
    drop(far);
}

/// Every reader sees the end, those who come later too, after all that was sent.
#[test]
fn everybody_sees_the_end() {
    let _dog = watchdog("everybody_sees_the_end");
    runtime(1).run(|| {
        let (near, far) = pair();
        let near = Arc::new(near);
        let readers: Vec<_> = (0..5)
            .map(|_| {
                let near = Arc::clone(&near);
                waiting(move || (&*near).read(&mut [0; 2]).unwrap())
            })
            .collect();
        (&far).write_all(b"last").unwrap();
        far.shutdown(Shutdown::Write).unwrap();
        let mut read: Vec<usize> = readers.into_iter().map(|r| r.join().unwrap()).collect();
        read.sort();
        assert_eq!(read, [0, 0, 0, 2, 2]);
        for _ in 0..3 {
            assert_eq!((&*near).read(&mut [0; 2]).unwrap(), 0);
            assert_eq!(near.peek(&mut [0; 2]).unwrap(), 0);
        }
        // One half is closed; the other works.
        (&*near).write_all(b"answer").unwrap();
        drop(near);
        let mut answer = String::new();
        (&far).read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "answer");
    });
}

/// Until the system says so: the first write after the peer has gone may still be taken.
fn writes_until_refused(mut write: impl FnMut() -> std::io::Result<usize>) -> Vec<String> {
    let mut seen = Vec::new();
    while seen.len() < 3 {
        if let Err(error) = write() {
            seen.push(format!("{:?}", looks(error)));
        }
    }
    seen
}

#[test]
fn a_write_to_nobody_is_an_error_and_no_signal() {
    let_sigpipe_kill();
    let _dog = watchdog("a_write_to_nobody_is_an_error_and_no_signal");
    let (near, far) = pair_of_std();
    (&near).write_all(b"unread").unwrap();
    drop(far);
    let want = writes_until_refused(|| (&near).write(b"x"));
    assert_eq!(want.last().unwrap(), "(BrokenPipe, Some(32))");
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        for vectored in [false, true] {
            let (near, far) = pair_with_std();
            let got = place.run(&runtime, move || {
                (&near).write_all(b"unread").unwrap();
                drop(far);
                writes_until_refused(|| match vectored {
                    false => (&near).write(b"x"),
                    true => (&near).write_vectored(&[IoSlice::new(b"x")]),
                })
            });
            assert_eq!(got, want, "{place:?}, vectored {vectored}");
        }
    }
}

/// The reads of one who meets a reset with bytes still unread, and one who is in the middle of it.
fn reads_through_a_reset(mut near: impl Read, wait: impl FnOnce()) -> Vec<String> {
    wait();
    let mut seen = Vec::new();
    for _ in 0..4 {
        let read = near.read(&mut [0; 3]);
        seen.push(format!("{:?}", read.map_err(looks)));
    }
    seen
}

#[test]
fn a_reset_is_an_error_once() {
    let _dog = watchdog("a_reset_is_an_error_once");
    let (near, far) = pair_of_std();
    (&far).write_all(b"12345").unwrap();
    reset(far);
    let want = reads_through_a_reset(&near, || ());
    assert!(want.contains(&"Err((ConnectionReset, Some(104)))".to_owned()));
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        let (near, far) = pair_with_std();
        (&far).write_all(b"12345").unwrap();
        reset(far);
        let got = place.run(&runtime, move || reads_through_a_reset(&near, || ()));
        assert_eq!(got, want, "{place:?}");
    }
}

#[test]
fn a_reset_ends_a_read_that_waits() {
    let _dog = watchdog("a_reset_ends_a_read_that_waits");
    runtime(1).run(|| {
        let (near, far) = pair_with_std();
        // Registered before, and in the middle of what the peer says.
        (&far).write_all(b"begun").unwrap();
        (&near).read_exact(&mut [0; 5]).unwrap();
        let reader = waiting(move || {
            let first = (&near).read(&mut [0; 8]).unwrap_err();
            (looks(first), (&near).read(&mut [0; 8]).unwrap())
        });
        reset(far);
        let reset = (ErrorKind::ConnectionReset, Some(libc::ECONNRESET));
        assert_eq!(reader.join().unwrap(), (reset, 0));
    });
}

#[test]
fn a_reset_ends_a_write_that_waits() {
    let_sigpipe_kill();
    let _dog = watchdog("a_reset_ends_a_write_that_waits");
    runtime(1).run(|| {
        let (near, far) = pair_with_std();
        fill(&near);
        let writer = waiting(move || {
            let first = (&near).write_all(&vec![0; PLENTY]).unwrap_err();
            let second = (&near).write(b"x").unwrap_err();
            (first.kind(), second.kind())
        });
        reset(far);
        let want = (ErrorKind::ConnectionReset, ErrorKind::BrokenPipe);
        assert_eq!(writer.join().unwrap(), want);
    });
}

/// Of several who wait at a reset, one gets the error and the others the end; nobody is left.
#[test]
fn a_reset_ends_every_wait() {
    let _dog = watchdog("a_reset_ends_every_wait");
    runtime(1).run(|| {
        let (near, far) = pair_with_std();
        let near = Arc::new(near);
        let readers: Vec<_> = (0..4)
            .map(|_| {
                let near: Arc<TcpStream> = Arc::clone(&near);
                waiting(move || (&*near).read(&mut [0; 2]).map_err(|e| e.kind()))
            })
            .collect();
        reset(far);
        let read: Vec<_> = readers.into_iter().map(|r| r.join().unwrap()).collect();
        let resets = read
            .iter()
            .filter(|r| **r == Err(ErrorKind::ConnectionReset));
        assert_eq!(resets.count(), 1, "{read:?}");
        assert_eq!(read.iter().filter(|r| **r == Ok(0)).count(), 3, "{read:?}");
    });
}

/// A listener that is shut down (by way of its descriptor) ends its acceptors.
#[test]
fn a_listener_that_is_shut_down() {
    let _dog = watchdog("a_listener_that_is_shut_down");
    runtime(1).run(|| {
        let listener = Arc::new(common_net::listener());
        let acceptors: Vec<_> = (0..3)
            .map(|_| {
                let listener = Arc::clone(&listener);
                waiting(move || listener.accept().unwrap_err())
            })
            .collect();
        rustix::net::shutdown(listener.as_fd(), rustix::net::Shutdown::Both).unwrap();
        for acceptor in acceptors {
            assert_eq!(acceptor.join().unwrap().kind(), ErrorKind::InvalidInput);
        }
    });
}
