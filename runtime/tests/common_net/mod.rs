//! What the `net_*` tests share: a watchdog, seeds, byte patterns, places to run and socket pairs.

#![allow(dead_code, reason = "each test crate uses a part of it")]

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use sisal::net::{TcpListener, TcpStream};
use sisal::{Runtime, fiber};

/// How long a test may hang before the process is ended: `SISAL_TEST_WATCHDOG` seconds, or 180.
fn patience() -> Duration {
    let secs = std::env::var("SISAL_TEST_WATCHDOG").ok();
    Duration::from_secs(secs.and_then(|secs| secs.parse().ok()).unwrap_or(180))
}

/// Aborts the process, naming the test, if it is not dropped in time.
pub(crate) struct Watchdog {
    _alive: Sender<()>,
}

/// `what` names the test, and the seed if it has one.
pub(crate) fn watchdog(what: impl Into<String>) -> Watchdog {
    let what = what.into();
    let (alive, ended) = mpsc::channel::<()>();
    thread::spawn(move || {
        if let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(patience()) {
            // Not `eprintln!`, which the test harness would keep to itself.
            let _ = writeln!(io::stderr(), "watchdog: {what} hangs");
            std::process::abort();
        }
    });
    Watchdog { _alive: alive }
}

pub(crate) fn runtime(workers: usize) -> Runtime {
    Runtime::builder()
        .workers(workers)
        .thread_name("net")
        .build()
        .expect("a runtime")
}

/// Any free port of loopback.
pub(crate) fn anywhere() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

pub(crate) fn listener() -> TcpListener {
    TcpListener::bind(anywhere()).expect("a listener")
}

/// Two ends of a connection: the first connected, the second accepted. Neither has been waited for.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    // Plain threads do not register.
    thread::spawn(|| {
        let listener = listener();
        let near = TcpStream::connect(listener.local_addr().unwrap()).expect("connected");
        let (far, addr) = listener.accept().expect("accepted");
        assert_eq!(addr, near.local_addr().unwrap());
        (near, far)
    })
    .join()
    .unwrap()
}

/// As [`pair`]; the second is std's.
pub(crate) fn pair_with_std() -> (TcpStream, std::net::TcpStream) {
    thread::spawn(|| {
        let listener = std::net::TcpListener::bind(anywhere()).expect("a listener");
        let near = TcpStream::connect(listener.local_addr().unwrap()).expect("connected");
        let (far, _) = listener.accept().expect("accepted");
        (near, far)
    })
    .join()
    .unwrap()
}

/// As [`pair`]; both are std's.
pub(crate) fn pair_of_std() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = std::net::TcpListener::bind(anywhere()).expect("a listener");
    let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).expect("connected");
    let (far, _) = listener.accept().expect("accepted");
    (near, far)
}

/// A listener that answers nobody: its queue is full. Keep both.
pub(crate) fn full_listener() -> (std::net::TcpListener, Vec<std::net::TcpStream>) {
    let listener = std::net::TcpListener::bind(anywhere()).expect("a listener");
    // A queue for 0 connections has room for one.
    rustix::net::listen(listener.as_fd(), 0).expect("a shorter queue");
    let addr = listener.local_addr().unwrap();
    let first = std::net::TcpStream::connect(addr).expect("room for one");
    let mut filling = vec![first];
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(50)) {
        filling.push(stream);
    }
    (listener, filling)
}

/// An address that nobody listens at, nor will while the socket is kept: it has the port.
pub(crate) fn closed() -> (socket2::Socket, SocketAddr) {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.bind(&anywhere().into()).expect("a port");
    let addr = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, addr)
}

/// Where a part of a test runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Fiber,
    Thread,
}

pub(crate) enum Part<T> {
    Fiber(fiber::JoinHandle<T>),
    Thread(thread::JoinHandle<T>),
}

impl Place {
    pub(crate) fn start<T: Send + 'static>(
        self,
        runtime: &Runtime,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Part<T> {
        match self {
            Place::Fiber => Part::Fiber(runtime.spawn(f)),
            Place::Thread => Part::Thread(thread::spawn(f)),
        }
    }

    pub(crate) fn run<T: Send + 'static>(
        self,
        runtime: &Runtime,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> T {
        self.start(runtime, f).join()
    }
}

impl<T> Part<T> {
    /// From a plain thread.
    pub(crate) fn join(self) -> T {
        match self {
            Part::Fiber(handle) => handle.join().expect("the fiber's part"),
            Part::Thread(handle) => handle.join().expect("the thread's part"),
        }
    }
}

/// `SISAL_SEED`, or something new.
pub(crate) fn seed() -> u64 {
    match std::env::var("SISAL_SEED") {
        Ok(seed) => seed.parse().expect("SISAL_SEED is a number"),
        Err(_) => {
            static NEXT: AtomicU64 = AtomicU64::new(0);
            let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
            now.as_nanos() as u64 ^ NEXT.fetch_add(1 << 48, Ordering::Relaxed)
        }
    }
}

/// SplitMix64 (Steele, Lea, Flood 2014).
#[derive(Clone)]
pub(crate) struct Rng(u64);

impl Rng {
    pub(crate) fn new(seed: u64) -> Rng {
        Rng(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// From `low` to `high`, both included.
    pub(crate) fn range(&mut self, low: usize, high: usize) -> usize {
        low + (self.next() % (high - low + 1) as u64) as usize
    }
}

/// The byte at a place of a stream: no two places near each other that could be mistaken.
pub(crate) fn byte_at(seed: u64, place: usize) -> u8 {
    let mixed = (place as u64 ^ seed).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed >> 56) as u8
}

pub(crate) fn pattern(seed: u64, from: usize, len: usize) -> Vec<u8> {
    (from..from + len)
        .map(|place| byte_at(seed, place))
        .collect()
}

/// Writes the first `total` bytes of a pattern in pieces of any length, each as far as it goes.
pub(crate) fn send_pattern(mut to: impl Write, seed: u64, total: usize, largest: usize) {
    let mut rng = Rng::new(seed ^ 1);
    let mut sent = 0;
    while sent < total {
        let piece = pattern(seed, sent, rng.range(1, largest).min(total - sent));
        let n = to.write(&piece).expect("written");
        assert!(0 < n && n <= piece.len(), "{n} of {}", piece.len());
        sent += n;
    }
}

/// Reads the first `total` bytes of a pattern in pieces of any length, and checks each byte.
pub(crate) fn expect_pattern(mut from: impl Read, seed: u64, total: usize, largest: usize) {
    let mut rng = Rng::new(seed ^ 2);
    let mut buf = vec![0; largest];
    let mut place = 0;
    while place < total {
        let len = rng.range(1, largest).min(total - place);
        let n = from.read(&mut buf[..len]).expect("read");
        assert!(n > 0, "the stream ends at {place} of {total}");
        assert!(n <= len);
        let want = pattern(seed, place, n);
        if let Some(at) = (0..n).find(|&at| buf[at] != want[at]) {
            panic!("byte {} of {total} is wrong", place + at);
        }
        place += n;
    }
}

/// Writes back what comes, until it ends. Returns how much.
pub(crate) fn echo(mut stream: impl Read + Write, buf: usize) -> usize {
    let mut buf = vec![0; buf];
    let mut total = 0;
    loop {
        let n = stream.read(&mut buf).expect("read");
        if n == 0 {
            return total;
        }
        stream.write_all(&buf[..n]).expect("written back");
        total += n;
    }
}

/// More than the buffers of a connection take that `fill` has narrowed.
pub(crate) const PLENTY: usize = 2 << 20;

/// Writes until there is no room: the other end does not read. Returns how much. Window probes make a
/// little room later, so only what is larger than any buffer (`PLENTY`) surely has to wait.
pub(crate) fn fill(stream: impl AsFd) -> usize {
    // A buffer that the system does not grow meanwhile.
    rustix::net::sockopt::set_socket_send_buffer_size(&stream, 64 * 1024).unwrap();
    let mut filled = 0;
    let piece = [7; 64 * 1024];
    let mut refusals = 0;
    while refusals < 20 {
        match rustix::net::send(&stream, &piece, rustix::net::SendFlags::DONTWAIT) {
            Ok(n) => {
                filled += n;
                refusals = 0;
            }
            Err(rustix::io::Errno::AGAIN) => {
                refusals += 1;
                thread::sleep(Duration::from_millis(5));
            }
            Err(error) => panic!("filling: {error}"),
        }
    }
    filled
}

/// Has the system put a time stamp for each send into the socket's error queue. Nobody reads it, so
/// epoll and poll report an error, and with it room that is not there.
pub(crate) fn stamp_sends(stream: &TcpStream) {
    let on = libc::SOF_TIMESTAMPING_TX_SOFTWARE | libc::SOF_TIMESTAMPING_SOFTWARE;
    // SAFETY: the option's value is a `c_uint`, and it lives during the call.
    let set = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_TIMESTAMPING,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    assert_eq!(set, 0, "SO_TIMESTAMPING");
}

/// Lets others run until `condition` holds: in a fiber and on a thread.
pub(crate) fn until(mut condition: impl FnMut() -> bool) {
    while !condition() {
        fiber::yield_now();
    }
}

/// What an error looks like to a program.
pub(crate) fn looks(error: io::Error) -> (io::ErrorKind, Option<i32>) {
    (error.kind(), error.raw_os_error())
}

/// The process's open descriptors: number and what it is.
pub(crate) fn descriptors() -> Vec<(i32, String)> {
    let mut all = Vec::new();
    for entry in fs::read_dir("/proc/self/fd").expect("/proc") {
        let path = entry.expect("an entry").path();
        let number = path.file_name().unwrap().to_str().unwrap().parse().unwrap();
        // The descriptor that reads the directory is gone by the time it is looked at.
        if let Ok(target) = fs::read_link(&path) {
            all.push((number, target.display().to_string()));
        }
    }
    all.sort();
    all
}
