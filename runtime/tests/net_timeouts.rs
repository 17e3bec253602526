//! Timeouts: errors exactly as std's sockets give them, kept by the socket and not by the handle.

mod common_net;

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common_net::{
    PLENTY, Place, closed, fill, full_listener, looks, pair, pair_of_std, pair_with_std, runtime,
    stamp_sends, until, watchdog,
};
use sisal::fiber;
use sisal::net::TcpStream;

const SHORT: Duration = Duration::from_millis(20);
const LONG: Duration = Duration::from_secs(3_600);

/// The same steps with std's stream and with ours.
trait Stream: Sized + AsFd {
    fn reads(&self, buf: &mut [u8]) -> io::Result<usize>;
    fn peeks(&self, buf: &mut [u8]) -> io::Result<usize>;
    fn writes(&self, buf: &[u8]) -> io::Result<usize>;
    fn set_read(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn set_write(&self, timeout: Option<Duration>) -> io::Result<()>;
    fn get_read(&self) -> io::Result<Option<Duration>>;
    fn get_write(&self) -> io::Result<Option<Duration>>;
    fn clones(&self) -> io::Result<Self>;
    fn connects(addr: &SocketAddr, timeout: Duration) -> io::Result<Self>;
}

macro_rules! stream {
    ($stream:ty) => {
        impl Stream for $stream {
            fn reads(&self, buf: &mut [u8]) -> io::Result<usize> {
                (&mut &*self).read(buf)
            }
            fn peeks(&self, buf: &mut [u8]) -> io::Result<usize> {
                self.peek(buf)
            }
            fn writes(&self, buf: &[u8]) -> io::Result<usize> {
                (&mut &*self).write(buf)
            }
            fn set_read(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.set_read_timeout(timeout)
            }
            fn set_write(&self, timeout: Option<Duration>) -> io::Result<()> {
                self.set_write_timeout(timeout)
            }
            fn get_read(&self) -> io::Result<Option<Duration>> {
                self.read_timeout()
            }
            fn get_write(&self) -> io::Result<Option<Duration>> {
                self.write_timeout()
            }
            fn clones(&self) -> io::Result<Self> {
                self.try_clone()
            }
            fn connects(addr: &SocketAddr, timeout: Duration) -> io::Result<Self> {
                <$stream>::connect_timeout(addr, timeout)
            }
        }
    };
}

stream!(std::net::TcpStream);
stream!(TcpStream);

type Looks = (ErrorKind, Option<i32>);

/// Runs the same steps with std's sockets here and with ours in a fiber and on a thread.
fn as_std<R: PartialEq + std::fmt::Debug + Send + 'static>(
    what: &str,
    of_std: fn(std::net::TcpStream, std::net::TcpStream) -> R,
    of_sisal: fn(TcpStream, std::net::TcpStream) -> R,
) -> R {
    let _dog = watchdog(what);
    let (near, far) = pair_of_std();
    let want = of_std(near, far);
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        let (near, far) = pair_with_std();
        let got = place.run(&runtime, move || of_sisal(near, far));
        assert_eq!(got, want, "{what}, {place:?}");
    }
    want
}

fn reads_in_vain<S: Stream>(near: S, _far: std::net::TcpStream) -> [Looks; 2] {
    near.set_read(Some(SHORT)).unwrap();
    let begun = Instant::now();
    let read = near.reads(&mut [0; 8]).unwrap_err();
    assert!(begun.elapsed() >= SHORT);
    let begun = Instant::now();
    let peeked = near.peeks(&mut [0; 8]).unwrap_err();
    assert!(begun.elapsed() >= SHORT);
    [looks(read), looks(peeked)]
}

#[test]
fn a_read_times_out() {
    let want = as_std("a_read_times_out", reads_in_vain, reads_in_vain);
    assert_eq!(want, [(ErrorKind::WouldBlock, Some(libc::EAGAIN)); 2]);
}

fn writes_in_vain<S: Stream>(near: S, _far: std::net::TcpStream) -> Looks {
    near.set_write(Some(SHORT)).unwrap();
    fill(&near);
    let more = vec![0; 64 * 1024];
    let mut room = PLENTY;
    loop {
        let begun = Instant::now();
        match near.writes(&more) {
            Ok(n) => room = room.checked_sub(n).expect("no room for so much"),
            Err(error) => {
                assert!(begun.elapsed() >= SHORT);
                return looks(error);
            }
        }
    }
}

#[test]
fn a_write_times_out() {
    let want = as_std("a_write_times_out", writes_in_vain, writes_in_vain);
    assert_eq!(want, (ErrorKind::WouldBlock, Some(libc::EAGAIN)));
}

/// The vectored calls have the same timeouts.
#[test]
fn vectored_calls_time_out() {
    let _dog = watchdog("vectored_calls_time_out");
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        let (near, far) = pair();
        let would_block = (ErrorKind::WouldBlock, Some(libc::EAGAIN));
        let (near, far) = place.run(&runtime, move || {
            near.set_read_timeout(Some(SHORT)).unwrap();
            near.set_write_timeout(Some(SHORT)).unwrap();
            let mut buf = [0; 8];
            let mut bufs = [io::IoSliceMut::new(&mut buf)];
            let error = (&near).read_vectored(&mut bufs).unwrap_err();
            assert_eq!(looks(error), would_block);
            fill(&near);
            let more = vec![0; 64 * 1024];
            let error = loop {
                if let Err(error) = (&near).write_vectored(&[io::IoSlice::new(&more)]) {
                    break error;
                }
            };
            assert_eq!(looks(error), would_block);
            (near, far)
        });
        drop((near, far));
    }
}

fn sets<S: Stream>(near: S, _far: std::net::TcpStream) -> Vec<String> {
    let mut seen = Vec::new();
    let mut see = |what: &str, near: &S| {
        let gets = (near.get_read().unwrap(), near.get_write().unwrap());
        seen.push(format!("{what}: {gets:?}"));
    };
    see("at first", &near);
    let clone = near.clones().unwrap();
    near.set_read(Some(Duration::from_secs(5))).unwrap();
    clone.set_write(Some(LONG)).unwrap();
    see("set, itself", &near);
    see("set, its clone", &clone);
    see("set, a clone of its clone", &clone.clones().unwrap());
    let zero = [
        clone.set_read(Some(Duration::ZERO)).unwrap_err(),
        near.set_write(Some(Duration::ZERO)).unwrap_err(),
    ];
    see("after zero", &near);
    drop(near);
    see("after its clone's end", &clone);
    clone.set_read(None).unwrap();
    clone.set_write(None).unwrap();
    see("none", &clone);
    seen.extend(zero.map(|error| format!("{:?}", looks(error))));
    seen
}

#[test]
fn clones_share_timeouts() {
    let want = as_std("clones_share_timeouts", sets, sets);
    assert_eq!(want.last().unwrap(), "(InvalidInput, None)");
}

fn takes_what_comes_late<S: Stream>(near: S, mut far: std::net::TcpStream) -> String {
    near.set_read(Some(SHORT)).unwrap();
    let mut buf = [0; 8];
    let mut seen = String::new();
    for round in 0..3 {
        let error = near.reads(&mut buf).unwrap_err();
        far.write_all(b"late").unwrap();
        // Loopback: what was written is there.
        let n = near.reads(&mut buf[..3]).unwrap();
        let rest = near.reads(&mut buf[n..]).unwrap();
        let text = str::from_utf8(&buf[..n + rest]).unwrap();
        seen += &format!("{round} {:?} {text}\n", looks(error));
    }
    near.set_read(None).unwrap();
    drop(far);
    assert_eq!(near.reads(&mut buf).unwrap(), 0);
    seen
}

#[test]
fn data_after_a_timeout_is_read() {
    let what = "data_after_a_timeout_is_read";
    as_std(what, takes_what_comes_late, takes_what_comes_late);
}

/// Room after a timeout is used.
#[test]
fn a_write_after_a_timeout_goes_on() {
    let _dog = watchdog("a_write_after_a_timeout_goes_on");
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        let (near, mut far) = pair_with_std();
        let (near, mut sent) = place.run(&runtime, move || {
            let mut sent = fill(&near);
            near.set_write_timeout(Some(SHORT)).unwrap();
            while let Ok(n) = (&near).write(&[1; 1024]) {
                sent += n;
            }
            (near, sent)
        });
        let mut buf = vec![0; 1 << 16];
        while sent > 0 {
            sent -= far.read(&mut buf).unwrap();
        }
        place.run(&runtime, move || (&near).write_all(b"again").unwrap());
        far.read_exact(&mut buf[..5]).unwrap();
        assert_eq!(&buf[..5], b"again");
    }
}

/// A timeout that has not passed is no matter, and one that can never pass is none.
#[test]
fn long_timeouts() {
    let _dog = watchdog("long_timeouts");
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        for timeout in [LONG, Duration::MAX, Duration::from_secs(1 << 40)] {
            let (near, mut far) = pair_with_std();
            near.set_read_timeout(Some(timeout)).unwrap();
            near.set_write_timeout(Some(timeout)).unwrap();
            let part = place.start(&runtime, move || {
                let mut buf = [0; 4];
                (&near).read_exact(&mut buf).unwrap();
                (&near).write_all(&buf).unwrap();
            });
            let mut buf = [0; 4];
            far.write_all(b"ping").unwrap();
            far.read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"ping");
            part.join();
            let (_kept, addr) = closed();
            let refused = place.run(&runtime, move || TcpStream::connect_timeout(&addr, timeout));
            assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        }
    }
}

/// The timeout of a read that is under way is the one that it began with, as std's.
#[test]
fn a_new_timeout_is_for_the_next_read() {
    let _dog = watchdog("a_new_timeout_is_for_the_next_read");
    let (near, mut far) = pair_with_std();
    runtime(1).run(|| {
        let clone = near.try_clone().unwrap();
        let begun = Arc::new(AtomicBool::new(false));
        let reading = Arc::clone(&begun);
        let reader = sisal::spawn(move || {
            reading.store(true, Ordering::Relaxed);
            let read = (&clone).read(&mut [0; 4]).unwrap();
            clone.set_read_timeout(Some(SHORT)).unwrap();
            (read, (&clone).read(&mut [0; 4]).unwrap_err().kind())
        });
        // There is one worker: when it comes back here, the reader waits.
        until(|| begun.load(Ordering::Relaxed));
        near.set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        fiber::sleep(SHORT);
        assert!(!reader.is_finished());
        far.write_all(b"x").unwrap();
        assert_eq!(reader.join().unwrap(), (1, ErrorKind::WouldBlock));
    });
}

/// Many readers of one stream, each with the same timeout, all of them in vain.
#[test]
fn every_reader_times_out() {
    let _dog = watchdog("every_reader_times_out");
    let (near, far) = pair();
    near.set_read_timeout(Some(SHORT)).unwrap();
    runtime(2).run(|| {
        fiber::scope(|s| {
            let readers: Vec<_> = (0..20)
                .map(|_| s.spawn(|| (&near).read(&mut [0; 4]).unwrap_err().kind()))
                .collect();
            for reader in readers {
                assert_eq!(reader.join().unwrap(), ErrorKind::WouldBlock);
            }
        });
    });
    drop(far);
}

/// A write's timeout holds even where epoll says again and again that there is room: an error queue
/// that nobody reads makes it.
#[test]
fn a_timeout_under_readiness_that_is_not_true() {
    let _dog = watchdog("a_timeout_under_readiness_that_is_not_true");
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        let (near, far) = pair();
        stamp_sends(&near);
        place.run(&runtime, move || {
            fill(&near);
            near.set_write_timeout(Some(SHORT)).unwrap();
            let error = (&near).write_all(&vec![0; PLENTY]).unwrap_err();
            assert_eq!(looks(error), (ErrorKind::WouldBlock, Some(libc::EAGAIN)));
        });
        drop(far);
    }
}

fn connects<S: Stream>(addr: SocketAddr, timeout: Duration) -> Looks {
    match S::connects(&addr, timeout) {
        Ok(_) => panic!("connected"),
        Err(error) => looks(error),
    }
}

#[test]
fn connecting_in_time() {
    let _dog = watchdog("connecting_in_time");
    let (_kept, closed) = closed();
    let (full, filling) = full_listener();
    let silent = full.local_addr().unwrap();
    let runtime = runtime(1);
    let cases = [
        (closed, LONG, (ErrorKind::ConnectionRefused, Some(111))),
        (closed, Duration::ZERO, (ErrorKind::InvalidInput, None)),
        (silent, SHORT, (ErrorKind::TimedOut, None)),
    ];
    for (addr, timeout, want) in cases {
        assert_eq!(connects::<std::net::TcpStream>(addr, timeout), want);
        for place in [Place::Fiber, Place::Thread] {
            let begun = Instant::now();
            let got = place.run(&runtime, move || connects::<TcpStream>(addr, timeout));
            assert_eq!(got, want, "{place:?}");
            if want.0 == ErrorKind::TimedOut {
                assert!(begun.elapsed() >= timeout);
            }
        }
    }
    let listener = common_net::listener();
    let addr = listener.local_addr().unwrap();
    for place in [Place::Fiber, Place::Thread] {
        let stream = place.run(&runtime, move || {
            TcpStream::connect_timeout(&addr, LONG).unwrap()
        });
        assert_eq!(stream.peer_addr().unwrap(), addr);
        assert_eq!(stream.read_timeout().unwrap(), None, "it is for connecting");
    }
    drop(filling);
}
