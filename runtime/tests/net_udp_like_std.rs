//! The same source over `std::net::UdpSocket` and over `sisal::net::UdpSocket` does the same.

mod common_net;

use common_net::{runtime, watchdog};

macro_rules! program {
    ($name:ident, $net:path, $spawn:path) => {
        mod $name {
            use std::fmt::Debug;
            use std::io;
            use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
            use std::os::fd::AsRawFd;
            use std::time::Duration;

            use $net as net;
            use $spawn as spawn;

            use net::UdpSocket;

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

            fn bound() -> (UdpSocket, SocketAddr) {
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                let addr = socket.local_addr().unwrap();
                (socket, addr)
            }

            /// Two that are connected to each other.
            fn pair() -> (UdpSocket, UdpSocket) {
                let ((a, at_a), (b, at_b)) = (bound(), bound());
                a.connect(at_b).unwrap();
                b.connect(at_a).unwrap();
                assert_eq!(a.peer_addr().unwrap(), at_b);
                (a, b)
            }

            fn talking(notes: &mut Notes) {
                let ((near, at_near), (far, at_far)) = (bound(), bound());
                let echo = spawn(move || {
                    let mut buf = [0; 16];
                    for _ in 0..3 {
                        let (n, from) = far.recv_from(&mut buf).unwrap();
                        assert_eq!(from, at_near);
                        assert_eq!(far.send_to(&buf[..n], from).unwrap(), n);
                    }
                });
                for text in ["one", "", "three"] {
                    notes.result("sent", near.send_to(text.as_bytes(), at_far));
                    let mut buf = [0; 16];
                    let (n, from) = near.peek_from(&mut buf).unwrap();
                    notes.note("peeked", (&buf[..n], from == at_far));
                    let (n, from) = near.recv_from(&mut buf).unwrap();
                    notes.note("came", (&buf[..n], from == at_far));
                }
                echo.join().unwrap();
            }

            fn connected(notes: &mut Notes) {
                let (a, b) = pair();
                let mut buf = [0; 4];
                notes.result("sent", a.send(b"more than four"));
                notes.result("sent", a.send(b"two"));
                notes.result("sent", a.send(b""));
                notes.result("cut", b.peek(&mut buf).map(|n| buf[..n].to_vec()));
                notes.result("cut", b.recv(&mut buf).map(|n| buf[..n].to_vec()));
                notes.result("the next", b.recv(&mut buf).map(|n| buf[..n].to_vec()));
                notes.result("nothing", b.recv(&mut buf));
                notes.result("sent", a.send(b"gone"));
                notes.result("no room", b.recv(&mut []));
                // A stranger's is not received.
                let (stranger, _) = bound();
                stranger.send_to(b"x", b.local_addr().unwrap()).unwrap();
                a.send(b"y").unwrap();
                notes.result("mine", b.recv(&mut buf).map(|n| buf[..n].to_vec()));
            }

            fn errors(notes: &mut Notes) {
                let (socket, taken) = bound();
                notes.result("in use", UdpSocket::bind(taken).map(drop));
                notes.result("no address", UdpSocket::bind(&[][..]).map(drop));
                notes.result("no address", socket.connect(&[][..]));
                notes.result("no address", socket.send_to(b"x", &[][..]));
                notes.result("no port", UdpSocket::bind("127.0.0.1").map(drop));
                notes.result("broken", socket.send_to(b"x", "127.0.0.1:port"));
                notes.result("not ours", UdpSocket::bind("192.0.2.1:0").map(drop));
                notes.result("nobody", socket.peer_addr());
                notes.result("not connected", socket.send(b"x"));
                notes.result("the other protocol", socket.send_to(b"x", "[::1]:9"));
                notes.result("too long", socket.send_to(&[0; 70_000], taken));
                notes.result("broadcast", socket.send_to(b"x", "255.255.255.255:9"));
                let (_kept, closed) = crate::common_net::closed();
                socket.connect(closed).unwrap();
                // The answer of the system comes with the next call.
                notes.result("sent", socket.send(b"x"));
                notes.result("refused", socket.recv(&mut [0; 4]));
                notes.result("sent", socket.send(b"x"));
                notes.result("refused", socket.send(b"x"));
                notes.result("sent", socket.send(b"x"));
                let error = socket.take_error().map(|e| e.map(|e| e.kind()));
                notes.result("taken", error);
                let both = [SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 0)), closed];
                notes.result("the second", UdpSocket::bind(&both[..]).map(drop));
            }

            fn shut_down(notes: &mut Notes) {
                let (a, b) = pair();
                let waits = a.try_clone().unwrap();
                let reader = spawn(move || waits.recv(&mut [0; 4]));
                b.send(b"last").unwrap();
                notes.result("the last", reader.join().unwrap());
                let waits = a.try_clone().unwrap();
                let reader = spawn(move || waits.recv(&mut [0; 4]));
                let socket = socket2::SockRef::from(&a);
                notes.result("shut", socket.shutdown(std::net::Shutdown::Both));
                notes.result("the end", reader.join().unwrap());
                notes.result("recv", a.recv(&mut [0; 4]));
                notes.result("peek", a.peek(&mut [0; 4]));
                notes.result(
                    "recv_from",
                    a.recv_from(&mut [0; 4]).map_err(|e| e.kind().into()),
                );
                notes.result(
                    "peek_from",
                    a.peek_from(&mut [0; 4]).map_err(|e| e.kind().into()),
                );
                notes.result("send", a.send(b"x"));
                a.set_nonblocking(true).unwrap();
                notes.result("nothing", a.recv(&mut [0; 4]));
            }

            fn timeouts(notes: &mut Notes) {
                let (a, _b) = pair();
                notes.result("none", a.read_timeout());
                notes.result("none", a.write_timeout());
                notes.result("zero", a.set_read_timeout(Some(Duration::ZERO)));
                notes.result("zero", a.set_write_timeout(Some(Duration::ZERO)));
                notes.result("set", a.set_read_timeout(Some(Duration::from_secs(9))));
                notes.result("set", a.set_write_timeout(Some(Duration::from_secs(8))));
                let clone = a.try_clone().unwrap();
                notes.result("shared", clone.read_timeout());
                notes.result("shared", clone.write_timeout());
                let short = Some(Duration::from_millis(20));
                notes.result("set", clone.set_read_timeout(short));
                let mut buf = [0; 4];
                notes.result("recv", a.recv(&mut buf));
                notes.result("recv_from", a.recv_from(&mut buf).map(drop));
                notes.result("peek", a.peek(&mut buf));
                notes.result("peek_from", a.peek_from(&mut buf).map(drop));
                notes.result("none", a.set_read_timeout(None));
                notes.result("none", clone.read_timeout());
            }

            fn nonblocking(notes: &mut Notes) {
                let (a, b) = pair();
                let clone = a.try_clone().unwrap();
                notes.result("set", a.set_nonblocking(true));
                let mut buf = [0; 4];
                notes.result("recv", a.recv(&mut buf));
                notes.result("recv_from", a.recv_from(&mut buf).map(drop));
                notes.result("peek", clone.peek(&mut buf));
                notes.result("peek_from", clone.peek_from(&mut buf).map(drop));
                notes.result("sent", a.send(b"x"));
                notes.result("came", b.recv(&mut buf));
                b.send(b"y").unwrap();
                notes.result("there", a.recv(&mut buf));
                notes.result("gone", a.recv(&mut buf));
                notes.result("unset", clone.set_nonblocking(false));
                let sender = spawn(move || b.send(b"z").unwrap());
                notes.result("waits", a.recv(&mut buf));
                sender.join().unwrap();
            }

            fn options(notes: &mut Notes) {
                let (a, _) = bound();
                notes.result("broadcast", a.broadcast());
                notes.result("set", a.set_broadcast(true));
                notes.result("broadcast", a.try_clone().unwrap().broadcast());
                notes.result("ttl", a.ttl());
                notes.result("set", a.set_ttl(7));
                notes.result("ttl", a.ttl());
                notes.result("too much", a.set_ttl(1_000));
                notes.result("loops", a.multicast_loop_v4());
                notes.result("set", a.set_multicast_loop_v4(false));
                notes.result("loops", a.multicast_loop_v4());
                notes.result("ttl", a.multicast_ttl_v4());
                notes.result("set", a.set_multicast_ttl_v4(3));
                notes.result("ttl", a.multicast_ttl_v4());
                notes.result("too much", a.set_multicast_ttl_v4(1_000));
                notes.result("not of version 4", a.multicast_loop_v6());
                notes.result("not of version 4", a.set_multicast_loop_v6(true));
                let none = Ipv4Addr::UNSPECIFIED;
                notes.result("no group", a.join_multicast_v4(&Ipv4Addr::LOCALHOST, &none));
                let group = Ipv4Addr::new(239, 1, 2, 3);
                notes.result("not in it", a.leave_multicast_v4(&group, &none));
                let six = Ipv6Addr::LOCALHOST;
                notes.result("no group", a.join_multicast_v6(&six, 0));
                notes.result("no group", a.leave_multicast_v6(&six, 0));
                let Ok(six) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) else {
                    return notes.note("there is no version 6", ());
                };
                notes.result("loops", six.multicast_loop_v6());
                notes.result("set", six.set_multicast_loop_v6(false));
                notes.result("loops", six.multicast_loop_v6());
                let group = Ipv6Addr::new(0xff01, 0, 0, 0, 0, 0, 0, 0x77);
                notes.result("join", six.join_multicast_v6(&group, 1));
                notes.result("leave", six.leave_multicast_v6(&group, 1));
                notes.result("again", six.leave_multicast_v6(&group, 1));
            }

            /// On loopback only.
            fn multicast(notes: &mut Notes) {
                let group = Ipv4Addr::new(239, 255, 77, 3);
                let here = Ipv4Addr::LOCALHOST;
                let listens = UdpSocket::bind((group, 0)).unwrap();
                let joined = listens.join_multicast_v4(&group, &here);
                notes.result("join", joined);
                notes.result("again", listens.join_multicast_v4(&group, &here));
                let (says, _) = bound();
                let to = SocketAddr::from((group, listens.local_addr().unwrap().port()));
                let sent = says.send_to(b"all", to);
                let there = sent.is_ok();
                notes.result("sent", sent);
                if there {
                    let mut buf = [0; 8];
                    let long = Some(Duration::from_secs(5));
                    listens.set_read_timeout(long).unwrap();
                    notes.result("came", listens.recv(&mut buf));
                }
                notes.result("leave", listens.leave_multicast_v4(&group, &here));
                notes.result("again", listens.leave_multicast_v4(&group, &here));
            }

            fn looks(notes: &mut Notes) {
                let (socket, addr) = bound();
                let text = format!("{socket:?}");
                assert!(text.contains(&addr.to_string()));
                assert!(text.contains(&socket.as_raw_fd().to_string()));
                let digits = |c: char| c.is_ascii_digit();
                let parts: String = text.split(digits).filter(|s| !s.is_empty()).collect();
                notes.note("socket", parts);
                let parts: String = format!("{socket:#?}").split(digits).collect();
                notes.note("socket", parts);
            }

            pub(super) fn run() -> Vec<String> {
                let mut notes = Notes(Vec::new());
                talking(&mut notes);
                connected(&mut notes);
                errors(&mut notes);
                shut_down(&mut notes);
                timeouts(&mut notes);
                nonblocking(&mut notes);
                options(&mut notes);
                multicast(&mut notes);
                looks(&mut notes);
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
    for note in &want {
        println!("{note}");
    }
    assert!(want.len() > 90, "only {} notes", want.len());
    for workers in [1, 2] {
        compare("in fibers", &runtime(workers).run(in_fibers::run), &want);
    }
}

#[test]
fn threads_see_what_std_shows() {
    let _dog = watchdog("threads_see_what_std_shows");
    compare("on threads", &on_threads::run(), &of_std::run());
}
