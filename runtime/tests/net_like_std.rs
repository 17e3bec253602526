//! The same source over `std::net` and over `sisal::net`: it compiles for both, and does the same.

mod common_net;

use common_net::{runtime, watchdog};

/// The steps, once for each module. Each notes what it saw.
macro_rules! program {
    ($name:ident, $net:path, $spawn:path) => {
        mod $name {
            use std::fmt::Debug;
            use std::io::{self, IoSlice, IoSliceMut, Read, Write};
            use std::os::fd::{AsFd, AsRawFd};
            use std::panic::{RefUnwindSafe, UnwindSafe};
            use std::time::Duration;

            use $net as net;
            use $spawn as spawn;

            use net::{
                IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV4, SocketAddrV6,
                TcpListener, TcpStream, ToSocketAddrs,
            };

            /// The signatures that std documents, as types of functions.
            #[allow(dead_code, reason = "it is compiled; there is nothing to run")]
            fn signatures() {
                fn auto<T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + 'static>() {}
                fn io<T: Read + Write + Debug + AsFd + AsRawFd>()
                where
                    for<'a> &'a T: Read + Write,
                {
                }
                fn listens<T: Debug + AsFd + AsRawFd>() {}
                fn iterates<T: Debug + Iterator<Item = io::Result<TcpStream>>>() {}
                auto::<TcpStream>();
                auto::<TcpListener>();
                io::<TcpStream>();
                listens::<TcpListener>();
                iterates::<net::Incoming<'_>>();

                type Get<S, T> = fn(&S) -> io::Result<T>;
                type Set<S, T> = fn(&S, T) -> io::Result<()>;
                let _: fn(&SocketAddr, Duration) -> io::Result<TcpStream> =
                    TcpStream::connect_timeout;
                let _: fn(&'static str) -> io::Result<TcpStream> = TcpStream::connect;
                let _: fn((Ipv4Addr, u16)) -> io::Result<TcpStream> = TcpStream::connect;
                let _: Get<TcpStream, SocketAddr> = TcpStream::peer_addr;
                let _: Get<TcpStream, SocketAddr> = TcpStream::local_addr;
                let _: Set<TcpStream, Shutdown> = TcpStream::shutdown;
                let _: Get<TcpStream, TcpStream> = TcpStream::try_clone;
                let _: Set<TcpStream, Option<Duration>> = TcpStream::set_read_timeout;
                let _: Set<TcpStream, Option<Duration>> = TcpStream::set_write_timeout;
                let _: Get<TcpStream, Option<Duration>> = TcpStream::read_timeout;
                let _: Get<TcpStream, Option<Duration>> = TcpStream::write_timeout;
                let _: fn(&TcpStream, &mut [u8]) -> io::Result<usize> = TcpStream::peek;
                let _: Set<TcpStream, bool> = TcpStream::set_nodelay;
                let _: Get<TcpStream, bool> = TcpStream::nodelay;
                let _: Set<TcpStream, u32> = TcpStream::set_ttl;
                let _: Get<TcpStream, u32> = TcpStream::ttl;
                let _: Get<TcpStream, Option<io::Error>> = TcpStream::take_error;
                let _: fn(SocketAddrV4) -> io::Result<TcpListener> = TcpListener::bind;
                let _: fn(&'static [SocketAddr]) -> io::Result<TcpListener> = TcpListener::bind;
                let _: fn((IpAddr, u16)) -> io::Result<TcpListener> = TcpListener::bind;
                let _: fn(SocketAddrV6) -> io::Result<TcpListener> = TcpListener::bind;
                let _: fn((Ipv6Addr, u16)) -> io::Result<TcpListener> = TcpListener::bind;
                let _: Get<TcpListener, SocketAddr> = TcpListener::local_addr;
                let _: Get<TcpListener, TcpListener> = TcpListener::try_clone;
                let _: Get<TcpListener, (TcpStream, SocketAddr)> = TcpListener::accept;
                let _: fn(&TcpListener) -> net::Incoming<'_> = TcpListener::incoming;
                let _: Set<TcpListener, u32> = TcpListener::set_ttl;
                let _: Get<TcpListener, u32> = TcpListener::ttl;
                let _: Get<TcpListener, Option<io::Error>> = TcpListener::take_error;
                fn resolves(_: impl ToSocketAddrs) {}
                resolves(("localhost", 80));
            }

            struct Notes(Vec<String>);

            impl Notes {
                fn note(&mut self, what: &str, seen: impl Debug) {
                    self.0.push(format!("{what}: {seen:?}"));
                }

                fn result<T: Debug>(&mut self, what: &str, seen: io::Result<T>) {
                    let seen = seen.map_err(|error| (error.kind(), error.raw_os_error()));
                    self.note(what, seen);
                }
            }

            fn read_all(mut from: impl Read) -> io::Result<Vec<u8>> {
                let mut all = Vec::new();
                from.read_to_end(&mut all).map(|_| all)
            }

            fn pair() -> (TcpListener, TcpStream, TcpStream) {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (far, addr) = listener.accept().unwrap();
                assert_eq!(addr, near.local_addr().unwrap());
                assert_eq!(far.peer_addr().unwrap(), addr);
                assert_eq!(far.local_addr().unwrap(), near.peer_addr().unwrap());
                (listener, near, far)
            }

            fn talking(notes: &mut Notes) {
                let (_, mut near, far) = pair();
                let writer = spawn(move || {
                    (&far).write_all(b"one two three").unwrap();
                    far.shutdown(Shutdown::Write).unwrap();
                    read_all(&far)
                });
                let mut buf = [0; 4];
                near.read_exact(&mut buf).unwrap();
                notes.note("exactly four", buf);
                notes.result("nothing into nothing", near.read(&mut []));
                notes.result("peek of nothing", near.peek(&mut []));
                notes.result("two peeked", near.peek(&mut buf[..2]));
                notes.result("vectored", {
                    let (a, b) = buf.split_at_mut(1);
                    near.read_vectored(&mut [IoSliceMut::new(a), IoSliceMut::new(b)])
                });
                notes.note("taken", buf);
                notes.result("no buffers", near.read_vectored(&mut []));
                notes.result(
                    "an empty buffer",
                    near.read_vectored(&mut [IoSliceMut::new(&mut [])]),
                );
                notes.result("the rest", read_all(&near));
                notes.result("the end", near.read(&mut buf));
                notes.result("the end, peeked", near.peek(&mut buf));
                notes.result(
                    "vectored",
                    near.write_vectored(&[IoSlice::new(b"an"), IoSlice::new(b"swer")]),
                );
                notes.result("of nothing", near.write_vectored(&[]));
                notes.result("of nothing", near.write_vectored(&[IoSlice::new(b"")]));
                notes.result("nothing", near.write(b""));
                notes.result("flushed", near.flush());
                drop(near);
                notes.result("answered", writer.join().unwrap());
            }

            fn shutting_down(notes: &mut Notes) {
                let (_, near, far) = pair();
                (&far).write_all(b"left").unwrap();
                // It is there before the end is.
                near.peek(&mut [0]).unwrap();
                notes.result("write end", near.shutdown(Shutdown::Write));
                notes.result("again", near.shutdown(Shutdown::Write));
                notes.result("write", (&near).write(b"x"));
                notes.result("write of nothing", (&near).write(b""));
                notes.result("vectored", (&near).write_vectored(&[IoSlice::new(b"x")]));
                notes.result("vectored, nothing", (&near).write_vectored(&[]));
                notes.result("the peer sees the end", read_all(&far));
                notes.result("read end", near.shutdown(Shutdown::Read));
                notes.result("what was there", read_all(&near));
                notes.result("both, the peer", far.shutdown(Shutdown::Both));
                notes.result("both", near.shutdown(Shutdown::Both));
                notes.result("not connected", near.shutdown(Shutdown::Both));
                notes.result("nobody", near.peer_addr());
                notes.result("error", near.take_error().map(|e| e.map(|e| e.kind())));
            }

            fn full(notes: &mut Notes) {
                let (_, near, far) = pair();
                crate::common_net::fill(&near);
                near.set_write_timeout(Some(Duration::from_millis(5)))
                    .unwrap();
                let more = vec![0; crate::common_net::PLENTY];
                notes.result("much", (&near).write_all(&more));
                notes.result("nothing into what is full", (&near).write(b""));
                notes.result("vectored", (&near).write_vectored(&[IoSlice::new(b"")]));
                drop(far);
            }

            fn options(notes: &mut Notes) {
                let (listener, near, far) = pair();
                for stream in [&near, &far, &near.try_clone().unwrap()] {
                    notes.result("nodelay", stream.nodelay());
                    notes.result("ttl", stream.ttl());
                    notes.result("timeouts", stream.read_timeout());
                    notes.result("timeouts", stream.write_timeout());
                    notes.result("set", stream.set_nodelay(true));
                    notes.result("nodelay", stream.nodelay());
                    notes.result("unset", stream.set_nodelay(false));
                    notes.result("set", stream.set_ttl(9));
                    notes.result("ttl", stream.ttl());
                    notes.result("too much", stream.set_ttl(1_000));
                    notes.result("too much", stream.set_ttl(u32::MAX - 1));
                    notes.result("error", stream.take_error().map(|e| e.is_none()));
                }
                notes.result("ttl", listener.ttl());
                notes.result("set", listener.set_ttl(7));
                notes.result("set", listener.try_clone().unwrap().ttl());
                notes.result("error", listener.take_error().map(|e| e.is_none()));
            }

            fn looks(notes: &mut Notes) {
                let (listener, near, far) = pair();
                let show = |shown: String| {
                    // Ports and descriptors differ from run to run.
                    let digits = |c: char| c.is_ascii_digit();
                    shown
                        .split(digits)
                        .filter(|s| !s.is_empty())
                        .collect::<String>()
                };
                notes.note("stream", show(format!("{near:?} {near:#?}")));
                notes.note("listener", show(format!("{listener:?} {listener:#?}")));
                let text = format!("{near:?}");
                assert!(text.contains(&near.local_addr().unwrap().to_string()));
                assert!(text.contains(&near.peer_addr().unwrap().to_string()));
                assert!(text.contains(&near.as_raw_fd().to_string()));
                far.shutdown(Shutdown::Both).unwrap();
                near.shutdown(Shutdown::Both).unwrap();
                notes.note("not connected", show(format!("{near:?}")));
            }

            fn errors(notes: &mut Notes) {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let taken = listener.local_addr().unwrap();
                notes.result("port in use", TcpListener::bind(taken).map(drop));
                notes.result("no address", TcpListener::bind(&[][..]).map(drop));
                notes.result("no address", TcpStream::connect(&[][..]).map(drop));
                notes.result("not ours", TcpListener::bind("192.0.2.1:0").map(drop));
                notes.result("no port", TcpStream::connect("127.0.0.1").map(drop));
                notes.result("broken", TcpStream::connect("127.0.0.1:port").map(drop));
                notes.result(
                    "broadcast",
                    TcpStream::connect("255.255.255.255:9").map(drop),
                );
                let (_kept, closed) = crate::common_net::closed();
                notes.result("refused", TcpStream::connect(closed).map(drop));
                notes.result(
                    "all refused",
                    TcpStream::connect(&[closed; 3][..]).map(drop),
                );
                let both = [closed, taken];
                let second = TcpStream::connect(&both[..]).unwrap();
                notes.note("the second", second.peer_addr().unwrap() == taken);
                let both = [taken, SocketAddr::from(([127, 0, 0, 1], 0))];
                let second = TcpListener::bind(&both[..]).unwrap();
                notes.note("the second", second.local_addr().unwrap() != taken);
                let zero = TcpStream::connect_timeout(&taken, Duration::ZERO);
                notes.result("in no time", zero.map(drop));
                let later = TcpStream::connect_timeout(&closed, Duration::from_secs(99));
                notes.result("refused in time", later.map(drop));
            }

            fn nonblocking(notes: &mut Notes) {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                notes.result("set", listener.set_nonblocking(true));
                notes.result("accept", listener.accept().map(drop));
                notes.result("accept", listener.try_clone().unwrap().accept().map(drop));
                notes.result("next", listener.incoming().next().unwrap().map(drop));
                notes.result("unset", listener.set_nonblocking(false));
                let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (far, _) = listener.accept().unwrap();
                let clone = near.try_clone().unwrap();
                notes.result("set", near.set_nonblocking(true));
                let mut buf = [0; 4];
                notes.result("read", (&near).read(&mut buf));
                notes.result("clone", (&clone).read(&mut buf));
                notes.result("peek", near.peek(&mut buf));
                notes.result(
                    "vectored",
                    (&near).read_vectored(&mut [IoSliceMut::new(&mut buf)]),
                );
                // Before any timeout.
                near.set_read_timeout(Some(Duration::from_secs(99)))
                    .unwrap();
                notes.result("read", (&near).read(&mut buf));
                let much = vec![0; crate::common_net::PLENTY];
                notes.result("much", (&near).write_all(&much));
                notes.result("more", (&near).write(&much));
                notes.result("unset", clone.set_nonblocking(false));
                let writer = spawn(move || {
                    (&far).write_all(b"four").unwrap();
                    far
                });
                notes.result("waits", (&near).read_exact(&mut buf));
                notes.result("set", near.set_nonblocking(true));
                drop(writer.join().unwrap());
                notes.result("error", near.take_error().map(|e| e.is_none()));
            }

            #[allow(deprecated, reason = "std has it")]
            fn only_version_6(notes: &mut Notes) {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                notes.result("not of version 6", listener.only_v6());
                notes.result("not of version 6", listener.set_only_v6(true));
            }

            fn incoming(notes: &mut Notes) {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                let addr = listener.local_addr().unwrap();
                let server = spawn(move || {
                    listener
                        .incoming()
                        .take(3)
                        .map(|stream| read_all(stream.unwrap()).unwrap())
                        .collect::<Vec<_>>()
                });
                for text in ["a", "bb", "ccc"] {
                    TcpStream::connect(addr)
                        .unwrap()
                        .write_all(text.as_bytes())
                        .unwrap();
                }
                notes.note("three", server.join().unwrap());
            }

            fn ip_version_6(notes: &mut Notes) {
                let Ok(listener) = TcpListener::bind((Ipv6Addr::LOCALHOST, 0)) else {
                    return notes.note("there is none", ());
                };
                let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
                let (far, addr) = listener.accept().unwrap();
                assert_eq!(addr, near.local_addr().unwrap());
                notes.note("version 6", addr.ip());
                (&far).write_all(b"six").unwrap();
                drop(far);
                notes.result("said", read_all(&near));
            }

            pub(super) fn run() -> Vec<String> {
                let mut notes = Notes(Vec::new());
                talking(&mut notes);
                shutting_down(&mut notes);
                full(&mut notes);
                options(&mut notes);
                looks(&mut notes);
                errors(&mut notes);
                nonblocking(&mut notes);
                only_version_6(&mut notes);
                incoming(&mut notes);
                ip_version_6(&mut notes);
                notes.0
            }
        }
    };
}

program!(of_std, std::net, std::thread::spawn);
program!(in_fibers, sisal::net, sisal::fiber::spawn);
program!(on_threads, sisal::net, std::thread::spawn);

fn compare(what: &str, got: &[String], want: &[String]) {
    for (got, want) in got.iter().zip(want) {
        assert_eq!(got, want, "{what}");
    }
    assert_eq!(got.len(), want.len());
}

#[test]
fn fibers_see_what_std_shows() {
    let _dog = watchdog("fibers_see_what_std_shows");
    let want = of_std::run();
    assert!(want.len() > 80, "only {} notes", want.len());
    for workers in [1, 2] {
        compare("in fibers", &runtime(workers).run(in_fibers::run), &want);
    }
}

#[test]
fn threads_see_what_std_shows() {
    let _dog = watchdog("threads_see_what_std_shows");
    compare("on threads", &on_threads::run(), &of_std::run());
}
