//! Clones of a socket, and one socket by reference, used by several fibers and threads at once: every
//! byte and connection is taken once, and no wake is lost.

mod common_net;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use common_net::{
    Place, Rng, echo, expect_pattern, listener, pair, pair_with_std, pattern, runtime, seed,
    send_pattern, watchdog,
};
use sisal::Runtime;
use sisal::net::{TcpListener, TcpStream};

/// How a stream is given to its users.
#[derive(Clone, Copy, Debug)]
enum Share {
    Reference,
    Clone,
}

impl Share {
    fn hand_out(self, stream: TcpStream, users: usize) -> Vec<Arc<TcpStream>> {
        let stream = Arc::new(stream);
        (0..users)
            .map(|_| match self {
                Share::Reference => Arc::clone(&stream),
                Share::Clone => Arc::new(stream.try_clone().unwrap()),
            })
            .collect()
    }
}

fn histogram(bytes: &[u8]) -> [usize; 256] {
    let mut counts = [0; 256];
    for byte in bytes {
        counts[*byte as usize] += 1;
    }
    counts
}

/// Several readers to the end of a stream: together they get each byte once, and each of them sees
/// the end.
fn all_read(share: Share, places: &[Place]) {
    const TOTAL: usize = 1 << 20;
    let seed = seed();
    let _dog = watchdog(format!("all read, {share:?} {places:?}, seed {seed}"));
    let runtime = runtime(2);
    let (near, far) = pair();
    let readers: Vec<_> = share
        .hand_out(near, places.len())
        .into_iter()
        .zip(places)
        .enumerate()
        .map(|(i, (stream, place))| {
            place.start(&runtime, move || {
                let mut rng = Rng::new(seed ^ i as u64);
                let (mut all, mut buf) = (Vec::new(), vec![0; 4_000]);
                loop {
                    let len = rng.range(1, buf.len());
                    match (&*stream).read(&mut buf[..len]).unwrap() {
                        0 => return all,
                        n => all.extend_from_slice(&buf[..n]),
                    }
                }
            })
        })
        .collect();
    let writer = runtime.spawn(move || {
        send_pattern(&far, seed, TOTAL, 3_000);
        far.shutdown(Shutdown::Write).unwrap();
        far
    });
    let read: Vec<u8> = readers.into_iter().flat_map(|part| part.join()).collect();
    assert_eq!(read.len(), TOTAL, "seed {seed}");
    assert_eq!(histogram(&read), histogram(&pattern(seed, 0, TOTAL)));
    writer.join().unwrap();
}

#[test]
fn two_clones_read() {
    all_read(Share::Clone, &[Place::Fiber; 2]);
}

#[test]
fn two_fibers_read_one_stream() {
    all_read(Share::Reference, &[Place::Fiber; 2]);
}

#[test]
fn many_clones_read() {
    all_read(Share::Clone, &[Place::Fiber; 12]);
}

#[test]
fn many_fibers_read_one_stream() {
    all_read(Share::Reference, &[Place::Fiber; 12]);
}

#[test]
fn fibers_and_threads_read_one_stream() {
    use Place::{Fiber, Thread};
    all_read(Share::Reference, &[Fiber, Thread, Fiber, Thread]);
    all_read(Share::Clone, &[Fiber, Thread, Fiber, Thread]);
}

/// One reads, one writes, against an echo.
fn read_and_write(share: Share, reads: Place, writes: Place) {
    const TOTAL: usize = 3 << 20;
    let seed = seed();
    let _dog = watchdog(format!("{share:?} {reads:?} {writes:?}, seed {seed}"));
    let runtime = runtime(2);
    let (near, far) = pair();
    let served = runtime.spawn(move || echo(far, 20_000));
    let mut ends = share.hand_out(near, 2).into_iter();
    let (reading, writing) = (ends.next().unwrap(), ends.next().unwrap());
    let writer = writes.start(&runtime, move || {
        send_pattern(&*writing, seed, TOTAL, 50_000);
        writing.shutdown(Shutdown::Write).unwrap();
    });
    let reader = reads.start(&runtime, move || {
        expect_pattern(&*reading, seed, TOTAL, 9_000);
    });
    writer.join();
    reader.join();
    assert_eq!(served.join().unwrap(), TOTAL);
}

#[test]
fn one_reads_one_writes_by_reference() {
    read_and_write(Share::Reference, Place::Fiber, Place::Fiber);
}

#[test]
fn one_reads_one_writes_by_clones() {
    read_and_write(Share::Clone, Place::Fiber, Place::Fiber);
}

#[test]
fn a_fiber_reads_and_a_thread_writes() {
    read_and_write(Share::Reference, Place::Fiber, Place::Thread);
    read_and_write(Share::Reference, Place::Thread, Place::Fiber);
}

/// A few bytes at a time; the next come when all of these have been taken. A wake that is lost, or
/// readiness that is cleared wrongly, leaves bytes lying and everybody waiting.
fn no_wake_is_lost(runtime: &Runtime, share: Share, places: &[Place], rounds: usize) {
    let seed = seed();
    let _dog = watchdog(format!(
        "no wake is lost, {share:?} {places:?}, seed {seed}"
    ));
    let (near, far) = pair_with_std();
    let taken = Arc::new(AtomicUsize::new(0));
    let writer = thread::current();
    let readers: Vec<_> = share
        .hand_out(near, places.len())
        .into_iter()
        .zip(places)
        .enumerate()
        .map(|(i, (stream, place))| {
            let (taken, writer) = (Arc::clone(&taken), writer.clone());
            place.start(runtime, move || {
                let mut rng = Rng::new(seed ^ (i as u64) << 32);
                let mut buf = [0; 64];
                loop {
                    let len = rng.range(1, buf.len());
                    // A look first, sometimes: it takes nothing.
                    if rng.range(0, 3) == 0 && stream.peek(&mut buf[..len]).unwrap() == 0 {
                        return;
                    }
                    match (&*stream).read(&mut buf[..len]).unwrap() {
                        0 => return,
                        n => {
                            taken.fetch_add(n, Ordering::SeqCst);
                            writer.unpark();
                        }
                    }
                }
            })
        })
        .collect();
    let mut rng = Rng::new(seed);
    let mut sent = 0;
    for _ in 0..rounds {
        let pieces = rng.range(1, 3);
        for _ in 0..pieces {
            let len = rng.range(1, 150);
            (&far).write_all(&[0; 150][..len]).unwrap();
            sent += len;
        }
        while taken.load(Ordering::SeqCst) < sent {
            thread::park();
        }
        assert_eq!(taken.load(Ordering::SeqCst), sent, "seed {seed}");
    }
    drop(far);
    for reader in readers {
        reader.join();
    }
}

#[test]
fn no_wake_is_lost_one_reader() {
    no_wake_is_lost(&runtime(1), Share::Reference, &[Place::Fiber], 3_000);
}

#[test]
fn no_wake_is_lost_by_reference() {
    no_wake_is_lost(&runtime(2), Share::Reference, &[Place::Fiber; 2], 3_000);
    no_wake_is_lost(&runtime(2), Share::Reference, &[Place::Fiber; 16], 1_000);
}

#[test]
fn no_wake_is_lost_by_clones() {
    no_wake_is_lost(&runtime(2), Share::Clone, &[Place::Fiber; 2], 3_000);
    no_wake_is_lost(&runtime(2), Share::Clone, &[Place::Fiber; 16], 1_000);
}

#[test]
fn no_wake_is_lost_with_threads_among_the_readers() {
    use Place::{Fiber, Thread};
    let places = [Fiber, Thread, Fiber, Thread];
    no_wake_is_lost(&runtime(2), Share::Reference, &places, 1_000);
    no_wake_is_lost(&runtime(2), Share::Clone, &places, 1_000);
}

/// The same on the other side: small pieces into a connection that is full again and again.
#[test]
fn no_wake_is_lost_writing() {
    const EACH: usize = 2_000_000;
    let seed = seed();
    let _dog = watchdog(format!("no wake is lost writing, seed {seed}"));
    let runtime = runtime(2);
    for share in [Share::Reference, Share::Clone] {
        let (near, far) = pair();
        rustix::net::sockopt::set_socket_send_buffer_size(&near, 4_096).unwrap();
        let places = [Place::Fiber, Place::Fiber, Place::Thread, Place::Fiber];
        let writers: Vec<_> = share
            .hand_out(near, places.len())
            .into_iter()
            .zip(places)
            .enumerate()
            .map(|(i, (stream, place))| {
                place.start(&runtime, move || {
                    let mut rng = Rng::new(seed ^ i as u64);
                    let mut left = EACH;
                    while left > 0 {
                        let len = rng.range(1, 9_000).min(left);
                        left -= (&*stream).write(&vec![i as u8; len]).unwrap();
                    }
                })
            })
            .collect();
        let reader = runtime.spawn(move || {
            let mut rng = Rng::new(seed);
            let (mut counts, mut buf) = ([0; 256], vec![0; 5_000]);
            loop {
                let len = rng.range(1, buf.len());
                let n = (&far).read(&mut buf[..len]).unwrap();
                if n == 0 {
                    return counts;
                }
                for (sum, more) in counts.iter_mut().zip(histogram(&buf[..n])) {
                    *sum += more;
                }
            }
        });
        for writer in writers {
            writer.join();
        }
        assert_eq!(reader.join().unwrap()[..4], [EACH; 4], "seed {seed}");
    }
}

/// Several acceptors, by reference and by clones: each connection goes to one of them.
fn acceptors_share_a_listener(by_reference: &[Place], by_clones: &[Place]) {
    const CONNECTIONS: usize = 600;
    let seed = seed();
    let _dog = watchdog(format!(
        "acceptors, {by_reference:?} {by_clones:?}, seed {seed}"
    ));
    let runtime = runtime(2);
    let listener = Arc::new(listener());
    let addr = listener.local_addr().unwrap();
    let over = Arc::new(AtomicBool::new(false));
    let taken = Arc::new(AtomicUsize::new(0));
    let main = thread::current();
    let acceptor = |listener: Arc<TcpListener>, place: Place| {
        let (over, taken, main) = (over.clone(), taken.clone(), main.clone());
        place.start(&runtime, move || {
            let mut peers = Vec::new();
            loop {
                let (stream, peer) = listener.accept().unwrap();
                if over.load(Ordering::SeqCst) {
                    return peers;
                }
                assert_eq!(stream.peer_addr().unwrap(), peer);
                peers.push(peer);
                taken.fetch_add(1, Ordering::SeqCst);
                main.unpark();
            }
        })
    };
    let mut acceptors = Vec::new();
    for place in by_reference {
        acceptors.push(acceptor(listener.clone(), *place));
    }
    for place in by_clones {
        acceptors.push(acceptor(Arc::new(listener.try_clone().unwrap()), *place));
    }
    let mut mine = Vec::new();
    let mut streams = Vec::new();
    let mut rng = Rng::new(seed);
    while mine.len() < CONNECTIONS {
        for _ in 0..rng.range(1, 20) {
            let stream = std::net::TcpStream::connect(addr).unwrap();
            mine.push(stream.local_addr().unwrap());
            streams.push(stream);
        }
        // Nobody is asked again before all of these are taken, so a lost wake shows.
        while taken.load(Ordering::SeqCst) < mine.len() {
            thread::park();
        }
    }
    over.store(true, Ordering::SeqCst);
    let last: Vec<_> = acceptors
        .iter()
        .map(|_| std::net::TcpStream::connect(addr).unwrap())
        .collect();
    let mut theirs: Vec<_> = acceptors.into_iter().flat_map(|part| part.join()).collect();
    drop(last);
    mine.sort();
    theirs.sort();
    assert_eq!(mine, theirs, "seed {seed}");
}

#[test]
fn one_acceptor() {
    acceptors_share_a_listener(&[Place::Fiber], &[]);
}

#[test]
fn acceptors_in_fibers() {
    acceptors_share_a_listener(&[Place::Fiber; 3], &[]);
    acceptors_share_a_listener(&[Place::Fiber; 3], &[Place::Fiber; 3]);
}

#[test]
fn acceptors_in_fibers_and_on_threads() {
    use Place::{Fiber, Thread};
    acceptors_share_a_listener(&[Fiber, Thread, Fiber], &[Thread, Fiber]);
}
