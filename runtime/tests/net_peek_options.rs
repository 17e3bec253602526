//! Peeking, and what can be asked of a socket and set.

mod common_net;

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use common_net::{Place, listener, pair, pair_with_std, pattern, runtime, watchdog};
use sisal::fiber;
use sisal::net::{TcpListener, TcpStream};

#[test]
fn a_peek_takes_nothing() {
    let _dog = watchdog("a_peek_takes_nothing");
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        let (near, far) = pair();
        place.run(&runtime, move || {
            (&far).write_all(b"peeked").unwrap();
            let mut buf = [0; 16];
            // Short, exact and of one byte, again and again: the bytes stay, and are readable.
            for len in [16, 6, 1, 16, 3, 16] {
                let n = near.peek(&mut buf[..len]).unwrap();
                assert_eq!(&buf[..n], &b"peeked"[..len.min(6)]);
            }
            assert_eq!((&near).read(&mut buf).unwrap(), 6);
            (&far).write_all(b"!").unwrap();
            assert_eq!(near.peek(&mut buf).unwrap(), 1);
            assert_eq!((&near).read(&mut buf).unwrap(), 1);
            far.shutdown(Shutdown::Write).unwrap();
            assert_eq!(near.peek(&mut buf).unwrap(), 0);
            assert_eq!((&near).read(&mut buf).unwrap(), 0);
        });
    }
}

/// Those who peek and one who reads: the reader gets all, the others see parts of it.
#[test]
fn peeks_beside_a_reader() {
    const TOTAL: usize = 300_000;
    let _dog = watchdog("peeks_beside_a_reader");
    let runtime = runtime(2);
    let (near, far) = pair();
    let near = Arc::new(near);
    let peeks = Arc::new(AtomicUsize::new(0));
    let peekers: Vec<_> = (0..3)
        .map(|_| {
            let (near, peeks) = (Arc::clone(&near), Arc::clone(&peeks));
            runtime.spawn(move || {
                while near.peek(&mut [0; 50]).unwrap() > 0 {
                    peeks.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    let writer = runtime.spawn(move || {
        for from in (0..TOTAL).step_by(100) {
            (&far).write_all(&pattern(1, from, 100)).unwrap();
            fiber::yield_now();
        }
    });
    let mut all = vec![0; TOTAL];
    runtime.run(|| (&*near).read_exact(&mut all).unwrap());
    assert!(all == pattern(1, 0, TOTAL));
    writer.join().unwrap();
    for peeker in peekers {
        peeker.join().unwrap();
    }
}

/// A peek waits for data as a read does.
#[test]
fn a_peek_waits() {
    let _dog = watchdog("a_peek_waits");
    let (near, mut far) = pair_with_std();
    let runtime = runtime(1);
    let begun = Arc::new(AtomicUsize::new(0));
    let begins = Arc::clone(&begun);
    let peeker = runtime.spawn(move || {
        begins.store(1, Ordering::SeqCst);
        (near.peek(&mut [0; 4]).unwrap(), near)
    });
    common_net::until(|| begun.load(Ordering::SeqCst) == 1);
    far.write_all(b"abc").unwrap();
    let (n, near) = peeker.join().unwrap();
    assert_eq!(n, 3);
    // It was registered in there, and is read out here.
    assert_eq!((&near).read(&mut [0; 8]).unwrap(), 3);
}

#[test]
fn options_of_a_stream() {
    let _dog = watchdog("options_of_a_stream");
    let (near, far) = pair();
    runtime(1).run(|| {
        let clone = near.try_clone().unwrap();
        assert!(!near.nodelay().unwrap());
        near.set_nodelay(true).unwrap();
        assert!(near.nodelay().unwrap() && clone.nodelay().unwrap());
        near.set_ttl(33).unwrap();
        assert_eq!((near.ttl().unwrap(), clone.ttl().unwrap()), (33, 33));
        assert_eq!(near.peer_addr().unwrap(), far.local_addr().unwrap());
        assert_eq!(near.local_addr().unwrap(), far.peer_addr().unwrap());
        assert_ne!(near.as_raw_fd(), clone.as_raw_fd());
        assert_eq!(near.as_fd().as_raw_fd(), near.as_raw_fd());
        assert!(near.take_error().unwrap().is_none());
    });
}

/// The error that a socket holds is taken once.
#[test]
fn a_pending_error() {
    let _dog = watchdog("a_pending_error");
    let (near, far) = pair();
    rustix::net::sockopt::set_socket_linger(&far, Some(std::time::Duration::ZERO)).unwrap();
    drop(far);
    let error = near.take_error().unwrap().expect("a reset");
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(near.take_error().unwrap().is_none());
    assert_eq!(runtime(1).run(|| (&near).read(&mut [0]).unwrap()), 0);
}

#[test]
fn options_of_a_listener() {
    let _dog = watchdog("options_of_a_listener");
    let listener = listener();
    listener.set_ttl(44).unwrap();
    assert_eq!(listener.try_clone().unwrap().ttl().unwrap(), 44);
    assert!(listener.take_error().unwrap().is_none());
    assert_ne!(listener.local_addr().unwrap().port(), 0);
    let clone = listener.try_clone().unwrap();
    assert_eq!(clone.local_addr().unwrap(), listener.local_addr().unwrap());
    assert_ne!(clone.as_raw_fd(), listener.as_raw_fd());
}

/// Sockets are not inherited by programs that are started, and do not block.
#[test]
fn flags_of_descriptors() {
    let _dog = watchdog("flags_of_descriptors");
    let listener = listener();
    let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let (far, _) = listener.accept().unwrap();
    let clones = (listener.try_clone().unwrap(), near.try_clone().unwrap());
    let all = [
        listener.as_fd(),
        near.as_fd(),
        far.as_fd(),
        clones.0.as_fd(),
        clones.1.as_fd(),
    ];
    for fd in all {
        // SAFETY: asks for flags of an open descriptor.
        let (fd, status) = unsafe {
            let fd = fd.as_raw_fd();
            (
                libc::fcntl(fd, libc::F_GETFD),
                libc::fcntl(fd, libc::F_GETFL),
            )
        };
        assert_eq!(fd & libc::FD_CLOEXEC, libc::FD_CLOEXEC);
        assert_eq!(status & libc::O_NONBLOCK, libc::O_NONBLOCK);
    }
}

#[test]
fn debug_text() {
    let (near, far) = pair();
    let (addr, peer) = (near.local_addr().unwrap(), near.peer_addr().unwrap());
    let fd = near.as_raw_fd();
    let text = format!("TcpStream {{ addr: {addr}, peer: {peer}, fd: {fd} }}");
    assert_eq!(format!("{near:?}"), text);
    drop(far);
    let listener = listener();
    let (addr, fd) = (listener.local_addr().unwrap(), listener.as_raw_fd());
    let text = format!("TcpListener {{ addr: {addr}, fd: {fd} }}");
    assert_eq!(format!("{listener:?}"), text);
    assert_eq!(
        format!("{:?}", listener.incoming()),
        format!("Incoming {{ listener: {text} }}")
    );
}

/// As std's, the types say what may be done with them.
#[test]
fn auto_traits() {
    use std::panic::{RefUnwindSafe, UnwindSafe};
    fn all<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}
    all::<TcpStream>();
    all::<TcpListener>();
    fn some<T: Send + Sync + UnwindSafe>() {}
    some::<sisal::net::Incoming<'_>>();
}
