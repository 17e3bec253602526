//! UDP sockets among fibers and threads: served where they are used, many at once, unwound, timed out.

mod common_net;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use common_net::{Place, Rng, anywhere, runtime, seed, until, watchdog};
use sisal::net::UdpSocket;
use sisal::{fiber, time};

fn bound() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind(anywhere()).unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Whoever serves, whoever asks.
#[test]
fn fibers_and_threads_answer_each_other() {
    let _dog = watchdog("fibers_and_threads_answer_each_other");
    const ROUNDS: usize = 200;
    for workers in [1, 2] {
        let runtime = runtime(workers);
        for (server, client) in [
            (Place::Fiber, Place::Fiber),
            (Place::Fiber, Place::Thread),
            (Place::Thread, Place::Fiber),
            (Place::Thread, Place::Thread),
        ] {
            let (serves, at) = bound();
            let (asks, from) = bound();
            let server = server.start(&runtime, move || {
                let mut buf = [0; 64];
                for _ in 0..ROUNDS {
                    let (n, addr) = serves.recv_from(&mut buf).unwrap();
                    assert_eq!(addr, from);
                    serves.send_to(&buf[..n], addr).unwrap();
                }
            });
            let client = client.start(&runtime, move || {
                asks.connect(at).unwrap();
                for round in 0..ROUNDS {
                    let text = format!("round {round}");
                    asks.send(text.as_bytes()).unwrap();
                    let mut buf = [0; 64];
                    let n = asks.recv(&mut buf).unwrap();
                    assert_eq!(&buf[..n], text.as_bytes());
                }
            });
            client.join();
            server.join();
        }
    }
}

/// Each datagram comes to one of the fibers that wait for it, whichever workers they are on.
#[test]
fn many_fibers_share_a_socket() {
    let _dog = watchdog("many_fibers_share_a_socket");
    const READERS: usize = 20;
    const EACH: usize = 10;
    let (socket, at) = bound();
    let socket = Arc::new(socket);
    let got = Arc::new(Mutex::new(Vec::new()));
    let runtime = runtime(2);
    let readers: Vec<_> = (0..READERS)
        .map(|n| {
            // Some through a descriptor of their own.
            let socket = match n % 3 {
                0 => Arc::new(socket.try_clone().unwrap()),
                _ => socket.clone(),
            };
            let got = got.clone();
            runtime.spawn(move || {
                let mut buf = [0; 8];
                for _ in 0..EACH {
                    assert_eq!(socket.recv(&mut buf).unwrap(), 8);
                    got.lock().unwrap().push(u64::from_le_bytes(buf));
                }
            })
        })
        .collect();
    let (sender, _) = bound();
    for n in 0..READERS * EACH {
        // Not more at once than the socket's buffer holds.
        until(|| got.lock().unwrap().len() + 50 > n);
        sender.send_to(&(n as u64).to_le_bytes(), at).unwrap();
    }
    for reader in readers {
        reader.join().unwrap();
    }
    let mut got = Arc::into_inner(got).unwrap().into_inner().unwrap();
    got.sort();
    assert!(got.into_iter().eq(0..(READERS * EACH) as u64));
}

/// Reader after reader is unwound in the middle of it, by a cancel or with its runtime.
#[test]
fn no_datagram_that_was_taken_is_lost() {
    let seed = seed();
    let _dog = watchdog(format!("no_datagram_that_was_taken_is_lost, seed {seed}"));
    const TOTAL: usize = 3_000;
    let (socket, at) = bound();
    let socket = Arc::new(socket);
    let got = Arc::new(Mutex::new(Vec::new()));
    let gets = got.clone();
    // So that a reader does not get far while this thread waits for its turn.
    let most = Arc::new(AtomicUsize::new(0));
    let allowed = most.clone();
    let sender = thread::spawn(move || {
        let (sender, _) = bound();
        for n in 0..TOTAL {
            until(|| gets.lock().unwrap().len() + 50 > n && allowed.load(Ordering::SeqCst) > n);
            sender.send_to(&(n as u64).to_le_bytes(), at).unwrap();
        }
    });
    let mut rng = Rng::new(seed);
    let mut ended = 0;
    while got.lock().unwrap().len() < TOTAL {
        let runtime = runtime(1);
        let (reads, gets) = (socket.clone(), got.clone());
        let reader = runtime.spawn(move || {
            let mut buf = [0; 16];
            loop {
                let (n, _) = reads.recv_from(&mut buf).unwrap();
                assert_eq!(n, 8);
                let number = u64::from_le_bytes(buf[..8].try_into().unwrap());
                gets.lock().unwrap().push(number);
            }
        });
        let enough = got.lock().unwrap().len() + rng.range(0, 400);
        most.store(enough + 50, Ordering::SeqCst);
        until(|| got.lock().unwrap().len() >= enough.min(TOTAL));
        if ended % 2 == 0 {
            reader.cancel();
        } else {
            drop(runtime);
        }
        assert!(reader.join().unwrap_err().is_cancelled());
        ended += 1;
    }
    sender.join().unwrap();
    let got = got.lock().unwrap();
    assert!(got.iter().copied().eq(0..TOTAL as u64), "seed {seed}");
    assert!(ended >= 5, "only {ended} readers");
}

#[test]
fn a_deadline_around_a_wait_leaves_the_socket_usable() {
    let _dog = watchdog("a_deadline_around_a_wait_leaves_the_socket_usable");
    let (socket, at) = bound();
    runtime(1).run(|| {
        let waits = [
            time::timeout(Duration::from_millis(5), || socket.recv(&mut [0])),
            time::timeout(Duration::from_millis(5), || socket.peek(&mut [0])),
            time::timeout(Duration::from_millis(5), || {
                socket.recv_from(&mut [0]).map(|(n, _)| n)
            }),
            time::timeout(Duration::from_millis(5), || {
                socket.peek_from(&mut [0]).map(|(n, _)| n)
            }),
        ];
        assert!(waits.iter().all(Result::is_err));
        socket.send_to(b"x", at).unwrap();
        assert_eq!(socket.recv(&mut [0]).unwrap(), 1);
    });
}

/// While one fiber waits for a datagram the others of its worker run.
#[test]
fn a_wait_parks_just_its_fiber() {
    let _dog = watchdog("a_wait_parks_just_its_fiber");
    let (socket, at) = bound();
    runtime(1).run(|| {
        let turns = AtomicUsize::new(0);
        fiber::scope(|s| {
            let reader = s.spawn(|| socket.recv(&mut [0; 4]).unwrap());
            while turns.fetch_add(1, Ordering::Relaxed) < 100 {
                fiber::yield_now();
            }
            assert!(!reader.is_finished());
            socket.send_to(b"end", at).unwrap();
            assert_eq!(reader.join().unwrap(), 3);
        });
    });
}

/// One that polls in non-blocking mode lets others run, and can be cancelled.
#[test]
fn polling_in_a_loop_is_fair() {
    let _dog = watchdog("polling_in_a_loop_is_fair");
    let (socket, at) = bound();
    socket.set_nonblocking(true).unwrap();
    let runtime = runtime(1);
    let polls = Arc::new(AtomicUsize::new(0));
    let counts = polls.clone();
    let poller = runtime.spawn(move || {
        loop {
            let error = socket.recv(&mut [0; 4]).unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
            counts.fetch_add(1, Ordering::Relaxed);
        }
    });
    let other = runtime.spawn({
        let polls = polls.clone();
        move || until(|| polls.load(Ordering::Relaxed) > 1_000)
    });
    other.join().unwrap();
    poller.cancel();
    assert!(poller.join().unwrap_err().is_cancelled());
    let again = UdpSocket::bind(at).unwrap();
    drop(again);
}

#[test]
fn a_socket_outlives_its_runtime() {
    let _dog = watchdog("a_socket_outlives_its_runtime");
    let (socket, at) = bound();
    for workers in [1, 2, 1] {
        runtime(workers).run(|| {
            fiber::scope(|s| {
                let reader = s.spawn(|| socket.recv(&mut [0; 4]).unwrap());
                socket.send_to(b"abc", at).unwrap();
                assert_eq!(reader.join().unwrap(), 3);
            });
        });
    }
    socket.send_to(b"ab", at).unwrap();
    assert_eq!(socket.recv(&mut [0; 4]).unwrap(), 2);
}
