//! Every stable method and implementation of std's sockets is there, with std's signature: the list below compiles
//! for std and for Sisal, and the sources of std, where there are some, say whether it is whole.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

macro_rules! face {
    ($name:ident, $net:path, $unix:path) => {
        mod $name {
            #![allow(dead_code, deprecated, reason = "it is compiled; nothing runs")]

            use std::fmt::Debug;
            use std::io::{self, Read, Write};
            use std::iter::FusedIterator;
            use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
            use std::panic::{RefUnwindSafe, UnwindSafe};
            use std::path::Path;
            use std::time::Duration;

            use $net as net;
            use $unix as unix;

            use net::{
                AddrParseError, Incoming, IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr,
                SocketAddrV4, SocketAddrV6, TcpListener, TcpStream, ToSocketAddrs, UdpSocket,
            };
            use unix::{SocketAddr as UnixAddr, UnixDatagram, UnixListener, UnixStream};

            type Get<S, T> = fn(&S) -> io::Result<T>;
            type Set<S, T> = fn(&S, T) -> io::Result<()>;
            type Recv<S> = fn(&S, &mut [u8]) -> io::Result<usize>;
            type Send_<S> = fn(&S, &[u8]) -> io::Result<usize>;
            type RecvFrom<S, A> = fn(&S, &mut [u8]) -> io::Result<(usize, A)>;
            type Error = Option<io::Error>;
            type Time = Option<Duration>;

            fn traits() {
                fn socket<T>()
                where
                    T: Send + Sync + Unpin + UnwindSafe + RefUnwindSafe + Debug + 'static,
                    T: AsFd + AsRawFd + FromRawFd + IntoRawFd + From<OwnedFd> + Into<OwnedFd>,
                {
                }
                fn stream<T: Read + Write>()
                where
                    for<'a> &'a T: Read + Write,
                {
                }
                fn iterates<S, T: Debug + Send + Sync + Iterator<Item = io::Result<S>>>() {}
                fn fused<T: FusedIterator>() {}
                fn into_iter<'a>()
                where
                    &'a UnixListener: IntoIterator<IntoIter = unix::Incoming<'a>>,
                {
                }
                fn resolves(_: impl ToSocketAddrs) {}
                fn other<T: Debug>() {}
                socket::<TcpStream>();
                socket::<TcpListener>();
                socket::<UdpSocket>();
                socket::<UnixStream>();
                socket::<UnixListener>();
                socket::<UnixDatagram>();
                stream::<TcpStream>();
                stream::<UnixStream>();
                iterates::<TcpStream, Incoming<'_>>();
                iterates::<UnixStream, unix::Incoming<'_>>();
                fused::<Incoming<'_>>();
                into_iter();
                resolves(("localhost", 80));
                other::<(AddrParseError, IpAddr, Shutdown, SocketAddrV4, SocketAddrV6)>();
            }

            fn tcp_stream() {
                let _: fn(&'static str) -> io::Result<TcpStream> = TcpStream::connect;
                let _: fn((Ipv4Addr, u16)) -> io::Result<TcpStream> = TcpStream::connect;
                let _: fn(&SocketAddr, Duration) -> io::Result<TcpStream> =
                    TcpStream::connect_timeout;
                let _: Get<TcpStream, SocketAddr> = TcpStream::peer_addr;
                let _: Get<TcpStream, SocketAddr> = TcpStream::local_addr;
                let _: Set<TcpStream, Shutdown> = TcpStream::shutdown;
                let _: Get<TcpStream, TcpStream> = TcpStream::try_clone;
                let _: Set<TcpStream, Time> = TcpStream::set_read_timeout;
                let _: Set<TcpStream, Time> = TcpStream::set_write_timeout;
                let _: Get<TcpStream, Time> = TcpStream::read_timeout;
                let _: Get<TcpStream, Time> = TcpStream::write_timeout;
                let _: Recv<TcpStream> = TcpStream::peek;
                let _: Set<TcpStream, bool> = TcpStream::set_nodelay;
                let _: Get<TcpStream, bool> = TcpStream::nodelay;
                let _: Set<TcpStream, u32> = TcpStream::set_ttl;
                let _: Get<TcpStream, u32> = TcpStream::ttl;
                let _: Get<TcpStream, Error> = TcpStream::take_error;
                let _: Set<TcpStream, bool> = TcpStream::set_nonblocking;
            }

            fn tcp_listener() {
                let _: fn(&'static str) -> io::Result<TcpListener> = TcpListener::bind;
                let _: Get<TcpListener, SocketAddr> = TcpListener::local_addr;
                let _: Get<TcpListener, TcpListener> = TcpListener::try_clone;
                let _: Get<TcpListener, (TcpStream, SocketAddr)> = TcpListener::accept;
                let _: fn(&TcpListener) -> Incoming<'_> = TcpListener::incoming;
                let _: Set<TcpListener, u32> = TcpListener::set_ttl;
                let _: Get<TcpListener, u32> = TcpListener::ttl;
                let _: Set<TcpListener, bool> = TcpListener::set_only_v6;
                let _: Get<TcpListener, bool> = TcpListener::only_v6;
                let _: Get<TcpListener, Error> = TcpListener::take_error;
                let _: Set<TcpListener, bool> = TcpListener::set_nonblocking;
            }

            fn udp_socket() {
                type S = UdpSocket;
                let _: fn(&'static str) -> io::Result<S> = UdpSocket::bind;
                let _: fn(&S, (&'static str, u16)) -> io::Result<()> = UdpSocket::connect;
                let _: RecvFrom<S, SocketAddr> = UdpSocket::recv_from;
                let _: RecvFrom<S, SocketAddr> = UdpSocket::peek_from;
                let _: fn(&S, &[u8], SocketAddr) -> io::Result<usize> = UdpSocket::send_to;
                let _: Recv<S> = UdpSocket::recv;
                let _: Recv<S> = UdpSocket::peek;
                let _: Send_<S> = UdpSocket::send;
                let _: Get<S, SocketAddr> = UdpSocket::peer_addr;
                let _: Get<S, SocketAddr> = UdpSocket::local_addr;
                let _: Get<S, S> = UdpSocket::try_clone;
                let _: Set<S, Time> = UdpSocket::set_read_timeout;
                let _: Set<S, Time> = UdpSocket::set_write_timeout;
                let _: Get<S, Time> = UdpSocket::read_timeout;
                let _: Get<S, Time> = UdpSocket::write_timeout;
                let _: Set<S, bool> = UdpSocket::set_broadcast;
                let _: Get<S, bool> = UdpSocket::broadcast;
                let _: Set<S, bool> = UdpSocket::set_multicast_loop_v4;
                let _: Get<S, bool> = UdpSocket::multicast_loop_v4;
                let _: Set<S, u32> = UdpSocket::set_multicast_ttl_v4;
                let _: Get<S, u32> = UdpSocket::multicast_ttl_v4;
                let _: Set<S, bool> = UdpSocket::set_multicast_loop_v6;
                let _: Get<S, bool> = UdpSocket::multicast_loop_v6;
                let _: Set<S, u32> = UdpSocket::set_ttl;
                let _: Get<S, u32> = UdpSocket::ttl;
                type Four = fn(&S, &Ipv4Addr, &Ipv4Addr) -> io::Result<()>;
                type Six = fn(&S, &Ipv6Addr, u32) -> io::Result<()>;
                let _: Four = UdpSocket::join_multicast_v4;
                let _: Six = UdpSocket::join_multicast_v6;
                let _: Four = UdpSocket::leave_multicast_v4;
                let _: Six = UdpSocket::leave_multicast_v6;
                let _: Get<S, Error> = UdpSocket::take_error;
                let _: Set<S, bool> = UdpSocket::set_nonblocking;
            }

            fn unix_stream() {
                type S = UnixStream;
                let _: fn(&'static Path) -> io::Result<S> = UnixStream::connect;
                let _: fn(&UnixAddr) -> io::Result<S> = UnixStream::connect_addr;
                let _: fn() -> io::Result<(S, S)> = UnixStream::pair;
                let _: Get<S, S> = UnixStream::try_clone;
                let _: Get<S, UnixAddr> = UnixStream::local_addr;
                let _: Get<S, UnixAddr> = UnixStream::peer_addr;
                let _: Set<S, Time> = UnixStream::set_read_timeout;
                let _: Set<S, Time> = UnixStream::set_write_timeout;
                let _: Get<S, Time> = UnixStream::read_timeout;
                let _: Get<S, Time> = UnixStream::write_timeout;
                let _: Set<S, bool> = UnixStream::set_nonblocking;
                let _: Get<S, Error> = UnixStream::take_error;
                let _: Set<S, Shutdown> = UnixStream::shutdown;
            }

            fn unix_listener() {
                type S = UnixListener;
                let _: fn(String) -> io::Result<S> = UnixListener::bind;
                let _: fn(&UnixAddr) -> io::Result<S> = UnixListener::bind_addr;
                let _: Get<S, (UnixStream, UnixAddr)> = UnixListener::accept;
                let _: Get<S, S> = UnixListener::try_clone;
                let _: Get<S, UnixAddr> = UnixListener::local_addr;
                let _: Set<S, bool> = UnixListener::set_nonblocking;
                let _: Get<S, Error> = UnixListener::take_error;
                let _: fn(&S) -> unix::Incoming<'_> = UnixListener::incoming;
            }

            fn unix_datagram() {
                type S = UnixDatagram;
                let _: fn(String) -> io::Result<S> = UnixDatagram::bind;
                let _: fn(&UnixAddr) -> io::Result<S> = UnixDatagram::bind_addr;
                let _: fn() -> io::Result<S> = UnixDatagram::unbound;
                let _: fn() -> io::Result<(S, S)> = UnixDatagram::pair;
                let _: fn(&S, &'static str) -> io::Result<()> = UnixDatagram::connect;
                let _: fn(&S, &UnixAddr) -> io::Result<()> = UnixDatagram::connect_addr;
                let _: Get<S, S> = UnixDatagram::try_clone;
                let _: Get<S, UnixAddr> = UnixDatagram::local_addr;
                let _: Get<S, UnixAddr> = UnixDatagram::peer_addr;
                let _: RecvFrom<S, UnixAddr> = UnixDatagram::recv_from;
                let _: Recv<S> = UnixDatagram::recv;
                let _: fn(&S, &[u8], &'static str) -> io::Result<usize> = UnixDatagram::send_to;
                let _: fn(&S, &[u8], &UnixAddr) -> io::Result<usize> = UnixDatagram::send_to_addr;
                let _: Send_<S> = UnixDatagram::send;
                let _: Set<S, Time> = UnixDatagram::set_read_timeout;
                let _: Set<S, Time> = UnixDatagram::set_write_timeout;
                let _: Get<S, Time> = UnixDatagram::read_timeout;
                let _: Get<S, Time> = UnixDatagram::write_timeout;
                let _: Set<S, bool> = UnixDatagram::set_nonblocking;
                let _: Get<S, Error> = UnixDatagram::take_error;
                let _: Set<S, Shutdown> = UnixDatagram::shutdown;
            }
        }
    };
}

face!(of_std, std::net, std::os::unix::net);
face!(of_sisal, sisal::net, sisal::os::unix::net);

/// std's methods that are stable in the version that builds this: in `impl Type` blocks, of a source file.
fn stable_methods(source: &str, version: u32) -> Vec<(String, String)> {
    let (mut found, mut of, mut since) = (Vec::new(), None::<String>, None);
    for line in source.lines() {
        let text = line.trim();
        if let Some(block) = line.strip_prefix("impl ") {
            let name = block.trim_end_matches([' ', '{']);
            of = name
                .chars()
                .all(char::is_alphanumeric)
                .then(|| name.to_owned());
        } else if text.starts_with("#[stable") {
            since = text.split("since = \"1.").nth(1);
        } else if let Some(method) = text.strip_prefix("pub fn ") {
            let name = method.split(['(', '<']).next().unwrap();
            // Without one it is in a file of its own, or not stable.
            let minor = since
                .take()
                .and_then(|since| since.split('.').next()?.parse::<u32>().ok());
            if let (Some(of), Some(minor)) = (&of, minor)
                && minor <= version
            {
                found.push((of.clone(), name.to_owned()));
            }
        } else if text.starts_with("#[unstable") || text.is_empty() {
            since = None;
        }
    }
    found
}

fn output(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|out| out.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// Where std's sources are, of this toolchain or of nightly.
fn std_sources() -> Option<PathBuf> {
    let rustc = std::env::var("RUSTC").unwrap_or("rustc".into());
    let here = Command::new(rustc);
    let mut nightly = Command::new("rustup");
    nightly.args(["run", "nightly", "rustc"]);
    [here, nightly].into_iter().find_map(|mut rustc| {
        let sysroot = output(rustc.args(["--print", "sysroot"]))?;
        let std = PathBuf::from(sysroot.trim()).join("lib/rustlib/src/rust/library/std/src");
        std.join("net/tcp.rs").exists().then_some(std)
    })
}

fn minor_version() -> u32 {
    let rustc = std::env::var("RUSTC").unwrap_or("rustc".into());
    let version = output(Command::new(rustc).arg("--version")).expect("a compiler");
    let minor = version
        .split("1.")
        .nth(1)
        .and_then(|rest| rest.split('.').next());
    minor.unwrap().parse().expect("a version")
}

const FILES: [(&str, usize); 5] = [
    ("net/tcp.rs", 25),
    ("net/udp.rs", 30),
    ("os/unix/net/stream.rs", 12),
    ("os/unix/net/listener.rs", 7),
    ("os/unix/net/datagram.rs", 18),
];

#[test]
fn nothing_of_stds_is_missing() {
    let Some(std) = std_sources() else {
        println!("skipped: no toolchain has std's sources (rustup component add rust-src)");
        return;
    };
    let listed = include_str!("net_face.rs");
    let version = minor_version();
    for (file, least) in FILES {
        let source = fs::read_to_string(std.join(file)).unwrap();
        let methods = stable_methods(&source, version);
        println!("{file}: {} stable methods", methods.len());
        assert!(methods.len() >= least, "{file}: only {}", methods.len());
        for (of, method) in methods {
            let path = format!("{of}::{method};");
            assert!(listed.contains(&path), "{file}: `{path}` is not listed");
        }
    }
}

#[test]
fn a_missing_method_is_found() {
    let source = "impl TcpStream {\n    #[stable(feature = \"a\", since = \"1.9.0\")]\n    pub fn fly(&self) {\n    }\n\
                  \n    #[unstable(feature = \"b\")]\n    pub fn swim(&self) {\n    }\n\
                  \n    #[stable(feature = \"a\", since = \"1.99.0\")]\n    pub fn run<A>(&self) {\n    }\n}\n\
                  impl fmt::Debug for TcpStream {\n";
    let fly = ("TcpStream".to_owned(), "fly".to_owned());
    assert_eq!(stable_methods(source, 95), vec![fly.clone()]);
    let run = ("TcpStream".to_owned(), "run".to_owned());
    assert_eq!(stable_methods(source, 99), [fly, run]);
}
