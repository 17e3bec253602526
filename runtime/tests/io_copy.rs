//! `io::copy_bidirectional`: every byte both ways, each side's end by itself, and an end to both when one fails.

mod common;
mod common_io;

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::time::Duration;

use common::{Count, pair, panic_text, runtime, settle, until, watchdog};
use common_io::on_worker;
use sisal::io::{ShutdownWrite, copy_bidirectional};
use sisal::net::TcpStream;
use sisal::{fiber, timeout};

fn bytes(len: usize, seed: u8) -> Vec<u8> {
    (0..len)
        .map(|n| (n as u8).wrapping_mul(31) ^ seed)
        .collect()
}

/// More than the sockets' buffers hold, both ways at once, on fibers and on a plain thread.
#[test]
fn everything_arrives() {
    let _watchdog = watchdog(120);
    const LEN: usize = 3_000_000;
    let all = || {
        let ((client, a), (b, server)) = (pair(), pair());
        let ends = fiber::spawn(move || {
            let send = |to: &TcpStream, seed| {
                let mut to = to;
                to.write_all(&bytes(LEN + usize::from(seed), seed)).unwrap();
                to.shutdown(Shutdown::Write).unwrap();
            };
            let receive = |from: &TcpStream, seed| {
                let (mut from, mut got) = (from, Vec::new());
                from.read_to_end(&mut got).unwrap();
                assert!(got == bytes(LEN + usize::from(seed), seed));
            };
            fiber::scope(|s| {
                s.spawn(|| send(&client, 1));
                s.spawn(|| receive(&client, 2));
                s.spawn(|| send(&server, 2));
                s.spawn(|| receive(&server, 1));
            });
        });
        let copied = copy_bidirectional(&a, &b).unwrap();
        assert_eq!(copied, (LEN as u64 + 1, LEN as u64 + 2));
        ends.join().unwrap();
    };
    all();
    runtime(1).run(all);
    runtime(4).run(all);
}

/// The end of one side is passed on, and the other side goes on for as long as it likes.
#[test]
fn one_side_ends_first() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let ((mut client, a), (b, mut server)) = (pair(), pair());
        let proxy = fiber::spawn(move || copy_bidirectional(&a, &b).unwrap());
        client.write_all(b"ask").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut asked = String::new();
        server.read_to_string(&mut asked).unwrap();
        assert_eq!(asked, "ask");
        for n in 0..10_u8 {
            server.write_all(&[n]).unwrap();
            let mut got = [0];
            client.read_exact(&mut got).unwrap();
            assert_eq!(got, [n]);
        }
        assert!(!proxy.is_finished());
        drop(server);
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        assert_eq!(proxy.join().unwrap(), (3, 10));
    });
}

/// A stream of the test's: reads wait for ever, or do what they are told.
struct Odd {
    read: fn(&mut [u8]) -> io::Result<usize>,
    write: fn(&[u8]) -> io::Result<usize>,
    shutdown: fn() -> io::Result<()>,
    begun: Count,
    dropped: Count,
}

fn never(_: &mut [u8]) -> io::Result<usize> {
    loop {
        fiber::park();
    }
}

impl Odd {
    fn new() -> Odd {
        Odd {
            read: never,
            write: |buf| Ok(buf.len()),
            shutdown: || Ok(()),
            begun: Count::new(),
            dropped: Count::new(),
        }
    }
}

impl Read for &Odd {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.begun.add();
        let _held = self.dropped.on_drop();
        (self.read)(buf)
    }
}

impl Write for &Odd {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        (self.write)(buf)
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl ShutdownWrite for Odd {
    fn shutdown_write(&self) -> io::Result<()> {
        (self.shutdown)()
    }
}

/// An error of either direction, in any of its calls, ends the other one where it waits.
#[test]
fn an_error_ends_both() {
    let _watchdog = watchdog(60);
    let kind_of = |odd: Odd| {
        let quiet = Odd::new();
        let forth = copy_bidirectional(&odd, &quiet).unwrap_err().kind();
        let back = copy_bidirectional(&quiet, &odd).unwrap_err().kind();
        assert_eq!(forth, back);
        forth
    };
    let all = || {
        let read = Odd {
            read: |_| Err(ErrorKind::ConnectionReset.into()),
            ..Odd::new()
        };
        assert_eq!(kind_of(read), ErrorKind::ConnectionReset);
        // The quiet one's direction waits in its read, and is unwound.
        let ((near, far), quiet) = (pair(), Odd::new());
        let writes = Odd {
            write: |_| Err(ErrorKind::BrokenPipe.into()),
            ..Odd::new()
        };
        (&near).write_all(b"x").unwrap();
        let error = copy_bidirectional(&far, &writes).unwrap_err();
        // If it has begun: the error may come before its first run.
        assert_eq!(
            (error.kind(), writes.dropped.get()),
            (ErrorKind::BrokenPipe, writes.begun.get())
        );
        let ends = Odd {
            read: |_| Ok(0),
            ..Odd::new()
        };
        let refuses = Odd {
            shutdown: || Err(ErrorKind::PermissionDenied.into()),
            ..Odd::new()
        };
        let error = copy_bidirectional(&ends, &refuses).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        // A peer that has gone altogether need not be told.
        let gone = Odd {
            read: |_| Ok(0),
            shutdown: || Err(ErrorKind::NotConnected.into()),
            ..Odd::new()
        };
        assert_eq!(copy_bidirectional(&ends, &gone).unwrap(), (0, 0));
        let silent = Odd {
            write: |_| Ok(0),
            ..Odd::new()
        };
        (&near).write_all(b"x").unwrap();
        let error = copy_bidirectional(&far, &silent).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WriteZero);
        drop(quiet);
    };
    runtime(1).run(all);
    runtime(4).run(all);
}

#[test]
fn a_panic_comes_out() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let panics = Odd {
            read: |_| panic!("the stream panics"),
            ..Odd::new()
        };
        let quiet = Odd::new();
        assert_eq!(
            panic_text(|| copy_bidirectional(&panics, &quiet)),
            "the stream panics"
        );
        assert_eq!(
            panic_text(|| copy_bidirectional(&quiet, &panics)),
            "the stream panics"
        );
        // One that had not begun never does.
        let (begun, ended) = (quiet.begun.get(), quiet.dropped.get());
        assert!(begun >= 1 && begun == ended, "{begun} {ended}");
    });
}

/// Cancelled, it ends both directions before it unwinds; so does a deadline. The connections stay usable.
#[test]
fn it_is_cut_short() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let ((mut client, a), (b, mut server)) = (pair(), pair());
        let (a2, b2) = (a.try_clone().unwrap(), b.try_clone().unwrap());
        let begun = Count::new();
        let theirs = begun.clone();
        let proxy = fiber::spawn(move || {
            theirs.add();
            copy_bidirectional(&a2, &b2).map(drop)
        });
        client.write_all(b"through").unwrap();
        let mut got = [0; 7];
        server.read_exact(&mut got).unwrap();
        until(|| begun.get() == 1);
        settle();
        proxy.cancel();
        assert!(proxy.join().unwrap_err().is_cancelled());
        let cut = timeout(Duration::from_millis(2), || copy_bidirectional(&a, &b));
        assert!(cut.is_err());
        client.write_all(b"not yet").unwrap();
        let proxy = fiber::spawn(move || copy_bidirectional(&a, &b).unwrap());
        server.read_exact(&mut got).unwrap();
        assert_eq!(&got, b"not yet");
        drop((client, server));
        assert_eq!(proxy.join().unwrap(), (7, 0));
    });
}

#[test]
fn on_a_workers_own_stack_it_panics() {
    let _watchdog = watchdog(60);
    on_worker(|| {
        let quiet = Odd::new();
        let text = panic_text(|| copy_bidirectional(&quiet, &quiet));
        assert!(
            text.contains("`copy_bidirectional`")
                && text.contains("`tokio::io::copy_bidirectional`"),
            "{text}"
        );
        assert_eq!(quiet.dropped.get(), 0);
    });
}

/// Cancelled as it begins, while both directions still wait for their first run behind others.
#[test]
fn a_cancel_before_the_directions_begin() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let ((_client, a), (b, _server)) = (pair(), pair());
        let (begun, over) = (Count::new(), Count::new());
        let copies = fiber::spawn({
            let begun = begun.clone();
            move || {
                begun.add();
                copy_bidirectional(&a, &b)
            }
        });
        let others: Vec<_> = (0..8)
            .map(|_| {
                let over = over.clone();
                fiber::spawn(move || until(|| over.get() == 1))
            })
            .collect();
        until(|| begun.get() == 1);
        copies.cancel();
        fiber::yield_now();
        over.add();
        assert!(copies.join().unwrap_err().is_cancelled());
        for other in others {
            other.join().unwrap();
        }
    });
}

/// One end of a pipe is handed over, as to a child, and its clone goes on parking its fiber.
#[test]
fn a_pipe_that_is_handed_over_has_a_clone() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (reader, mut writer) = sisal::io::pipe().unwrap();
        let mut clone = reader.try_clone().unwrap();
        let handed = std::os::fd::OwnedFd::from(reader);
        let begun = Count::new();
        let reads = fiber::spawn({
            let begun = begun.clone();
            move || {
                begun.add();
                let mut byte = [0];
                clone.read_exact(&mut byte).map(|()| byte)
            }
        });
        until(|| begun.get() == 1);
        settle();
        writer.write_all(b"xy").unwrap();
        assert_eq!(reads.join().unwrap().unwrap(), *b"x");
        // The other one is std's again: it blocks, and is of the same pipe.
        let mode = rustix::fs::fcntl_getfl(&handed).unwrap();
        assert!(!mode.contains(rustix::fs::OFlags::NONBLOCK));
        let mut byte = [0];
        std::fs::File::from(handed).read_exact(&mut byte).unwrap();
        assert_eq!(byte, *b"y");
    });
}
