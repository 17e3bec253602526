//! The same source over `std::os::unix::net` and over `sisal::os::unix::net` does the same.

mod common_net;

use common_net::{runtime, watchdog};

macro_rules! program {
    ($name:ident, $net:path, $spawn:path) => {
        mod $name {
            use std::fmt::Debug;
            use std::io::{self, IoSlice, IoSliceMut, Read, Write};
            use std::net::Shutdown;
            use std::os::fd::AsRawFd;
            use std::os::linux::net::SocketAddrExt;
            use std::path::{Path, PathBuf};
            use std::sync::atomic::{AtomicUsize, Ordering};
            use std::time::Duration;

            use $net as net;
            use $spawn as spawn;

            use net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

            struct Notes {
                all: Vec<String>,
                dir: PathBuf,
            }

            impl Notes {
                fn note(&mut self, what: &str, seen: impl Debug) {
                    let seen = format!("{what}: {seen:?}");
                    let dir = self.dir.display().to_string();
                    self.all.push(seen.replace(&dir, "DIR"));
                }

                fn result<T: Debug>(&mut self, what: &str, seen: io::Result<T>) {
                    let seen = seen.map_err(|error| (error.kind(), error.raw_os_error()));
                    self.note(what, seen);
                }

                fn path(&self) -> PathBuf {
                    static NEXT: AtomicUsize = AtomicUsize::new(0);
                    let n = NEXT.fetch_add(1, Ordering::Relaxed);
                    self.dir.join(n.to_string())
                }
            }

            fn read_all(mut from: impl Read) -> io::Result<Vec<u8>> {
                let mut all = Vec::new();
                from.read_to_end(&mut all).map(|_| all)
            }

            fn name() -> SocketAddr {
                static NEXT: AtomicUsize = AtomicUsize::new(0);
                let n = NEXT.fetch_add(1, Ordering::Relaxed);
                let place = concat!(module_path!(), " of sisal's tests");
                let name = format!("{place} {} {n}", std::process::id());
                SocketAddr::from_abstract_name(name).unwrap()
            }

            fn talking(notes: &mut Notes) {
                let path = notes.path();
                let listener = UnixListener::bind(&path).unwrap();
                let at = listener.local_addr().unwrap();
                assert_eq!(at.as_pathname(), Some(&*path));
                let server = spawn(move || {
                    let (mut stream, from) = listener.accept().unwrap();
                    assert!(from.is_unnamed());
                    let mut buf = [0; 5];
                    stream.read_exact(&mut buf).unwrap();
                    stream.write_all(&buf).unwrap();
                    stream.shutdown(Shutdown::Write).unwrap();
                    read_all(stream).unwrap()
                });
                let mut near = UnixStream::connect(&path).unwrap();
                assert_eq!(near.peer_addr().unwrap().as_pathname(), Some(&*path));
                notes.result("unnamed", near.local_addr());
                let bufs = [IoSlice::new(b"he"), IoSlice::new(b"llo")];
                notes.result("vectored", near.write_vectored(&bufs));
                notes.result("of nothing", near.write_vectored(&[]));
                notes.result("nothing", near.write(b""));
                let (mut a, mut b) = ([0; 2], [0; 3]);
                near.read_exact(&mut a).unwrap();
                let mut bufs = [IoSliceMut::new(&mut a), IoSliceMut::new(&mut b)];
                notes.result("vectored", near.read_vectored(&mut bufs));
                notes.note("read", (a, b));
                notes.result("the end", near.read(&mut a));
                notes.result(
                    "the end",
                    near.read_vectored(&mut [IoSliceMut::new(&mut b)]),
                );
                notes.result("of nothing", near.read_vectored(&mut []));
                notes.result("more", near.write_all(b"more"));
                notes.result("shut", near.shutdown(Shutdown::Both));
                notes.result("write", near.write(b"x"));
                notes.result("write", near.write_vectored(&[IoSlice::new(b"x")]));
                notes.note("server", server.join().unwrap());
            }

            fn abstract_names(notes: &mut Notes) {
                let at = name();
                let listener = UnixListener::bind_addr(&at).unwrap();
                let again = UnixListener::bind_addr(&at).map(drop);
                notes.result("in use", again);
                let local = listener.local_addr().unwrap();
                assert_eq!(local.as_abstract_name(), at.as_abstract_name());
                let server = spawn(move || {
                    let mut all = Vec::new();
                    for stream in listener.incoming().take(2) {
                        all.push(read_all(stream.unwrap()).unwrap());
                    }
                    for stream in (&listener).into_iter().take(1) {
                        all.push(read_all(stream.unwrap()).unwrap());
                    }
                    all
                });
                for text in ["a", "bb", "ccc"] {
                    let mut stream = UnixStream::connect_addr(&at).unwrap();
                    stream.write_all(text.as_bytes()).unwrap();
                }
                notes.note("came", server.join().unwrap());
                notes.result("nobody", UnixStream::connect_addr(&at).map(drop));
            }

            /// What the acceptor is told of who connects.
            fn peers(notes: &mut Notes) {
                use rustix::net::{
                    AddressFamily, SocketAddrUnix, SocketType, bind, connect, socket,
                };
                let listener = UnixListener::bind_addr(&name()).unwrap();
                let at = listener.local_addr().unwrap();
                let at = SocketAddrUnix::new_abstract_name(at.as_abstract_name().unwrap()).unwrap();
                // The longest path has no room for its NUL.
                let len = 108 - notes.dir.as_os_str().len() - 1;
                for path in [notes.path(), notes.dir.join("p".repeat(len - 1))] {
                    let client = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
                    bind(&client, &SocketAddrUnix::new(&path).unwrap()).unwrap();
                    connect(&client, &at).unwrap();
                    let (stream, from) = listener.accept().unwrap();
                    assert_eq!(from.as_pathname(), Some(&*path));
                    assert_eq!(stream.peer_addr().unwrap().as_pathname(), Some(&*path));
                }
                let client = socket(AddressFamily::UNIX, SocketType::STREAM, None).unwrap();
                let its = SocketAddrUnix::new_abstract_name(b"a\0b\xff").unwrap();
                if bind(&client, &its).is_ok() {
                    connect(&client, &at).unwrap();
                    let (_, from) = listener.accept().unwrap();
                    assert_eq!(from.as_abstract_name(), Some(&b"a\0b\xff"[..]));
                }
            }

            fn errors(notes: &mut Notes) {
                let long = "x".repeat(200);
                let taken = notes.path();
                let listener = UnixListener::bind(&taken).unwrap();
                notes.result("in use", UnixListener::bind(&taken).map(drop));
                notes.result("in use", UnixDatagram::bind(&taken).map(drop));
                notes.result(
                    "the wrong type",
                    UnixDatagram::unbound().unwrap().connect(&taken),
                );
                let unbound = UnixDatagram::unbound().unwrap();
                notes.result("the wrong type", unbound.send_to(b"x", &taken));
                drop(listener);
                notes.result("nobody", UnixStream::connect(&taken).map(drop));
                notes.result("nobody", unbound.send_to(b"x", &taken));
                let nothing = notes.path();
                notes.result("nothing", UnixStream::connect(&nothing).map(drop));
                notes.result("nothing", unbound.send_to(b"x", &nothing));
                for path in [Path::new(&long), Path::new("a\0b"), Path::new("")] {
                    let text = |e: io::Error| (e.kind(), e.raw_os_error(), e.to_string());
                    notes.note("path", UnixStream::connect(path).map(drop).map_err(text));
                    notes.note("path", unbound.send_to(b"x", path).map_err(text));
                    notes.note("path", unbound.connect(path).map_err(text));
                    if path != Path::new("") {
                        notes.note("path", UnixListener::bind(path).map(drop).map_err(text));
                        notes.note("path", UnixDatagram::bind(path).map(drop).map_err(text));
                    }
                }
                notes.result("not connected", unbound.send(b"x"));
                notes.result("not connected", unbound.peer_addr());
                let (a, b) = UnixStream::pair().unwrap();
                notes.result("error", a.take_error().map(|e| e.is_none()));
                drop(b);
                notes.result("gone", (&a).read(&mut [0]));
                notes.result("gone", (&a).write(&[0]));
                notes.result("gone", a.peer_addr());
                let (a, b) = UnixDatagram::pair().unwrap();
                drop(b);
                notes.result("gone", a.send(b"x"));
                notes.result("gone", a.send(b"x"));
                notes.result("error", a.take_error().map(|e| e.is_none()));
            }

            fn datagrams(notes: &mut Notes) {
                let (path, at) = (notes.path(), name());
                let far = UnixDatagram::bind(&path).unwrap();
                let near = UnixDatagram::bind_addr(&at).unwrap();
                let echo = spawn(move || {
                    let mut buf = [0; 16];
                    for _ in 0..3 {
                        let (n, from) = far.recv_from(&mut buf).unwrap();
                        far.send_to_addr(&buf[..n], &from).unwrap();
                    }
                    far
                });
                for text in ["one", "", "three"] {
                    notes.result("sent", near.send_to(text.as_bytes(), &path));
                    let mut buf = [0; 16];
                    let (n, from) = near.recv_from(&mut buf).unwrap();
                    assert_eq!(from.as_pathname(), Some(&*path));
                    notes.note("came", &buf[..n]);
                }
                let far = echo.join().unwrap();
                notes.result("connect", near.connect(&path));
                notes.result("sent", near.send(b"more than four"));
                let mut buf = [0; 4];
                notes.result("cut", far.recv(&mut buf).map(|n| buf[..n].to_vec()));
                notes.result("back", far.connect_addr(&at));
                notes.result("sent", far.send(b"x"));
                notes.result("came", near.recv(&mut buf));
                let local = near.local_addr().unwrap();
                assert_eq!(local.as_abstract_name(), at.as_abstract_name());
                assert_eq!(near.peer_addr().unwrap().as_pathname(), Some(&*path));
                let unbound = UnixDatagram::unbound().unwrap();
                notes.result("sent", unbound.send_to(b"y", &path));
                notes.result(
                    "not to it",
                    far.set_read_timeout(Some(Duration::from_millis(5))),
                );
                notes.result(
                    "of a stranger",
                    far.recv_from(&mut buf).map(|(n, a)| (n, a)),
                );
                notes.result("shut", near.shutdown(Shutdown::Both));
                notes.result("read", near.recv(&mut buf));
                notes.result("read", near.recv_from(&mut buf));
                notes.result("write", near.send(b"x"));
                let (a, b) = UnixDatagram::pair().unwrap();
                notes.result("sent", a.send(b"x"));
                notes.result("came", b.recv_from(&mut buf));
                notes.result("looks", b.local_addr());
            }

            fn timeouts(notes: &mut Notes) {
                let short = Some(Duration::from_millis(20));
                let long = Some(Duration::from_secs(9));
                let (a, _b) = UnixStream::pair().unwrap();
                let (c, _d) = UnixDatagram::pair().unwrap();
                notes.result("none", a.read_timeout());
                notes.result("none", c.write_timeout());
                notes.result("zero", a.set_read_timeout(Some(Duration::ZERO)));
                notes.result("zero", c.set_write_timeout(Some(Duration::ZERO)));
                notes.result("set", a.set_read_timeout(long));
                notes.result("set", c.set_read_timeout(long));
                notes.result("shared", a.try_clone().unwrap().read_timeout());
                notes.result("shared", c.try_clone().unwrap().read_timeout());
                a.set_read_timeout(short).unwrap();
                c.set_read_timeout(short).unwrap();
                notes.result("read", (&a).read(&mut [0]));
                let mut buf = [0];
                let mut bufs = [IoSliceMut::new(&mut buf)];
                notes.result("vectored", (&a).read_vectored(&mut bufs));
                notes.result("recv", c.recv(&mut [0]));
                notes.result("recv_from", c.recv_from(&mut [0]).map(drop));
                a.set_write_timeout(short).unwrap();
                c.set_write_timeout(short).unwrap();
                notes.result("write", (&a).write_all(&vec![0; 4 << 20]));
                let mut send = || c.send(&[0; 1000]);
                notes.result(
                    "send",
                    std::iter::repeat_with(&mut send)
                        .find(|r| r.is_err())
                        .unwrap(),
                );
                // Its receiver has no room.
                let (path, far) = (notes.path(), UnixDatagram::unbound().unwrap());
                let _far_end = UnixDatagram::bind(&path).unwrap();
                far.set_write_timeout(short).unwrap();
                let mut send = || far.send_to(&[0; 10], &path);
                notes.result(
                    "send",
                    std::iter::repeat_with(&mut send)
                        .find(|r| r.is_err())
                        .unwrap(),
                );
            }

            fn nonblocking(notes: &mut Notes) {
                let at = name();
                let listener = UnixListener::bind_addr(&at).unwrap();
                notes.result("set", listener.set_nonblocking(true));
                notes.result("accept", listener.accept().map(drop));
                let clone = listener.try_clone().unwrap();
                notes.result("accept", clone.accept().map(drop));
                notes.note(
                    "next",
                    listener
                        .incoming()
                        .next()
                        .unwrap()
                        .map(drop)
                        .map_err(|e| e.kind()),
                );
                notes.note("hint", listener.incoming().size_hint());
                let near = UnixStream::connect_addr(&at).unwrap();
                let (far, _) = listener.accept().unwrap();
                // The mode is not handed on.
                near.set_nonblocking(true).unwrap();
                notes.result("read", (&near).read(&mut [0]));
                let writer = spawn(move || {
                    (&far).read_exact(&mut [0]).unwrap();
                    (&far).write_all(b"y").unwrap();
                });
                (&near).write_all(b"x").unwrap();
                near.set_nonblocking(false).unwrap();
                notes.result("read", (&near).read(&mut [0]));
                writer.join().unwrap();
                near.set_nonblocking(true).unwrap();
                notes.result("the end", (&near).read(&mut [0]));
                let (a, b) = UnixDatagram::pair().unwrap();
                a.set_nonblocking(true).unwrap();
                notes.result("recv", a.recv(&mut [0]));
                let mut send = || a.send(&[0; 1000]);
                notes.result(
                    "send",
                    std::iter::repeat_with(&mut send)
                        .find(|r| r.is_err())
                        .unwrap(),
                );
                b.send(b"x").unwrap();
                notes.result("recv", a.recv(&mut [0]));
                let (path, far) = (notes.path(), UnixDatagram::unbound().unwrap());
                let _far_end = UnixDatagram::bind(&path).unwrap();
                far.set_nonblocking(true).unwrap();
                let mut send = || far.send_to(&[0; 10], &path);
                notes.result(
                    "send",
                    std::iter::repeat_with(&mut send)
                        .find(|r| r.is_err())
                        .unwrap(),
                );
                notes.result("error", listener.take_error().map(|e| e.is_none()));
            }

            fn looks(notes: &mut Notes) {
                let listener = UnixListener::bind(notes.dir.join("looks")).unwrap();
                let stream = UnixStream::connect(notes.dir.join("looks")).unwrap();
                let datagram = UnixDatagram::bind(notes.dir.join("dgram")).unwrap();
                for (text, fd) in [
                    (format!("{listener:?}"), listener.as_raw_fd()),
                    (format!("{stream:?}"), stream.as_raw_fd()),
                    (format!("{datagram:?}"), datagram.as_raw_fd()),
                ] {
                    let fd = format!("fd: {fd}");
                    assert!(text.contains(&fd), "{text}");
                    let text = text.replace(&notes.dir.display().to_string(), "DIR");
                    notes.note("looks", text.replace(&fd, "fd"));
                }
            }

            pub(super) fn run(dir: PathBuf) -> Vec<String> {
                std::fs::create_dir(&dir).unwrap();
                let all = Vec::new();
                let mut notes = Notes { all, dir };
                talking(&mut notes);
                abstract_names(&mut notes);
                peers(&mut notes);
                errors(&mut notes);
                datagrams(&mut notes);
                timeouts(&mut notes);
                nonblocking(&mut notes);
                looks(&mut notes);
                std::fs::remove_dir_all(&notes.dir).unwrap();
                notes.all
            }
        }
    };
}

program!(of_std, std::os::unix::net, std::thread::spawn);
program!(in_fibers, sisal::os::unix::net, sisal::fiber::spawn);
program!(on_threads, sisal::os::unix::net, std::thread::spawn);

/// Short: paths of sockets are.
fn dir(name: &str) -> std::path::PathBuf {
    std::env::temp_dir().join(format!("sisal-{name}-{}", std::process::id()))
}

fn compare(what: &str, got: &[String], want: &[String]) {
    for (got, want) in got.iter().zip(want) {
        assert_eq!(got, want, "{what}");
    }
    assert_eq!(got.len(), want.len());
}

#[test]
fn fibers_see_what_std_shows() {
    let _dog = watchdog("fibers_see_what_std_shows");
    let want = of_std::run(dir("std-f"));
    for note in &want {
        println!("{note}");
    }
    assert!(want.len() > 90, "only {} notes", want.len());
    for workers in [1, 2] {
        let got = runtime(workers).run(|| in_fibers::run(dir("fibers")));
        compare("in fibers", &got, &want);
    }
}

#[test]
fn threads_see_what_std_shows() {
    let _dog = watchdog("threads_see_what_std_shows");
    let got = on_threads::run(dir("threads"));
    compare("on threads", &got, &of_std::run(dir("std-t")));
}
