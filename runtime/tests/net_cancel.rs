//! Fibers unwound out of network waits: destructors run, sockets that others hold stay usable, and no
//! byte and no connection that was taken is lost.

mod common_net;

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::Duration;

use common_net::{
    PLENTY, Rng, byte_at, descriptors, fill, full_listener, listener, pair, pair_with_std, pattern,
    runtime, seed, until, watchdog,
};
use sisal::net::{TcpListener, TcpStream};
use sisal::{Runtime, fiber};

/// One test at a time: they count descriptors.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Parks a fiber in `wait`, which would never end, and ends its runtime.
fn unwound<R: Send + 'static>(what: &str, wait: impl FnOnce() -> R + Send + 'static) {
    let runtime = runtime(1);
    let begun = Arc::new(AtomicBool::new(false));
    let dropped = Arc::new(AtomicBool::new(false));
    let (begins, drops) = (begun.clone(), SetOnDrop(dropped.clone()));
    let waiter = runtime.spawn(move || {
        let _held = drops;
        begins.store(true, Ordering::SeqCst);
        wait()
    });
    // There is one worker: another fiber that sees the flag sees the first one parked.
    runtime.run(|| until(|| begun.load(Ordering::SeqCst)));
    assert!(!waiter.is_finished(), "{what} waits");
    assert!(!dropped.load(Ordering::SeqCst));
    drop(runtime);
    assert!(dropped.load(Ordering::SeqCst), "{what}: its destructors");
    let Err(error) = waiter.join() else {
        panic!("{what} has a result");
    };
    assert!(error.is_cancelled(), "{what}");
}

fn says(near: &TcpStream, far: &mut std::net::TcpStream, text: &str) {
    (&mut &*near).write_all(text.as_bytes()).unwrap();
    let mut buf = vec![0; text.len()];
    far.read_exact(&mut buf).unwrap();
    assert_eq!(buf, text.as_bytes());
    far.write_all(&buf).unwrap();
    (&mut &*near).read_exact(&mut buf).unwrap();
    assert_eq!(buf, text.as_bytes());
}

#[test]
fn in_reads() {
    let _alone = alone();
    let _dog = watchdog("in_reads");
    type Wait = fn(&TcpStream) -> std::io::Result<usize>;
    let waits: [(&str, Wait); 4] = [
        ("read", |near| (&mut &*near).read(&mut [0; 8])),
        ("peek", |near| near.peek(&mut [0; 8])),
        ("vectored", |near| {
            (&mut &*near).read_vectored(&mut [IoSliceMut::new(&mut [0; 8])])
        }),
        ("with a timeout", |near| {
            near.set_read_timeout(Some(Duration::from_secs(3_600)))?;
            (&mut &*near).read(&mut [0; 8])
        }),
    ];
    for (what, wait) in waits {
        let (near, mut far) = pair_with_std();
        let near = Arc::new(near);
        let waits = near.clone();
        unwound(what, move || wait(&waits));
        assert_eq!(Arc::strong_count(&near), 1);
        says(&near, &mut far, "on a thread");
        runtime(1).run(|| says(&near, &mut far, "in a fiber"));
    }
}

#[test]
fn in_writes() {
    let _alone = alone();
    let _dog = watchdog("in_writes");
    for vectored in [false, true] {
        let (near, mut far) = pair_with_std();
        let filled = fill(&near);
        let near = Arc::new(near);
        let waits = near.clone();
        let written = Arc::new(AtomicUsize::new(0));
        let counts = written.clone();
        unwound("write", move || {
            let piece = vec![1; PLENTY];
            loop {
                let n = match vectored {
                    false => (&*waits).write(&piece),
                    true => (&*waits).write_vectored(&[IoSlice::new(&piece)]),
                };
                counts.fetch_add(n.unwrap(), Ordering::SeqCst);
            }
        });
        // What was said to be written comes, and not a byte more.
        let mut left = filled + written.load(Ordering::SeqCst);
        let mut buf = vec![0; 1 << 16];
        while left > 0 {
            left -= far.read(&mut buf).unwrap();
        }
        says(&near, &mut far, "on a thread");
        runtime(1).run(|| says(&near, &mut far, "in a fiber"));
    }
}

#[test]
fn in_accept() {
    let _alone = alone();
    let _dog = watchdog("in_accept");
    let listener = Arc::new(listener());
    let addr = listener.local_addr().unwrap();
    let accepts = |listener: &TcpListener| {
        let client = std::net::TcpStream::connect(addr).unwrap();
        let (stream, peer) = listener.accept().unwrap();
        assert_eq!(peer, client.local_addr().unwrap());
        drop(stream);
    };
    let waits = listener.clone();
    unwound("accept", move || waits.accept());
    accepts(&listener);
    let waits = listener.clone();
    unwound("incoming", move || waits.incoming().for_each(drop));
    runtime(1).run(|| accepts(&listener));
}

#[test]
fn in_connect() {
    let _alone = alone();
    let _dog = watchdog("in_connect");
    drop(runtime(1)); // makes what tokio keeps for good
    let (full, filling) = full_listener();
    let addr = full.local_addr().unwrap();
    let before = descriptors();
    unwound("connect", move || TcpStream::connect(addr));
    unwound("connect_timeout", move || {
        TcpStream::connect_timeout(&addr, Duration::from_secs(3_600))
    });
    unwound("many", move || {
        fiber::scope(|s| {
            for _ in 0..10 {
                s.spawn(|| TcpStream::connect(addr).unwrap());
            }
        });
    });
    assert_eq!(descriptors(), before);
    drop(filling);
}

/// Operations that are always ready are suspension points now and then.
#[test]
fn in_operations_that_never_wait() {
    let _alone = alone();
    let _dog = watchdog("in_operations_that_never_wait");
    let (near, mut far) = pair_with_std();
    let near = Arc::new(near);
    far.write_all(b"x").unwrap();
    let peeks = near.clone();
    unwound("peeks", move || {
        loop {
            assert_eq!(peeks.peek(&mut [0; 2]).unwrap(), 1);
        }
    });
    (&*near).read_exact(&mut [0]).unwrap();
    says(&near, &mut far, "then");
}

/// Reads what `send_pattern` sent, into a place that outlives the fiber.
fn reads_into(near: Arc<TcpStream>, all: Arc<Mutex<Vec<u8>>>, seed: u64) -> impl FnOnce() + Send {
    move || {
        let mut rng = Rng::new(seed);
        let mut buf = [0; 700];
        loop {
            let len = rng.range(1, buf.len());
            match (&*near).read(&mut buf[..len]).unwrap() {
                0 => return,
                n => all.lock().unwrap().extend_from_slice(&buf[..n]),
            }
        }
    }
}

const TOTAL: usize = 4 << 20;

/// What a runtime gets to do at most before it is ended, so that there are some of them.
const SHARE: usize = 400_000;

/// Runtime after runtime reads the same stream, each ended in the middle of it.
#[test]
fn no_byte_that_was_taken_is_lost() {
    let _alone = alone();
    let seed = seed();
    let _dog = watchdog(format!("no_byte_that_was_taken_is_lost, seed {seed}"));
    let (near, far) = pair_with_std();
    let near = Arc::new(near);
    let all = Arc::new(Mutex::new(Vec::new()));
    let allowed = Arc::new(AtomicUsize::new(0));
    let allows = allowed.clone();
    let mut lens = Rng::new(seed ^ 1);
    let sender = thread::spawn(move || {
        let mut sent = 0;
        while sent < TOTAL {
            until(|| allows.load(Ordering::SeqCst) > sent);
            let left = allows.load(Ordering::SeqCst).min(TOTAL) - sent;
            let piece = pattern(seed, sent, lens.range(1, 2_000).min(left));
            (&far).write_all(&piece).unwrap();
            sent += piece.len();
        }
    });
    let mut rng = Rng::new(seed);
    let mut ended = 0;
    while all.lock().unwrap().len() < TOTAL {
        let more = rng.range(1, SHARE);
        allowed.fetch_add(more, Ordering::SeqCst);
        let runtime = runtime(1 + ended % 2);
        let reader = runtime.spawn(reads_into(near.clone(), all.clone(), seed ^ ended as u64));
        // So much of it, then the end, wherever that meets the reader: in a wait if it is all.
        let enough = allowed.load(Ordering::SeqCst) - rng.range(0, 2) * rng.range(0, more / 2);
        until(|| all.lock().unwrap().len() >= enough.min(TOTAL));
        drop(runtime);
        match reader.join() {
            Ok(()) => assert_eq!(all.lock().unwrap().len(), TOTAL),
            Err(error) => assert!(error.is_cancelled(), "{error}"),
        }
        ended += 1;
    }
    sender.join().unwrap();
    let all = all.lock().unwrap();
    assert_eq!(all.len(), TOTAL);
    assert!(
        (0..TOTAL).all(|at| all[at] == byte_at(seed, at)),
        "seed {seed}"
    );
    assert!(ended >= 4, "only {ended} runtimes");
}

/// The same for writers: what the peer gets is what was said to be taken.
#[test]
fn no_byte_is_written_twice() {
    let _alone = alone();
    let seed = seed();
    let _dog = watchdog(format!("no_byte_is_written_twice, seed {seed}"));
    let (near, mut far) = pair_with_std();
    let near = Arc::new(near);
    let written = Arc::new(AtomicUsize::new(0));
    // The buffers between are small against a share.
    rustix::net::sockopt::set_socket_send_buffer_size(&near, 32 * 1024).unwrap();
    rustix::net::sockopt::set_socket_recv_buffer_size(&far, 64 * 1024).unwrap();
    let allowed = Arc::new(AtomicUsize::new(0));
    let allows = allowed.clone();
    let receiver = thread::spawn(move || {
        let mut all = Vec::new();
        let mut buf = vec![0; 1 << 16];
        loop {
            until(|| allows.load(Ordering::SeqCst) > all.len());
            let len = buf.len().min(allows.load(Ordering::SeqCst) - all.len());
            match far.read(&mut buf[..len]).unwrap() {
                0 => return all,
                n => all.extend_from_slice(&buf[..n]),
            }
        }
    });
    let mut rng = Rng::new(seed);
    let mut ended = 0;
    while written.load(Ordering::SeqCst) < TOTAL {
        let runtime: Runtime = runtime(1);
        let (near, counts) = (near.clone(), written.clone());
        let mut lens = rng.clone();
        let writer = runtime.spawn(move || {
            loop {
                let at = counts.load(Ordering::SeqCst);
                let piece = pattern(seed, at, lens.range(1, 9_000).min(TOTAL - at));
                if piece.is_empty() {
                    return;
                }
                let n = (&*near).write(&piece).unwrap();
                counts.fetch_add(n, Ordering::SeqCst);
            }
        });
        let enough = written.load(Ordering::SeqCst) + rng.range(0, SHARE);
        allowed.store(enough, Ordering::SeqCst);
        until(|| written.load(Ordering::SeqCst) >= enough.min(TOTAL));
        drop(runtime);
        drop(writer);
        ended += 1;
    }
    drop(near);
    allowed.store(usize::MAX, Ordering::SeqCst);
    let all = receiver.join().unwrap();
    assert_eq!(all.len(), TOTAL);
    assert!(
        (0..TOTAL).all(|at| all[at] == byte_at(seed, at)),
        "seed {seed}"
    );
    assert!(ended >= 4, "only {ended} runtimes");
}

/// Connections that come while acceptor after acceptor is unwound: each is accepted by one of them.
#[test]
fn no_connection_that_was_taken_is_lost() {
    const TOTAL: usize = 120;
    let _alone = alone();
    let seed = seed();
    let _dog = watchdog(format!("no_connection_that_was_taken_is_lost, seed {seed}"));
    let listener = Arc::new(listener());
    let addr = listener.local_addr().unwrap();
    let taken = Arc::new(Mutex::new(Vec::new()));
    let mut rng = Rng::new(seed);
    let clients = thread::spawn(move || {
        let client = |_| std::net::TcpStream::connect(addr).unwrap();
        (0..TOTAL).map(client).collect::<Vec<_>>()
    });
    while taken.lock().unwrap().len() < TOTAL {
        let runtime = runtime(1);
        let (listener, takes) = (listener.clone(), taken.clone());
        let acceptor = runtime.spawn(move || {
            loop {
                let accepted = listener.accept().unwrap();
                takes.lock().unwrap().push(accepted);
            }
        });
        let enough = taken.lock().unwrap().len() + rng.range(0, 20);
        until(|| taken.lock().unwrap().len() >= enough.min(TOTAL));
        drop(runtime);
        assert!(acceptor.join().unwrap_err().is_cancelled());
    }
    let clients = clients.join().unwrap();
    let mut mine: Vec<_> = clients.iter().map(|c| c.local_addr().unwrap()).collect();
    let mut theirs: Vec<_> = taken
        .lock()
        .unwrap()
        .iter()
        .map(|(_, addr)| *addr)
        .collect();
    mine.sort();
    theirs.sort();
    assert_eq!(mine, theirs);
}

/// A destructor that runs while its fiber is unwound may talk, and wait for the answer.
#[test]
fn a_destructor_says_goodbye() {
    struct Goodbye(TcpStream);
    impl Drop for Goodbye {
        fn drop(&mut self) {
            (&self.0).write_all(b"bye").unwrap();
            let mut answer = [0; 3];
            (&self.0).read_exact(&mut answer).unwrap();
            assert_eq!(&answer, b"bye");
        }
    }
    let _alone = alone();
    let _dog = watchdog("a_destructor_says_goodbye");
    let ends: Vec<_> = (0..5).map(|_| pair()).collect();
    let (near, far): (Vec<_>, Vec<_>) = ends.into_iter().unzip();
    // Each by itself: a worker unwinds its fibers one after the other, in an order of its own (S6).
    let answers: Vec<_> = far
        .into_iter()
        .map(|far| {
            thread::spawn(move || {
                let mut buf = [0; 3];
                (&far).read_exact(&mut buf).unwrap();
                (&far).write_all(&buf).unwrap();
                assert_eq!((&far).read(&mut buf).unwrap(), 0);
            })
        })
        .collect();
    let runtime = runtime(2);
    let begun = Arc::new(AtomicUsize::new(0));
    let all: Vec<_> = near
        .into_iter()
        .map(|near| {
            let begun = begun.clone();
            runtime.spawn(move || {
                let goodbye = Goodbye(near);
                begun.fetch_add(1, Ordering::SeqCst);
                (&goodbye.0).read_exact(&mut [0; 8]).unwrap();
            })
        })
        .collect();
    // A fiber that has not begun is dropped without a word.
    until(|| begun.load(Ordering::SeqCst) == all.len());
    drop(runtime);
    for answer in answers {
        answer.join().unwrap();
    }
    for fiber in all {
        assert!(fiber.join().unwrap_err().is_cancelled());
    }
}
