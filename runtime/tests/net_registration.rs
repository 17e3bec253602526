//! Where sockets are registered: with the reactor of the worker that uses them first, anew when its
//! runtime has gone, and nowhere after their end.

mod common_net;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex, MutexGuard, mpsc};
use std::thread::{self, ThreadId};
use std::time::Duration;

use common_net::{
    PLENTY, descriptors, fill, listener, pair, pair_with_std, runtime, until, watchdog,
};
use sisal::Runtime;
use sisal::net::{TcpListener, TcpStream};

/// These tests look at all of the process's descriptors: one at a time.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// The number in `socket:[1234]`.
fn inode(socket: impl AsFd) -> u64 {
    let path = format!("/proc/self/fd/{}", socket.as_fd().as_raw_fd());
    let target = fs::read_link(path).unwrap();
    let target = target.to_str().unwrap();
    let number = target
        .strip_prefix("socket:[")
        .and_then(|rest| rest.strip_suffix(']'));
    number.expect("a socket").parse().unwrap()
}

/// One of the process's epolls, known by the event that wakes it. (Each has several descriptors.)
type Epoll = u64;

/// The epolls that a socket is registered with, from proc(5), `fdinfo`.
fn epolls_with(inode: u64) -> BTreeSet<Epoll> {
    let mut with = BTreeSet::new();
    for (number, target) in descriptors() {
        if target != "anon_inode:[eventpoll]" {
            continue;
        }
        let Ok(info) = fs::read_to_string(format!("/proc/self/fdinfo/{number}")) else {
            continue;
        };
        let mut here = false;
        let mut waker = None;
        for line in info.lines().filter(|line| line.starts_with("tfd:")) {
            let words: Vec<&str> = line.split_whitespace().collect();
            let find = |name: &str| {
                let at = words
                    .iter()
                    .position(|word| word.starts_with(name))
                    .unwrap();
                match words[at].strip_prefix(name).unwrap() {
                    "" => words[at + 1],
                    joined => joined,
                }
            };
            here |= u64::from_str_radix(find("ino:"), 16).unwrap() == inode;
            // tokio registers its waker with token 0.
            if u64::from_str_radix(find("data:"), 16).unwrap() == 0 {
                waker = Some(find("tfd:").parse().unwrap());
            }
        }
        if here {
            with.insert(waker.expect("an epoll of tokio's"));
        }
    }
    with
}

/// The epoll of tokio's current runtime: that of a new socket of tokio's.
fn current_epoll() -> Epoll {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_nonblocking(true).unwrap();
    let inode = inode(&socket);
    let socket = tokio::net::UdpSocket::from_std(socket).unwrap();
    let with = epolls_with(inode);
    drop(socket);
    assert_eq!(with.len(), 1);
    with.into_iter().next().unwrap()
}

fn only(epoll: Epoll) -> BTreeSet<Epoll> {
    BTreeSet::from([epoll])
}

/// Runs two parts on two workers: none starts before both do, and to wait for that they block.
fn on_two_workers<A: Send + 'static, B: Send + 'static>(
    runtime: &Runtime,
    a: impl FnOnce() -> A + Send + 'static,
    b: impl FnOnce() -> B + Send + 'static,
) -> (A, B) {
    fn met<T>(barrier: Arc<Barrier>, f: impl FnOnce() -> T) -> impl FnOnce() -> (ThreadId, T) {
        move || {
            barrier.wait();
            (thread::current().id(), f())
        }
    }
    let barrier = Arc::new(Barrier::new(2));
    let a = runtime.spawn(met(barrier.clone(), a));
    let b = runtime.spawn(met(barrier, b));
    let ((on_a, a), (on_b, b)) = (a.join().unwrap(), b.join().unwrap());
    assert_ne!(on_a, on_b);
    (a, b)
}

#[test]
fn an_accepted_stream_registers_where_it_is_used() {
    let _alone = alone();
    let _dog = watchdog("an_accepted_stream_registers_where_it_is_used");
    let runtime = runtime(2);
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let (give, given) = mpsc::channel::<TcpStream>();
    let client = thread::spawn(move || {
        let mut client = std::net::TcpStream::connect(addr).unwrap();
        client.write_all(b"ping").unwrap();
        let mut buf = [0; 4];
        client.read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"pong");
    });
    let (acceptor, server) = on_two_workers(
        &runtime,
        move || {
            let (stream, _) = listener.accept().unwrap();
            assert_eq!(epolls_with(inode(&listener)), only(current_epoll()));
            assert_eq!(epolls_with(inode(&stream)), BTreeSet::new());
            give.send(stream).unwrap();
            current_epoll()
        },
        move || {
            // Blocks this worker; the other one serves the listener.
            let stream = given.recv().unwrap();
            (&stream).read_exact(&mut [0; 4]).unwrap();
            assert_eq!(epolls_with(inode(&stream)), only(current_epoll()));
            (&stream).write_all(b"pong").unwrap();
            current_epoll()
        },
    );
    assert_ne!(acceptor, server);
    client.join().unwrap();
}

/// Also when the fibers are new ones, wherever they come to run.
#[test]
fn each_handler_registers_with_its_own_worker() {
    const CONNECTIONS: usize = 40;
    let _alone = alone();
    let _dog = watchdog("each_handler_registers_with_its_own_worker");
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let clients = thread::spawn(move || {
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|_| std::net::TcpStream::connect(addr).unwrap())
            .collect();
        for mut client in &clients {
            client.write_all(b"x").unwrap();
        }
        for mut client in clients {
            client.read_exact(&mut [0]).unwrap();
        }
    });
    runtime(2).run(|| {
        let handlers: Vec<_> = listener
            .incoming()
            .take(CONNECTIONS)
            .map(|stream| {
                let stream = stream.unwrap();
                sisal::spawn(move || {
                    assert_eq!(epolls_with(inode(&stream)), BTreeSet::new());
                    (&stream).read_exact(&mut [0]).unwrap();
                    assert_eq!(epolls_with(inode(&stream)), only(current_epoll()));
                    (&stream).write_all(b"y").unwrap();
                })
            })
            .collect();
        for handler in handlers {
            handler.join().unwrap();
        }
    });
    clients.join().unwrap();
}

/// Two workers use a socket for the first time at the same moment: one registration is left, and both
/// are woken by it.
#[test]
fn first_uses_at_the_same_moment() {
    let _alone = alone();
    let _dog = watchdog("first_uses_at_the_same_moment");
    let runtime = runtime(2);
    for _ in 0..200 {
        let (near, mut far) = pair_with_std();
        let near = Arc::new(near);
        let start = Arc::new(Barrier::new(2));
        let one = |start: Arc<Barrier>, near: Arc<TcpStream>| {
            move || {
                start.wait();
                (&*near).read_exact(&mut [0]).unwrap();
            }
        };
        let (near_a, near_b) = (near.clone(), near.clone());
        let inode = inode(&near);
        let sender = thread::spawn(move || {
            until(|| !epolls_with(inode).is_empty());
            far.write_all(b"ab").unwrap();
            far
        });
        on_two_workers(&runtime, one(start.clone(), near_a), one(start, near_b));
        assert_eq!(epolls_with(inode).len(), 1);
        drop(sender.join().unwrap());
        assert_eq!((&*near).read(&mut [0]).unwrap(), 0);
    }
}

/// A clone has a registration of its own, which may be another worker's.
#[test]
fn clones_register_apart() {
    let _alone = alone();
    let _dog = watchdog("clones_register_apart");
    let runtime = runtime(2);
    let (near, mut far) = pair_with_std();
    far.write_all(b"ab").unwrap();
    let clone = near.try_clone().unwrap();
    let inode = inode(&near);
    let ((near, a), (clone, b)) = on_two_workers(
        &runtime,
        move || {
            (&near).read_exact(&mut [0]).unwrap();
            (near, current_epoll())
        },
        move || {
            (&clone).read_exact(&mut [0]).unwrap();
            (clone, current_epoll())
        },
    );
    assert_eq!(epolls_with(inode), BTreeSet::from([a, b]));
    drop(near);
    assert_eq!(epolls_with(inode), only(b));
    drop(clone);
    assert_eq!(epolls_with(inode), BTreeSet::new());
}

/// With a tokio runtime of the user's as the current one, sockets of ours are still their workers'.
#[test]
fn a_foreign_tokio_runtime_is_not_used() {
    let _alone = alone();
    let _dog = watchdog("a_foreign_tokio_runtime_is_not_used");
    let foreign = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let runtime = Runtime::builder()
        .workers(1)
        .tokio(foreign.handle().clone())
        .build()
        .unwrap();
    let (near, far) = pair();
    runtime.run(|| {
        let reader = {
            let near = near.try_clone().unwrap();
            sisal::spawn(move || {
                near.set_read_timeout(Some(Duration::from_secs(3_600)))
                    .unwrap();
                (&near).read_exact(&mut [0; 4]).unwrap();
                epolls_with(inode(&near))
            })
        };
        (&far).write_all(b"ping").unwrap();
        let with = reader.join().unwrap();
        assert_eq!(with.len(), 1);
        assert!(!with.contains(&current_epoll()), "that is the foreign one");
    });
}

fn ping(near: &TcpStream, mut far: &std::net::TcpStream) {
    far.write_all(b"ping").unwrap();
    // With room for more, so that it knows that it has all: the next read waits, if only for a look.
    let (mut buf, mut got) = ([0; 8], 0);
    while got < 4 {
        got += (&mut &*near).read(&mut buf[got..]).unwrap();
    }
    assert_eq!(&buf[..got], b"ping");
    (&mut &*near).write_all(b"pong").unwrap();
    far.read_exact(&mut buf[..4]).unwrap();
    assert_eq!(&buf[..4], b"pong");
}

fn accept(listener: &TcpListener) {
    let addr = listener.local_addr().unwrap();
    let client = std::net::TcpStream::connect(addr).unwrap();
    let (stream, peer) = listener.accept().unwrap();
    assert_eq!(peer, client.local_addr().unwrap());
    ping(&stream, &client);
}

/// From runtime to runtime, with plain threads between. What ended is let go, all but the first.
#[test]
fn a_socket_outlives_its_runtimes() {
    let _alone = alone();
    let _dog = watchdog("a_socket_outlives_its_runtimes");
    let before = descriptors();
    let (near, far) = pair_with_std();
    let listener = listener();
    let mut open = Vec::new();
    for _ in 0..8 {
        let runtime = runtime(1);
        for _ in 0..2 {
            runtime.run(|| {
                // What the last runtime told serves the first read.
                ping(&near, &far);
                ping(&near, &far);
                accept(&listener);
                assert!(epolls_with(inode(&near)).contains(&current_epoll()));
            });
            // Beside the runtime.
            ping(&near, &far);
            accept(&listener);
        }
        drop(runtime);
        ping(&near, &far);
        accept(&listener);
        open.push(descriptors().len());
    }
    // The first registration stays, and what it keeps of its runtime; the last one too.
    assert!(open[1..].iter().all(|n| *n == open[1]), "{open:?}");
    // The connection lives on in a duplicate, its registrations do not.
    let duplicate: OwnedFd = near.as_fd().try_clone_to_owned().unwrap();
    drop((near, listener));
    assert_eq!(epolls_with(inode(&duplicate)), BTreeSet::new());
    drop((duplicate, far));
    assert_eq!(descriptors(), before);
}

/// Uses `socket` in the first runtime, parks a fiber of the second in `wait` on it, ends the first, and
/// then lets the wait end.
fn parked_beyond_a_runtime<S: Send + Sync + 'static, R: Send + 'static>(
    socket: S,
    first_use: impl FnOnce(&S) + Send,
    wait: impl FnOnce(&S) -> R + Send + 'static,
    end: impl FnOnce(&S),
) -> R {
    let (first, second) = (runtime(1), runtime(1));
    let socket = Arc::new(socket);
    first.run(|| first_use(&socket));
    let begun = Arc::new(AtomicBool::new(false));
    let (begins, waits) = (begun.clone(), socket.clone());
    let waiter = second.spawn(move || {
        begins.store(true, Ordering::SeqCst);
        wait(&waits)
    });
    // There is one worker: when another fiber of it sees the flag, the first one is parked.
    second.run(|| until(|| begun.load(Ordering::SeqCst)));
    drop(first);
    assert!(!waiter.is_finished());
    end(&socket);
    waiter.join().unwrap()
}

#[test]
fn a_reader_parked_beyond_a_runtime() {
    let _alone = alone();
    let _dog = watchdog("a_reader_parked_beyond_a_runtime");
    for timeout in [None, Some(Duration::from_secs(3_600))] {
        let (near, far) = pair_with_std();
        near.set_read_timeout(timeout).unwrap();
        let mut of_end = far.try_clone().unwrap();
        let text = parked_beyond_a_runtime(
            near,
            move |near| ping(near, &far),
            |near| {
                let mut buf = [0; 5];
                (&mut &*near).read_exact(&mut buf).unwrap();
                assert!(epolls_with(inode(near)).contains(&current_epoll()));
                buf
            },
            move |_| of_end.write_all(b"later").unwrap(),
        );
        assert_eq!(&text, b"later");
    }
}

/// The data is there already when the runtime ends, so no event will tell of it.
#[test]
fn a_reader_with_data_beyond_a_runtime() {
    let _alone = alone();
    let _dog = watchdog("a_reader_with_data_beyond_a_runtime");
    let (near, mut far) = pair_with_std();
    runtime(1).run(|| {
        ping(&near, &far);
        far.write_all(b"here").unwrap();
    });
    let mut buf = [0; 2];
    runtime(1).run(|| (&near).read_exact(&mut buf).unwrap());
    assert_eq!(&buf, b"he");
    runtime(1).run(|| (&near).read_exact(&mut buf).unwrap());
    assert_eq!(&buf, b"re");
}

#[test]
fn a_writer_parked_beyond_a_runtime() {
    let _alone = alone();
    let _dog = watchdog("a_writer_parked_beyond_a_runtime");
    let (near, far) = pair_with_std();
    let filled = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let fills = filled.clone();
    let mut of_end = far.try_clone().unwrap();
    parked_beyond_a_runtime(
        near,
        move |near| {
            ping(near, &far);
            fills.store(fill(near), Ordering::SeqCst);
        },
        |near| (&mut &*near).write_all(&vec![1; PLENTY]).unwrap(),
        move |_| {
            let mut left = filled.load(Ordering::SeqCst) + PLENTY;
            let mut buf = vec![0; 1 << 16];
            while left > 0 {
                left -= of_end.read(&mut buf).unwrap();
            }
        },
    );
}

#[test]
fn an_acceptor_parked_beyond_a_runtime() {
    let _alone = alone();
    let _dog = watchdog("an_acceptor_parked_beyond_a_runtime");
    let mut client = None;
    let accepted = parked_beyond_a_runtime(
        listener(),
        accept,
        |listener| listener.accept().unwrap(),
        |listener| client = Some(std::net::TcpStream::connect(listener.local_addr().unwrap())),
    );
    let client = client.unwrap().unwrap();
    assert_eq!(accepted.1, client.local_addr().unwrap());
    ping(&accepted.0, &client);
}

/// Many fibers of several runtimes wait on one socket; the runtime that it is registered with ends, and
/// the next one too.
#[test]
fn many_parked_beyond_two_runtimes() {
    const EACH: usize = 6;
    let _alone = alone();
    let _dog = watchdog("many_parked_beyond_two_runtimes");
    let (near, mut far) = pair_with_std();
    let near = Arc::new(near);
    let (first, second, third) = (runtime(1), runtime(2), runtime(2));
    first.run(|| ping(&near, &far));
    let wait = |runtime: &Runtime| -> Vec<_> {
        let read = |near: Arc<TcpStream>| move || (&*near).read(&mut [0]).unwrap();
        (0..EACH)
            .map(|_| runtime.spawn(read(near.clone())))
            .collect()
    };
    let (of_second, of_third) = (wait(&second), wait(&third));
    drop(first);
    for _ in 0..EACH {
        far.write_all(b"x").unwrap();
    }
    until(|| {
        let ended = of_second
            .iter()
            .chain(&of_third)
            .filter(|f| f.is_finished());
        ended.count() >= EACH
    });
    // Unwinds those of its fibers that still wait.
    drop(second);
    far.write_all(&[b'y'; EACH]).unwrap();
    let mut got = 0;
    for handle in of_third {
        got += handle.join().unwrap();
    }
    assert_eq!(got, EACH);
    let got = got
        + of_second
            .into_iter()
            .filter_map(|f| f.join().ok())
            .sum::<usize>();
    assert!(got <= 2 * EACH);
    drop(far);
    let mut rest = Vec::new();
    third.run(|| (&*near).read_to_end(&mut rest).unwrap());
    assert_eq!(got + rest.len(), 2 * EACH, "each byte once");
}

/// Descriptors are used anew at once, by sockets on other workers too; nothing of the old ones is left.
#[test]
fn descriptors_are_used_anew() {
    let _alone = alone();
    let _dog = watchdog("descriptors_are_used_anew");
    let before = descriptors();
    {
        let runtime = runtime(2);
        let sockets = || {
            let all = descriptors();
            all.iter()
                .filter(|(_, target)| target.starts_with("socket:"))
                .count()
        };
        let of_tokio = sockets();
        let parts: Vec<_> = (0..4u8)
            .map(|part| {
                runtime.spawn(move || {
                    for round in 0..150u8 {
                        let listener = listener();
                        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                        let (far, _) = listener.accept().unwrap();
                        drop(listener);
                        // The far end goes to wherever this fiber runs; both are registered.
                        let sends = sisal::spawn(move || {
                            (&far).write_all(&[part, round]).unwrap();
                            (&far).read_exact(&mut [0]).unwrap();
                        });
                        let mut buf = [0; 2];
                        (&near).read_exact(&mut buf).unwrap();
                        assert_eq!(buf, [part, round]);
                        (&near).write_all(b"!").unwrap();
                        sends.join().unwrap();
                    }
                })
            })
            .collect();
        for part in parts {
            part.join().unwrap();
        }
        assert_eq!(sockets(), of_tokio);
    }
    assert_eq!(descriptors(), before);
}

/// A socket dropped on another thread, with its worker asleep, is gone from the worker's epoll.
#[test]
fn dropped_elsewhere() {
    let _alone = alone();
    let _dog = watchdog("dropped_elsewhere");
    let runtime = runtime(2);
    for _ in 0..50 {
        let (near, far) = pair_with_std();
        let near = runtime.spawn(move || {
            ping(&near, &far);
            (near, far)
        });
        let (near, far) = near.join().unwrap();
        assert_eq!(epolls_with(inode(&near)).len(), 1);
        let duplicate = near.as_fd().try_clone_to_owned().unwrap();
        drop(near);
        assert_eq!(epolls_with(inode(&duplicate)), BTreeSet::new());
        drop(far);
    }
}
