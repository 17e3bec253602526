//! A socket that is always ready does not keep a worker from timers, I/O and other fibers.

mod common_net;

use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use common_net::{PLENTY, echo, fill, listener, pair, runtime, stamp_sends, watchdog};
use sisal::fiber;
use sisal::net::TcpStream;

/// Runs `always` over and over in a fiber of a worker, while another sleeps, and a third talks to a
/// task of tokio's on the same worker. `always` never has to wait.
fn goes_on_beside(what: &str, always: impl FnMut() + Send + 'static) {
    let _dog = watchdog(what);
    runtime(1).run(|| {
        let stop = Arc::new(AtomicBool::new(false));
        let turns = Arc::new(AtomicU64::new(0));
        let busy = {
            let (stop, turns, mut always) = (stop.clone(), turns.clone(), always);
            sisal::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    always();
                    turns.fetch_add(1, Ordering::Relaxed);
                }
            })
        };
        let sleeper = sisal::spawn(|| {
            for _ in 0..10 {
                fiber::sleep(Duration::from_millis(1));
            }
        });
        let listener = listener();
        let addr = listener.local_addr().unwrap();
        let served = sisal::spawn(move || echo(listener.accept().unwrap().0, 16));
        sisal::block_on(async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut client = tokio::net::TcpStream::connect(addr).await.unwrap();
            for i in 0..20u8 {
                client.write_all(&[i]).await.unwrap();
                assert_eq!(client.read_u8().await.unwrap(), i);
            }
        });
        assert_eq!(served.join().unwrap(), 20);
        sleeper.join().unwrap();
        // It ran all the while: a worker of one thread gave it turns between the others'.
        assert!(turns.load(Ordering::Relaxed) > 0);
        stop.store(true, Ordering::Relaxed);
        busy.join().unwrap();
    });
}

#[test]
fn data_that_stays() {
    let (near, far) = pair();
    (&far).write_all(b"x").unwrap();
    let mut keep = Some(far);
    goes_on_beside("data_that_stays", move || {
        assert_eq!(near.peek(&mut [0; 4]).unwrap(), 1);
        assert!(keep.as_mut().is_some());
    });
}

#[test]
fn the_end_of_a_stream() {
    let (near, far) = pair();
    far.shutdown(Shutdown::Write).unwrap();
    goes_on_beside("the_end_of_a_stream", move || {
        assert_eq!((&near).read(&mut [0; 4]).unwrap(), 0);
        assert!(far.nodelay().is_ok());
    });
}

#[test]
fn a_closed_stream() {
    let (near, _) = pair();
    near.shutdown(Shutdown::Both).unwrap();
    goes_on_beside("a_closed_stream", move || {
        assert!((&near).write(b"x").is_err());
    });
}

/// A peer on a thread that sends as fast as it can.
#[test]
fn a_peer_that_never_stops() {
    let (near, far) = pair();
    let stop = Arc::new(AtomicBool::new(false));
    let sender = {
        let stop = stop.clone();
        std::thread::spawn(move || {
            let piece = [5; 16 * 1024];
            while !stop.load(Ordering::Relaxed) && (&far).write(&piece).is_ok() {}
        })
    };
    let mut buf = [0; 64];
    goes_on_beside("a_peer_that_never_stops", move || {
        assert!((&near).read(&mut buf).unwrap() > 0);
    });
    // The reader's end is dropped, so the sender's write fails.
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
}

/// Connections that come as fast as they are taken.
#[test]
fn a_listener_that_is_never_empty() {
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let waiting: Vec<_> = (0..4).map(|_| TcpStream::connect(addr).unwrap()).collect();
    let mut waiting = std::collections::VecDeque::from(waiting);
    goes_on_beside("a_listener_that_is_never_empty", move || {
        drop(listener.accept().unwrap());
        waiting.pop_front();
        waiting.push_back(TcpStream::connect(addr).unwrap());
    });
}

/// An error queue that nobody reads (here of time stamps) makes epoll call a socket writable that is
/// not. A writer who waits for room then finds none, over and over; the others go on.
#[test]
fn readiness_that_is_not_true() {
    let _dog = watchdog("readiness_that_is_not_true");
    let (near, far) = pair();
    stamp_sends(&near);
    let filled = fill(&near);
    runtime(1).run(|| {
        let written = Arc::new(AtomicBool::new(false));
        let writer = {
            let written = written.clone();
            sisal::spawn(move || {
                (&near).write_all(&vec![7; PLENTY]).unwrap();
                written.store(true, Ordering::Relaxed);
            })
        };
        for _ in 0..10 {
            fiber::sleep(Duration::from_millis(1));
        }
        assert!(!written.load(Ordering::Relaxed), "there was no room");
        let mut left = filled + PLENTY;
        let mut buf = vec![0; 64 * 1024];
        while left > 0 {
            left -= (&far).read(&mut buf).unwrap();
        }
        writer.join().unwrap();
    });
}
