//! Errors: as std's, and none of them ends a listener or a worker.

mod common_net;

use std::io::{self, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::process::Command;

use common_net::{Place, anywhere, closed, descriptors, listener, looks, pair, runtime, watchdog};
use sisal::Runtime;
use sisal::net::{TcpListener, TcpStream};

type Looks = (ErrorKind, Option<i32>);

/// The same call of std's here, and of ours in a fiber and on a thread.
fn as_std<T, U: Send + 'static>(
    what: &str,
    of_std: impl FnOnce() -> io::Result<T>,
    of_sisal: impl Fn() -> io::Result<U> + Clone + Send + 'static,
) -> Looks {
    let runtime = runtime(1);
    let Err(error) = of_std() else {
        panic!("{what}: std has no error");
    };
    let want = looks(error);
    for place in [Place::Fiber, Place::Thread] {
        let of_sisal = of_sisal.clone();
        let got = place.run(&runtime, move || of_sisal().map(drop));
        assert_eq!(got.map_err(looks), Err(want), "{what}, {place:?}");
    }
    want
}

#[test]
fn port_in_use() {
    let _dog = watchdog("port_in_use");
    let taken = listener();
    let addr = taken.local_addr().unwrap();
    let of_std = || std::net::TcpListener::bind(addr);
    let seen = as_std("in use", of_std, move || TcpListener::bind(addr));
    assert_eq!(seen, (ErrorKind::AddrInUse, Some(libc::EADDRINUSE)));
    // A bind to several takes the first that can be had.
    let other = TcpListener::bind(&[addr, anywhere()][..]).unwrap();
    assert_ne!(other.local_addr().unwrap(), addr);
}

#[test]
fn nobody_listens() {
    let _dog = watchdog("nobody_listens");
    let (_kept, addr) = closed();
    let of_std = || std::net::TcpStream::connect(addr);
    let seen = as_std("refused", of_std, move || TcpStream::connect(addr));
    assert_eq!(
        seen,
        (ErrorKind::ConnectionRefused, Some(libc::ECONNREFUSED))
    );
}

#[test]
fn no_address() {
    let _dog = watchdog("no_address");
    const NONE: &[SocketAddr] = &[];
    let invalid = (ErrorKind::InvalidInput, None);
    let seen = as_std(
        "connect",
        || std::net::TcpStream::connect(NONE),
        || TcpStream::connect(NONE),
    );
    assert_eq!(seen, invalid);
    let seen = as_std(
        "bind",
        || std::net::TcpListener::bind(NONE),
        || TcpListener::bind(NONE),
    );
    assert_eq!(seen, invalid);
}

#[test]
fn no_such_address() {
    let _dog = watchdog("no_such_address");
    // TEST-NET-1 (RFC 5737): no address of ours.
    as_std(
        "bind",
        || std::net::TcpListener::bind("192.0.2.7:0"),
        || TcpListener::bind("192.0.2.7:0"),
    );
    as_std(
        "connect",
        || std::net::TcpStream::connect("255.255.255.255:80"),
        || TcpStream::connect("255.255.255.255:80"),
    );
    as_std(
        "no port",
        || std::net::TcpStream::connect("127.0.0.1"),
        || TcpStream::connect("127.0.0.1"),
    );
}

#[test]
fn the_second_address_answers() {
    let _dog = watchdog("the_second_address_answers");
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        let listener = listener();
        let (first, second) = (closed(), closed());
        let addrs = [first.1, second.1, listener.local_addr().unwrap()];
        let stream = place.run(&runtime, move || TcpStream::connect(&addrs[..]).unwrap());
        assert_eq!(stream.peer_addr().unwrap(), addrs[2]);
        let refused = place.run(&runtime, move || TcpStream::connect(&addrs[..2]));
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::ConnectionRefused);
    }
}

/// Refused again and again: each attempt is a socket that registers and goes.
#[test]
fn many_refusals_leave_nothing() {
    let _dog = watchdog("many_refusals_leave_nothing");
    let (_kept, addr) = closed();
    let runtime = runtime(2);
    let sockets = || {
        let all = descriptors();
        all.into_iter()
            .filter(|(_, target)| target.contains("socket"))
            .count()
    };
    let parts: Vec<_> = (0..4)
        .map(|_| {
            runtime.spawn(move || {
                for _ in 0..100 {
                    let error = TcpStream::connect(addr).unwrap_err();
                    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
                }
            })
        })
        .collect();
    for part in parts {
        part.join().unwrap();
    }
    // Other tests of this process open sockets, but not hundreds.
    assert!(sockets() < 100, "{}", sockets());
}

/// An operation that fails leaves the socket as it was.
#[test]
fn after_an_error() {
    let _dog = watchdog("after_an_error");
    let (near, far) = pair();
    runtime(1).run(|| {
        assert!(near.set_ttl(1_000).is_err());
        assert!(
            near.set_read_timeout(Some(std::time::Duration::ZERO))
                .is_err()
        );
        (&far).write_all(b"ok").unwrap();
        (&near).read_exact(&mut [0; 2]).unwrap();
    });
}

/// Runs a test of this file again, alone, in a process of its own whose limits it may lower.
fn in_child(test: &str) {
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            test,
            "--ignored",
            "--nocapture",
            "--test-threads=1",
        ])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}\n{errors}");
    assert!(text.contains("1 passed"), "{text}");
}

/// Opens what the process may open, down to nothing.
fn use_up() -> Vec<std::fs::File> {
    let mut files = Vec::new();
    loop {
        match std::fs::File::open("/dev/null") {
            Ok(file) => files.push(file),
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                return files;
            }
        }
    }
}

fn lower_limit() {
    let limit = libc::rlimit {
        rlim_cur: 64,
        rlim_max: 64,
    };
    // SAFETY: the limit is read during the call only.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
}

#[test]
fn no_descriptor_left() {
    in_child("child_without_descriptors");
}

#[test]
#[ignore = "lowers the process's limits: run by `no_descriptor_left`"]
fn child_without_descriptors() {
    let _dog = watchdog("child_without_descriptors");
    lower_limit();
    let runtime = runtime(1);
    for place in [Place::Fiber, Place::Thread] {
        without_descriptors(&runtime, place);
    }
}

fn without_descriptors(runtime: &Runtime, place: Place) {
    let no_descriptor = |error: io::Error| assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    let (near, mut far) = common_net::pair_with_std();
    let files = use_up();
    let (listener, near, files) = place.run(runtime, move || {
        // Over and over: the connection is still there, and the listener ready.
        for _ in 0..300 {
            no_descriptor(listener.accept().unwrap_err());
        }
        no_descriptor(listener.incoming().next().unwrap().unwrap_err());
        no_descriptor(listener.try_clone().unwrap_err());
        no_descriptor(near.try_clone().unwrap_err());
        no_descriptor(TcpStream::connect(addr).unwrap_err());
        no_descriptor(TcpListener::bind("127.0.0.1:0").unwrap_err());
        // A stream that is there registers and works.
        far.write_all(b"still").unwrap();
        (&near).read_exact(&mut [0; 5]).unwrap();
        (listener, near, files)
    });
    drop(files);
    let peer = client.local_addr().unwrap();
    place.run(runtime, move || {
        let (stream, addr) = listener.accept().unwrap();
        assert_eq!(addr, peer);
        (&stream).write_all(b"taken").unwrap();
        near.try_clone().unwrap();
    });
    client.read_exact(&mut [0; 5]).unwrap();
}

/// A fiber waits in `accept` while the last descriptor goes; then one comes back.
#[test]
fn no_descriptor_left_while_it_waits() {
    in_child("child_that_waits");
}

#[test]
#[ignore = "lowers the process's limits: run by `no_descriptor_left_while_it_waits`"]
fn child_that_waits() {
    let _dog = watchdog("child_that_waits");
    lower_limit();
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let runtime = runtime(2);
    let (failed, fails) = std::sync::mpsc::channel();
    let acceptor = runtime.spawn(move || {
        let mut errors = 0;
        loop {
            match listener.accept() {
                Ok((stream, _)) => return (stream, errors),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
                    errors += 1;
                    let _ = failed.send(());
                }
            }
        }
    });
    let mut files = use_up();
    files.pop();
    let mut client = std::net::TcpStream::connect(addr).unwrap();
    fails.recv().unwrap();
    drop(files);
    let (stream, errors) = acceptor.join().unwrap();
    assert!(errors > 0);
    runtime.run(|| (&stream).write_all(b"late").unwrap());
    client.read_exact(&mut [0; 4]).unwrap();
}
