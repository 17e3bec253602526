//! Names are looked up on threads of the pool, addresses are not looked up, and what users implement runs where it is
//! called. The wait for a lookup can be cut short.

mod common_net;

use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::option;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::thread;
use std::time::Duration;

use common_net::{anywhere, runtime, until, watchdog};
use sisal::net::{TcpListener, TcpStream, UdpSocket};
use sisal::{Runtime, fiber, time};

/// One test at a time: they count threads.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE
        .lock()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Threads of pools.
fn pool_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    let name =
        |task: io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks
        .filter_map(name)
        .filter(|name| name.starts_with("sisal-blocking"))
        .count()
}

/// False, with a word, where the system does not know itself.
fn knows_localhost() -> bool {
    let addresses = "localhost:1".to_socket_addrs();
    let here = Ipv4Addr::LOCALHOST;
    let known = addresses.is_ok_and(|mut all| all.any(|addr| addr.ip() == here));
    if !known {
        println!("skipped: localhost is not 127.0.0.1 here");
    }
    known
}

/// Runs `f` in a fiber of a runtime that has no threads for what blocks. How many it had after that.
fn pool_threads_of<R: Send>(f: impl FnOnce() -> R + Send) -> (R, usize) {
    let before = pool_threads();
    let runtime = runtime(1);
    let result = runtime.run(f);
    (result, pool_threads() - before)
}

#[test]
#[allow(
    clippy::needless_borrows_for_generic_args,
    reason = "each type that may hold a name"
)]
fn names_are_looked_up_off_the_worker() {
    let _alone = alone();
    let _dog = watchdog("names_are_looked_up_off_the_worker");
    if !knows_localhost() {
        return;
    }
    // Of version 4 only, so that the second address of `localhost` may be the one.
    let listener = std::net::TcpListener::bind(anywhere()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!("localhost:{port}");
    let (host, owned) = (("localhost", port), ("localhost".to_owned(), port));
    type Connect<'a> = Box<dyn FnOnce() -> io::Result<TcpStream> + Send + 'a>;
    let connects: [(&str, Connect<'_>); 8] = [
        ("&str", Box::new(|| TcpStream::connect(text.as_str()))),
        ("&&str", Box::new(|| TcpStream::connect(&text.as_str()))),
        ("String", Box::new(|| TcpStream::connect(text.clone()))),
        ("&String", Box::new(|| TcpStream::connect(&text))),
        ("(&str, u16)", Box::new(|| TcpStream::connect(host))),
        ("&(&str, u16)", Box::new(|| TcpStream::connect(&host))),
        (
            "(String, u16)",
            Box::new(|| TcpStream::connect(owned.clone())),
        ),
        ("&(String, u16)", Box::new(|| TcpStream::connect(&owned))),
    ];
    for (what, connect) in connects {
        let (stream, threads) = pool_threads_of(connect);
        assert_eq!(stream.unwrap().peer_addr().unwrap().port(), port, "{what}");
        assert_eq!(threads, 1, "{what}");
    }
    let udp = UdpSocket::bind(anywhere()).unwrap();
    let to = ("localhost", udp.local_addr().unwrap().port());
    let (_, threads) = pool_threads_of(|| udp.connect(to).unwrap());
    assert_eq!(threads, 1);
    let (bound, threads) = pool_threads_of(|| UdpSocket::bind("localhost:0").unwrap());
    assert_eq!(threads, 1);
    let (sent, threads) = pool_threads_of(|| bound.send_to(b"x", "localhost:9"));
    assert_eq!((sent.unwrap(), threads), (1, 1));
    let (listener, threads) = pool_threads_of(|| TcpListener::bind("localhost:0").unwrap());
    assert!(listener.local_addr().unwrap().ip().is_loopback());
    assert_eq!(threads, 1);
}

#[test]
fn addresses_are_not() {
    let _alone = alone();
    let _dog = watchdog("addresses_are_not");
    let ((), threads) = pool_threads_of(|| {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let text = at.to_string();
        TcpStream::connect(text.as_str()).unwrap();
        TcpStream::connect(text).unwrap();
        TcpStream::connect(("127.0.0.1", at.port())).unwrap();
        TcpStream::connect(("127.0.0.1".to_owned(), at.port())).unwrap();
        TcpStream::connect((Ipv4Addr::LOCALHOST, at.port())).unwrap();
        TcpStream::connect(at).unwrap();
        TcpStream::connect(&[at][..]).unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.send_to(b"x", "127.0.0.1:9").unwrap();
        socket.connect(("127.0.0.1", 9)).unwrap();
    });
    assert_eq!(threads, 0);
}

/// It may hold what must not leave its thread.
#[test]
fn what_users_implement_stays_on_their_thread() {
    struct Peer(Rc<SocketAddr>, thread::ThreadId);
    impl ToSocketAddrs for Peer {
        type Iter = option::IntoIter<SocketAddr>;
        fn to_socket_addrs(&self) -> io::Result<Self::Iter> {
            assert_eq!(thread::current().id(), self.1);
            Ok(Some(*Rc::clone(&self.0)).into_iter())
        }
    }
    let _alone = alone();
    let _dog = watchdog("what_users_implement_stays_on_their_thread");
    let listener = TcpListener::bind(anywhere()).unwrap();
    let at = listener.local_addr().unwrap();
    let ((), threads) = pool_threads_of(|| {
        let peer = Peer(Rc::new(at), thread::current().id());
        TcpStream::connect(&peer).unwrap();
        TcpStream::connect(peer).unwrap();
    });
    assert_eq!(threads, 0);
}

#[test]
fn errors_are_stds() {
    let _alone = alone();
    let _dog = watchdog("errors_are_stds");
    let looks = |error: io::Error| (error.kind(), error.raw_os_error(), error.to_string());
    let long = format!("{}:80", "x".repeat(300));
    for name in [
        "a\0b:80",
        "no port",
        "host:",
        "host:x",
        "host:65536",
        "",
        &long,
    ] {
        let want = looks(std::net::TcpStream::connect(name).unwrap_err());
        let runtime = runtime(1);
        let texts = [
            runtime.run(|| looks(TcpStream::connect(name).unwrap_err())),
            runtime.run(|| looks(TcpListener::bind(name).unwrap_err())),
            runtime.run(|| looks(UdpSocket::bind(name).unwrap_err())),
            looks(TcpStream::connect(name).unwrap_err()),
        ];
        for text in texts {
            assert_eq!(text, want, "{name:?}");
        }
    }
}

/// The one thread of the pool is taken until the sender is dropped.
fn busy_pool() -> (Runtime, mpsc::Sender<()>, fiber::JoinHandle<()>) {
    let runtime = Runtime::builder().workers(1).max_blocking_threads(1);
    let runtime = runtime.build().unwrap();
    let (free, held) = mpsc::channel::<()>();
    let (begin, begun) = mpsc::channel();
    let holds = runtime.spawn(move || {
        sisal::unblock(move || {
            begin.send(()).unwrap();
            let _ = held.recv();
        });
    });
    begun.recv().unwrap();
    (runtime, free, holds)
}

#[test]
fn others_run_during_a_lookup() {
    let _alone = alone();
    let _dog = watchdog("others_run_during_a_lookup");
    if !knows_localhost() {
        return;
    }
    let listener = std::net::TcpListener::bind(anywhere()).unwrap();
    let port = listener.local_addr().unwrap().port();
    let (runtime, free, holds) = busy_pool();
    let connects = runtime.spawn(move || TcpStream::connect(("localhost", port)).map(drop));
    // There is one worker: this ends because the lookup does not hold it.
    runtime.run(|| (0..100).for_each(|_| fiber::yield_now()));
    assert!(!connects.is_finished());
    drop(free);
    connects.join().unwrap().unwrap();
    holds.join().unwrap();
}

#[test]
fn a_lookup_is_cut_short() {
    let _alone = alone();
    let _dog = watchdog("a_lookup_is_cut_short");
    let (runtime, free, holds) = busy_pool();
    let socket = Arc::new(UdpSocket::bind(anywhere()).unwrap());
    runtime.run(|| {
        let short = Duration::from_millis(5);
        let late = time::timeout(short, || TcpStream::connect("localhost:1"));
        assert!(late.is_err());
        let late = time::timeout(short, || socket.send_to(b"x", "localhost:1"));
        assert!(late.is_err());
        assert!(time::timeout(short, || TcpListener::bind("localhost:0")).is_err());
    });
    let sends = socket.clone();
    let waits = runtime.spawn(move || sends.connect(("localhost", 1)));
    runtime.run(|| (0..10).for_each(|_| fiber::yield_now()));
    waits.cancel();
    assert!(waits.join().unwrap_err().is_cancelled());
    // The socket is as it was.
    drop(free);
    holds.join().unwrap();
    runtime.run(|| sisal::unblock(|| ()));
    assert!(socket.peer_addr().is_err());
    // One that waits as its runtime ends is unwound.
    let (runtime, free, holds) = busy_pool();
    let waits = runtime.spawn(|| TcpStream::connect("localhost:1").map(drop));
    runtime.run(|| (0..10).for_each(|_| fiber::yield_now()));
    let ends = thread::spawn(move || drop(runtime));
    until(|| waits.is_finished());
    assert!(waits.join().unwrap_err().is_cancelled());
    drop(free);
    ends.join().unwrap();
    // It could not be cut short, and then it was cancelled or ended.
    let _ = holds.join();
}

/// On a worker's own stack a lookup panics; an address binds.
#[test]
fn on_a_workers_stack() {
    let _alone = alone();
    let _dog = watchdog("on_a_workers_stack");
    fn panics<R>(f: impl FnOnce() -> R) {
        let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
            panic!("it did not panic");
        };
        let text = payload.downcast::<String>().expect("a text");
        assert!(text.contains("sisal::net"), "{text}");
    }
    runtime(1).run(|| {
        let task = tokio::spawn(async {
            panics(|| TcpListener::bind("localhost:0"));
            panics(|| UdpSocket::bind(("localhost", 0)));
            panics(|| TcpStream::connect("localhost:1"));
            TcpListener::bind("127.0.0.1:0").unwrap();
            let socket = UdpSocket::bind(("127.0.0.1", 0)).unwrap();
            socket.connect("127.0.0.1:9").unwrap();
            panics(|| socket.connect("localhost:9"));
            panics(|| socket.send_to(b"x", "localhost:9"));
        });
        sisal::block_on(task).unwrap();
    });
}
