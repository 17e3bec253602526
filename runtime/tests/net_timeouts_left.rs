//! Timeouts that do not come: a wait that ends before leaves its fiber among the timers, and nothing that follows is wrong for that. Nor do
//! those come that need not.

mod common;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{one_on_each_worker, runtime, until, watchdog};
use sisal::fiber::{self, scope, sleep, spawn, yield_now};
use sisal::os::unix::net::{UnixDatagram, UnixStream};
use sisal::timeout;

const SHORT: Duration = Duration::from_millis(5);
const LONG: Duration = Duration::from_secs(3600);

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// A stream whose other end answers each byte with itself.
fn echo() -> (UnixStream, fiber::JoinHandle<()>) {
    let (here, mut there) = UnixStream::pair().unwrap();
    let answering = spawn(move || {
        let mut byte = [0];
        while there.read(&mut byte).unwrap() == 1 {
            there.write_all(&byte).unwrap();
        }
    });
    (here, answering)
}

/// Reads that wait, each for an answer, with that timeout. (On a machine that stands still for so long it comes: then once more.)
fn ask(stream: &mut UnixStream, timeout: Duration, times: u8) {
    stream.set_read_timeout(Some(timeout)).unwrap();
    for n in 0..times {
        stream.write_all(&[n]).unwrap();
        let mut byte = [0];
        while let Err(error) = stream.read_exact(&mut byte) {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
        }
        assert_eq!(byte, [n]);
    }
}

/// Its answer never comes. How long that took.
fn is_over(stream: &mut UnixStream, timeout: Duration) -> Duration {
    stream.set_read_timeout(Some(timeout)).unwrap();
    let begin = Instant::now();
    let error = stream.read(&mut [0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    begin.elapsed()
}

#[test]
fn a_shorter_timeout_comes_after_a_longer_one_did_not() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (mut stream, answering) = echo();
        for _ in 0..3 {
            ask(&mut stream, LONG, 10);
            assert!(is_over(&mut stream, SHORT) >= SHORT);
        }
        stream.shutdown(Shutdown::Write).unwrap();
        answering.join().unwrap();
    });
}

/// Its list is due while the fiber waits for something later.
#[test]
fn a_longer_timeout_does_not_come_when_a_shorter_one_would_have() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for _ in 0..5 {
            let (mut stream, answering) = echo();
            ask(&mut stream, SHORT.max(ms(20)), 3);
            assert!(is_over(&mut stream, ms(60)) >= ms(60));
            ask(&mut stream, ms(20), 3);
            // Nothing is limited any more, and this wait is not called for.
            stream.set_read_timeout(None).unwrap();
            let mut clone = stream.try_clone().unwrap();
            let late = spawn(move || {
                sleep(ms(40));
                clone.write_all(&[7]).unwrap();
            });
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            assert_eq!(byte, [7]);
            late.join().unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            answering.join().unwrap();
        }
    });
}

#[test]
fn sleeps_are_as_long_as_ever() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (mut stream, answering) = echo();
        for timeout in [LONG, ms(20), SHORT, LONG] {
            for time in [ms(1), ms(30), ms(3)] {
                ask(&mut stream, timeout, 2);
                let begin = Instant::now();
                sleep(time);
                assert!(begin.elapsed() >= time);
            }
        }
        stream.shutdown(Shutdown::Write).unwrap();
        answering.join().unwrap();
    });
}

/// Nobody calls for a fiber that is no more (the sanitizer would see it), and what waits beside it is called for.
#[test]
fn a_fiber_that_ends_is_taken_out() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        for round in 0..20 {
            let fibers: Vec<_> = (0..50)
                .map(|n| {
                    spawn(move || {
                        let (mut stream, answering) = echo();
                        ask(&mut stream, ms(1 + (n + round) % 7), 2);
                        if n % 3 == 0 {
                            assert!(is_over(&mut stream, ms(3)) >= ms(3));
                        }
                        stream.shutdown(Shutdown::Write).unwrap();
                        drop(stream);
                        answering.join().unwrap();
                    })
                })
                .collect();
            for fiber in fibers {
                fiber.join().unwrap();
            }
        }
        // What they left would be due by now.
        sleep(ms(30));
    });
}

/// A wait that unwinds leaves its time behind; the waits after it are their own.
#[test]
fn a_wait_that_was_cut_short_disturbs_nothing() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        for limit in [ms(30), ms(200), LONG] {
            let (mut stream, answering) = echo();
            stream.set_read_timeout(Some(limit)).unwrap();
            let cut = timeout(ms(2), || stream.read(&mut [0]));
            assert!(cut.is_err());
            let parked = spawn(fiber::park);
            let begin = Instant::now();
            sleep(ms(50));
            assert!(begin.elapsed() >= ms(50));
            assert!(!parked.is_finished());
            parked.fiber().unpark();
            parked.join().unwrap();
            ask(&mut stream, limit, 3);
            stream.shutdown(Shutdown::Write).unwrap();
            answering.join().unwrap();
        }
    });
}

/// Hundreds of timeouts that do not come leave one timer, far away: the worker sleeps on.
#[test]
fn what_does_not_come_wakes_nobody() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let asking = runtime.spawn(|| {
        let (mut stream, answering) = echo();
        ask(&mut stream, LONG, 200);
        // It lives on, and its timer with it.
        fiber::park();
        ask(&mut stream, LONG, 1);
        stream.shutdown(Shutdown::Write).unwrap();
        answering.join().unwrap();
    });
    // From when it has come to rest. (A duration, not an order.)
    until(|| {
        let before = runtime.metrics().total();
        std::thread::sleep(ms(300));
        let after = runtime.metrics().total();
        before.asleep && (before.turns, before.sleeps) == (after.turns, after.sleeps)
    });
    assert_eq!(runtime.metrics().live(), 2);
    asking.fiber().unpark();
    asking.join().unwrap();
}

/// `wait` waits for the socket with a timeout, twice on one worker, one in the registration's place and one in its list; its reactor is another worker's that
/// does something else for all that time. Then comes `event`. What the waits gave.
fn behind_a_busy_reactor<T: Send>(
    wait: impl Fn() -> io::Result<T> + Sync,
    event: impl Fn() + Sync,
) -> [io::Result<T>; 2] {
    let (held, over) = (&AtomicBool::new(false), &AtomicBool::new(false));
    let (wait, event) = (&wait, &event);
    let mut both = one_on_each_worker(2, move |worker| {
        if worker == 0 {
            // It waits here first, so this worker's reactor has the socket.
            assert_eq!(wait().err().unwrap().kind(), ErrorKind::WouldBlock);
            held.store(true, Ordering::Release);
            while !over.load(Ordering::Acquire) {
                std::hint::spin_loop();
            }
            return None;
        }
        until(|| held.load(Ordering::Acquire));
        Some(scope(|s| {
            let waits = [(); 2].map(|()| s.spawn(wait));
            yield_now();
            event();
            let waits = waits.map(|wait| wait.join().unwrap());
            over.store(true, Ordering::Release);
            waits
        }))
    });
    both.remove(1).unwrap()
}

#[test]
fn what_is_there_when_the_time_is_over_is_read() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let (here, there) = UnixStream::pair().unwrap();
        here.set_read_timeout(Some(ms(20))).unwrap();
        let event = || (&there).write_all(&[1, 2]).unwrap();
        for read in behind_a_busy_reactor(|| (&here).read(&mut [0]), event) {
            assert_eq!(read.unwrap(), 1);
        }
    });
}

/// Of a datagram socket that end is told by nothing but its event.
#[test]
fn an_end_that_came_before_the_time_was_over_is_seen() {
    let _watchdog = watchdog(60);
    runtime(2).run(|| {
        let (here, _there) = UnixDatagram::pair().unwrap();
        here.set_read_timeout(Some(ms(20))).unwrap();
        let event = || here.shutdown(Shutdown::Read).unwrap();
        for received in behind_a_busy_reactor(|| here.recv(&mut [0]), event) {
            assert_eq!(received.unwrap(), 0);
        }
    });
}
