//! Unix sockets where the system tells of less than for TCP: full queues, receivers without room, descriptors that come
//! with bytes.

mod common_net;

use std::io::{IoSlice, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd};
use std::os::linux::net::SocketAddrExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common_net::{Place, Rng, descriptors, runtime, seed, send_pattern, until, watchdog};
use common_net::{expect_pattern, pattern};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sisal::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use sisal::{fiber, time};

/// A name of its own for each call.
fn name() -> SocketAddr {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let n = NEXT.fetch_add(1, Ordering::Relaxed);
    let name = format!("net_unix of sisal's tests {} {n}", std::process::id());
    SocketAddr::from_abstract_name(name).unwrap()
}

#[test]
fn every_byte_comes_once_in_order() {
    let seed = seed();
    let _dog = watchdog(format!("every_byte_comes_once_in_order, seed {seed}"));
    const TOTAL: usize = 3 << 20;
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for (writer, reader) in [
            (Place::Fiber, Place::Fiber),
            (Place::Fiber, Place::Thread),
            (Place::Thread, Place::Fiber),
            (Place::Thread, Place::Thread),
        ] {
            let (near, far) = UnixStream::pair().unwrap();
            let writer = writer.start(&runtime, move || send_pattern(&near, seed, TOTAL, 9_000));
            let reader = reader.start(&runtime, move || {
                expect_pattern(&far, seed, TOTAL, 7_000);
                assert_eq!((&far).read(&mut [0]).unwrap(), 0);
            });
            writer.join();
            reader.join();
        }
    }
}

/// A listener whose queue is full, and what fills it.
fn full_listener(at: &SocketAddr) -> (UnixListener, Vec<std::os::unix::net::UnixStream>) {
    let listener = UnixListener::bind_addr(at).unwrap();
    rustix::net::listen(&listener, 0).unwrap();
    let mut filling = Vec::new();
    loop {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None);
        let socket = socket.unwrap();
        socket.set_nonblocking(true).unwrap();
        let name = at.as_abstract_name().unwrap();
        let addr = rustix::net::SocketAddrUnix::new_abstract_name(name).unwrap();
        match rustix::net::connect(&socket, &addr) {
            Ok(()) => filling.push(socket.into()),
            Err(rustix::io::Errno::AGAIN) => return (listener, filling),
            Err(error) => panic!("{error}"),
        }
    }
}

/// std's `connect` waits until there is room in the queue, and so does ours.
#[test]
fn connect_waits_for_room() {
    let _dog = watchdog("connect_waits_for_room");
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        let at = name();
        let (listener, filling) = full_listener(&at);
        let begun = Arc::new(AtomicUsize::new(0));
        let begins = begun.clone();
        let connecting = place.start(&runtime, move || {
            begins.fetch_add(1, Ordering::SeqCst);
            let mut stream = UnixStream::connect_addr(&at).unwrap();
            stream.write_all(b"in").unwrap();
        });
        until(|| begun.load(Ordering::SeqCst) == 1);
        // Others run meanwhile.
        runtime.run(|| fiber::sleep(Duration::from_millis(10)));
        for _ in 0..filling.len() {
            listener.accept().unwrap();
        }
        let (mut last, _) = listener.accept().unwrap();
        let mut buf = [0; 2];
        last.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"in");
        connecting.join();
    }
}

#[test]
fn connect_is_cut_short() {
    let _dog = watchdog("connect_is_cut_short");
    let at = name();
    let (listener, filling) = full_listener(&at);
    let runtime = runtime(1);
    runtime.run(|| {
        let late = time::timeout(Duration::from_millis(20), || UnixStream::connect_addr(&at));
        assert!(late.is_err());
    });
    let connects = at.clone();
    let waiting = runtime.spawn(move || UnixStream::connect_addr(&connects).map(drop));
    runtime.run(|| until(|| true));
    waiting.cancel();
    assert!(waiting.join().unwrap_err().is_cancelled());
    // Nobody else is in the queue.
    for _ in &filling {
        listener.accept().unwrap();
    }
    listener.set_nonblocking(true).unwrap();
    let error = listener.accept().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

/// The receiver's queue is full of what *others* sent: then no event tells a sender that is not connected.
#[test]
fn senders_wait_for_room_at_the_receiver() {
    let _dog = watchdog("senders_wait_for_room_at_the_receiver");
    let runtime = runtime(1);
    let places = [Place::Fiber, Place::Thread];
    let all = places.map(|place| [(place, false), (place, true)]);
    for (place, connected) in all.into_iter().flatten() {
        let at = name();
        let receiver = UnixDatagram::bind_addr(&at).unwrap();
        let other = UnixDatagram::unbound().unwrap();
        other.set_nonblocking(true).unwrap();
        let mut filled = 0;
        while other.send_to_addr(b"other", &at).is_ok() {
            filled += 1;
        }
        assert!(filled > 0);
        let begun = Arc::new(AtomicUsize::new(0));
        let (begins, to) = (begun.clone(), at.clone());
        let sending = place.start(&runtime, move || {
            let socket = UnixDatagram::unbound().unwrap();
            begins.fetch_add(1, Ordering::SeqCst);
            if connected {
                socket.connect_addr(&to).unwrap();
            }
            let send = |text: &[u8]| match connected {
                true => socket.send(text).unwrap(),
                false => socket.send_to_addr(text, &to).unwrap(),
            };
            assert_eq!(send(b"mine"), 4);
            assert_eq!(send(b"again"), 5);
        });
        until(|| begun.load(Ordering::SeqCst) == 1);
        // It does not look again and again: the worker sleeps, and goes on sleeping.
        let worker = || runtime.metrics().workers[0];
        until(|| worker().asleep);
        let before = worker().switches;
        thread::sleep(Duration::from_millis(30));
        assert_eq!(worker().switches, before);
        let mut buf = [0; 8];
        for _ in 0..filled {
            assert_eq!(receiver.recv(&mut buf).unwrap(), 5);
            assert_eq!(&buf[..5], b"other");
        }
        assert_eq!(receiver.recv(&mut buf).unwrap(), 4);
        assert_eq!(&buf[..4], b"mine");
        assert_eq!(receiver.recv(&mut buf).unwrap(), 5);
        sending.join();
    }
}

/// Much through a short queue, to a name and to a connected one.
#[test]
fn datagrams_come_in_order() {
    let _dog = watchdog("datagrams_come_in_order");
    const TOTAL: u64 = 3_000;
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for connected in [false, true] {
            for (sender, receiver) in [
                (Place::Fiber, Place::Fiber),
                (Place::Fiber, Place::Thread),
                (Place::Thread, Place::Fiber),
            ] {
                let at = name();
                let receives = UnixDatagram::bind_addr(&at).unwrap();
                let sender = sender.start(&runtime, move || {
                    let sends = UnixDatagram::unbound().unwrap();
                    if connected {
                        sends.connect_addr(&at).unwrap();
                    }
                    for n in 0..TOTAL {
                        let sent = match connected {
                            true => sends.send(&n.to_le_bytes()),
                            false => sends.send_to_addr(&n.to_le_bytes(), &at),
                        };
                        assert_eq!(sent.unwrap(), 8);
                    }
                });
                let receiver = receiver.start(&runtime, move || {
                    for n in 0..TOTAL {
                        let mut buf = [0; 9];
                        assert_eq!(receives.recv(&mut buf).unwrap(), 8);
                        assert_eq!(buf[..8], n.to_le_bytes());
                    }
                });
                sender.join();
                receiver.join();
            }
        }
    }
}

/// A read ends at descriptors that come with the bytes, though more bytes follow: no event comes for those.
#[test]
fn bytes_after_descriptors_are_seen() {
    let _dog = watchdog("bytes_after_descriptors_are_seen");
    let runtime = runtime(1);
    let (near, far) = UnixStream::pair().unwrap();
    runtime.run(|| {
        fiber::scope(|s| {
            let reader = s.spawn(|| {
                let mut all = Vec::new();
                let mut buf = [0; 64];
                while all.len() < 4 {
                    let n = (&far).read(&mut buf).unwrap();
                    all.extend_from_slice(&buf[..n]);
                }
                all
            });
            // The reader waits; then all of this is there at once.
            fiber::yield_now();
            for text in [b"a", b"b", b"c", b"d"] {
                let fds = [near.as_fd()];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
                let mut with = SendAncillaryBuffer::new(&mut space);
                assert!(with.push(SendAncillaryMessage::ScmRights(&fds)));
                let bytes = [IoSlice::new(text)];
                sendmsg(&near, &bytes, &mut with, SendFlags::empty()).unwrap();
            }
            assert_eq!(reader.join().unwrap(), b"abcd");
        });
    });
    // They were not kept.
    let all = descriptors();
    let is_near = |(number, _): &&(i32, String)| *number == near.as_raw_fd();
    let (_, socket) = all.iter().find(is_near).unwrap();
    assert_eq!(all.iter().filter(|(_, other)| other == socket).count(), 1);
}

/// Runtime after runtime reads the same stream, each ended in the middle of it.
#[test]
fn no_byte_that_was_taken_is_lost() {
    let seed = seed();
    let _dog = watchdog(format!("no_byte_that_was_taken_is_lost, seed {seed}"));
    const TOTAL: usize = 1 << 20;
    let (near, far) = UnixStream::pair().unwrap();
    let near = Arc::new(near);
    let all = Arc::new(Mutex::new(Vec::new()));
    let sender = thread::spawn(move || send_pattern(&far, seed, TOTAL, 2_000));
    let mut rng = Rng::new(seed);
    let mut ended = 0;
    while all.lock().unwrap().len() < TOTAL {
        let runtime = runtime(1);
        let (reads, takes) = (near.clone(), all.clone());
        let reader = runtime.spawn(move || {
            let mut buf = [0; 900];
            loop {
                match (&*reads).read(&mut buf).unwrap() {
                    0 => return,
                    n => takes.lock().unwrap().extend_from_slice(&buf[..n]),
                }
            }
        });
        let enough = all.lock().unwrap().len() + rng.range(0, TOTAL / 8);
        until(|| all.lock().unwrap().len() >= enough.min(TOTAL));
        drop(runtime);
        if let Err(error) = reader.join() {
            assert!(error.is_cancelled());
        }
        ended += 1;
    }
    sender.join().unwrap();
    assert_eq!(*all.lock().unwrap(), pattern(seed, 0, TOTAL), "seed {seed}");
    assert!(ended >= 4, "only {ended} runtimes");
}

/// Waits of every kind are cut short, and the socket is good after that.
#[test]
fn waits_are_cut_short() {
    let _dog = watchdog("waits_are_cut_short");
    let at = name();
    let short = Duration::from_millis(5);
    let listener = UnixListener::bind_addr(&at).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let (a, b) = UnixDatagram::pair().unwrap();
    let full = name();
    let receiver = UnixDatagram::bind_addr(&full).unwrap();
    runtime(1).run(|| {
        assert!(time::timeout(short, || listener.accept()).is_err());
        assert!(time::timeout(short, || (&near).read(&mut [0])).is_err());
        assert!(time::timeout(short, || a.recv(&mut [0])).is_err());
        assert!(time::timeout(short, || a.recv_from(&mut [0])).is_err());
        let sends =
            || (0..100_000).for_each(|_| assert_eq!(b.send_to_addr(b"x", &full).unwrap(), 1));
        assert!(time::timeout(short, sends).is_err());
        let mut queued = 0;
        receiver.set_nonblocking(true).unwrap();
        while receiver.recv(&mut [0]).is_ok() {
            queued += 1;
        }
        assert!(queued > 0);
        b.send_to_addr(b"y", &full).unwrap();
        assert_eq!(receiver.recv(&mut [0]).unwrap(), 1);
        b.send(b"xy").unwrap();
        assert_eq!(a.recv(&mut [0; 2]).unwrap(), 2);
        (&far).write_all(b"x").unwrap();
        (&near).read_exact(&mut [0]).unwrap();
        let client = UnixStream::connect_addr(&at).unwrap();
        listener.accept().unwrap();
        drop(client);
    });
}
