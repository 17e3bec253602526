//! Sockets from and into std's, tokio's and plain descriptors: with their mode, their timeouts and what was on its way.

mod common_net;

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net as std_unix;
use std::time::Duration;

use common_net::{anywhere, descriptors, pair, pair_of_std, runtime, watchdog};
use sisal::fiber;
use sisal::net::{TcpListener, TcpStream, UdpSocket};
use sisal::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const LONG: Option<Duration> = Some(Duration::from_secs(3_600));

fn nonblocking(socket: impl AsFd) -> bool {
    SockRef::from(&socket).nonblocking().unwrap()
}

fn kind<T>(result: io::Result<T>) -> ErrorKind {
    result.map(drop).unwrap_err().kind()
}

/// Reads what another fiber writes only then: it waits.
fn talk(near: &TcpStream, far: &TcpStream) {
    fiber::scope(|s| {
        s.spawn(|| {
            fiber::yield_now();
            (&*far).write_all(b"word").unwrap();
        });
        let mut buf = [0; 4];
        (&*near).read_exact(&mut buf).unwrap();
        assert_eq!(&buf, b"word");
    });
}

#[test]
fn from_std_with_mode_and_timeouts() {
    let _dog = watchdog("from_std_with_mode_and_timeouts");
    runtime(1).run(|| {
        let (near, far) = pair_of_std();
        near.set_read_timeout(LONG).unwrap();
        (&far).write_all(b"here").unwrap();
        let (near, far) = (TcpStream::from(near), TcpStream::from(far));
        assert_eq!(near.read_timeout().unwrap(), LONG);
        assert_eq!(near.write_timeout().unwrap(), None);
        // What was there is there.
        (&near).read_exact(&mut [0; 4]).unwrap();
        talk(&near, &far);
        // In non-blocking mode it stays so for its user.
        let (near, far) = pair_of_std();
        near.set_nonblocking(true).unwrap();
        let near = TcpStream::from(near);
        assert_eq!(kind((&near).read(&mut [0])), ErrorKind::WouldBlock);
        near.set_nonblocking(false).unwrap();
        talk(&near, &TcpStream::from(far));
        let udp = std::net::UdpSocket::bind(anywhere()).unwrap();
        udp.set_nonblocking(true).unwrap();
        udp.set_write_timeout(LONG).unwrap();
        let udp = UdpSocket::from(udp);
        assert_eq!(kind(udp.recv(&mut [0])), ErrorKind::WouldBlock);
        assert_eq!(udp.write_timeout().unwrap(), LONG);
    });
}

#[test]
fn into_std_with_mode_and_timeouts() {
    let _dog = watchdog("into_std_with_mode_and_timeouts");
    runtime(1).run(|| {
        let (near, far) = pair();
        near.set_read_timeout(LONG).unwrap();
        talk(&near, &far);
        let near = std::net::TcpStream::from(near);
        assert!(!nonblocking(&near));
        assert_eq!(near.read_timeout().unwrap(), LONG);
        assert_eq!(near.write_timeout().unwrap(), None);
        // In non-blocking mode it stays so.
        far.set_nonblocking(true).unwrap();
        let far = std::net::TcpStream::from(far);
        assert!(nonblocking(&far));
        // A timeout that was taken back is none.
        near.set_read_timeout(LONG).unwrap();
        let near = TcpStream::from(near);
        near.set_read_timeout(None).unwrap();
        assert_eq!(
            std::net::TcpStream::from(near).read_timeout().unwrap(),
            None
        );
    });
}

/// The mode belongs to all of a socket's descriptors: a fiber in a read of a clone must not come to block its worker.
#[test]
fn clones_keep_the_mode() {
    let _dog = watchdog("clones_keep_the_mode");
    let listener = TcpListener::bind(anywhere()).unwrap();
    let clone = listener.try_clone().unwrap();
    let std_one = std::net::TcpListener::from(listener);
    assert!(nonblocking(&std_one));
    assert_eq!(kind(std_one.accept()), ErrorKind::WouldBlock);
    let last = std::net::TcpListener::from(clone);
    assert!(!nonblocking(&last) && !nonblocking(&std_one));
}

fn check_raw<T>(ours: T) -> T
where
    T: AsFd + AsRawFd + IntoRawFd + FromRawFd + From<OwnedFd> + Into<OwnedFd>,
{
    let raw = ours.as_raw_fd();
    assert_eq!(ours.as_fd().as_raw_fd(), raw);
    assert!(nonblocking(&ours));
    let raw_again = ours.into_raw_fd();
    assert_eq!(raw_again, raw);
    // SAFETY: `into_raw_fd` gave it away.
    let ours = unsafe { T::from_raw_fd(raw) };
    assert!(nonblocking(&ours));
    let owned: OwnedFd = ours.into();
    assert_eq!(owned.as_raw_fd(), raw);
    assert!(!nonblocking(&owned));
    T::from(owned)
}

#[test]
fn descriptors_of_all_types() {
    let _dog = watchdog("descriptors_of_all_types");
    let (stream, peer) = pair();
    let (unix, unix_peer) = UnixStream::pair().unwrap();
    let (datagram, datagram_peer) = UnixDatagram::pair().unwrap();
    let name = format!("net_conversions of sisal's tests {}", std::process::id());
    let at = SocketAddr::from_abstract_name(name).unwrap();
    let unix_listener = UnixListener::bind_addr(&at).unwrap();
    let listener = TcpListener::bind(anywhere()).unwrap();
    let udp = UdpSocket::bind(anywhere()).unwrap();
    runtime(1).run(|| {
        // Also when they are registered.
        let stream = check_raw(stream);
        talk(&stream, &peer);
        let stream = check_raw(stream);
        talk(&stream, &peer);
        let listener = check_raw(listener);
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        listener.accept().unwrap();
        drop((check_raw(listener), client));
        let udp = check_raw(udp);
        udp.send_to(b"x", udp.local_addr().unwrap()).unwrap();
        assert_eq!(udp.recv(&mut [0; 2]).unwrap(), 1);
        drop(check_raw(udp));
        let mut unix = check_raw(unix);
        (&unix_peer).write_all(b"x").unwrap();
        unix.read_exact(&mut [0]).unwrap();
        drop(check_raw(unix));
        let datagram = check_raw(datagram);
        datagram_peer.send(b"x").unwrap();
        assert_eq!(datagram.recv(&mut [0; 2]).unwrap(), 1);
        drop(check_raw(datagram));
        let unix_listener = check_raw(unix_listener);
        let client = UnixStream::connect_addr(&at).unwrap();
        unix_listener.accept().unwrap();
        drop((check_raw(unix_listener), client));
    });
}

#[test]
fn from_and_into_stds_unix_types() {
    let _dog = watchdog("from_and_into_stds_unix_types");
    runtime(1).run(|| {
        let (a, b) = std_unix::UnixStream::pair().unwrap();
        a.set_read_timeout(LONG).unwrap();
        let (a, b) = (UnixStream::from(a), UnixStream::from(b));
        assert_eq!(a.read_timeout().unwrap(), LONG);
        fiber::scope(|s| {
            let reader = s.spawn(|| (&a).read(&mut [0]).unwrap());
            fiber::yield_now();
            (&b).write_all(b"x").unwrap();
            assert_eq!(reader.join().unwrap(), 1);
        });
        let a = std_unix::UnixStream::from(a);
        assert!(!nonblocking(&a));
        assert_eq!(a.read_timeout().unwrap(), LONG);
        let (a, b) = std_unix::UnixDatagram::pair().unwrap();
        let a = UnixDatagram::from(a);
        b.send(b"x").unwrap();
        assert_eq!(a.recv(&mut [0; 2]).unwrap(), 1);
        assert!(!nonblocking(std_unix::UnixDatagram::from(a)));
    });
}

/// There and back again, in a fiber and in its async code.
#[test]
fn from_and_into_tokios_types() {
    let _dog = watchdog("from_and_into_tokios_types");
    runtime(2).run(|| {
        let (near, far) = pair();
        talk(&near, &far);
        let mut near = tokio::net::TcpStream::try_from(near).unwrap();
        (&far).write_all(b"to tokio").unwrap();
        let mut buf = [0; 8];
        sisal::block_on(near.read_exact(&mut buf)).unwrap();
        assert_eq!(&buf, b"to tokio");
        sisal::block_on(near.write_all(b"back")).unwrap();
        let near = TcpStream::try_from(near).unwrap();
        (&far).read_exact(&mut buf[..4]).unwrap();
        assert_eq!(&buf[..4], b"back");
        talk(&near, &far);
        let listener = TcpListener::bind(anywhere()).unwrap();
        let at = listener.local_addr().unwrap();
        let listener = tokio::net::TcpListener::try_from(listener).unwrap();
        let client = TcpStream::connect(at).unwrap();
        sisal::block_on(listener.accept()).unwrap();
        let listener = TcpListener::try_from(listener).unwrap();
        let second = TcpStream::connect(at).unwrap();
        listener.accept().unwrap();
        drop((client, second));
        let udp = UdpSocket::bind(anywhere()).unwrap();
        let at = udp.local_addr().unwrap();
        udp.send_to(b"xy", at).unwrap();
        let udp = tokio::net::UdpSocket::try_from(udp).unwrap();
        assert_eq!(sisal::block_on(udp.recv(&mut [0; 4])).unwrap(), 2);
        let udp = UdpSocket::try_from(udp).unwrap();
        udp.send_to(b"x", at).unwrap();
        assert_eq!(udp.recv(&mut [0; 4]).unwrap(), 1);
        let (a, b) = UnixStream::pair().unwrap();
        let a = tokio::net::UnixStream::try_from(a).unwrap();
        let a = UnixStream::try_from(a).unwrap();
        (&b).write_all(b"x").unwrap();
        (&a).read_exact(&mut [0]).unwrap();
        let (a, b) = UnixDatagram::pair().unwrap();
        let a = tokio::net::UnixDatagram::try_from(a).unwrap();
        b.send(b"x").unwrap();
        assert_eq!(sisal::block_on(a.recv(&mut [0; 2])).unwrap(), 1);
        let a = UnixDatagram::try_from(a).unwrap();
        b.send(b"xy").unwrap();
        assert_eq!(a.recv(&mut [0; 2]).unwrap(), 2);
        let name = format!("net_conversions to tokio {}", std::process::id());
        let at = SocketAddr::from_abstract_name(name).unwrap();
        let listener = UnixListener::bind_addr(&at).unwrap();
        let listener = tokio::net::UnixListener::try_from(listener).unwrap();
        let listener = UnixListener::try_from(listener).unwrap();
        let client = UnixStream::connect_addr(&at).unwrap();
        listener.accept().unwrap();
        drop(client);
    });
}

/// An error, not tokio's panic; and nothing stays open.
#[test]
fn into_tokio_outside_of_tokio() {
    let _dog = watchdog("into_tokio_outside_of_tokio");
    let (near, far) = pair();
    let fd = near.as_raw_fd();
    let inode = |fd: i32| descriptors().into_iter().find(|(n, _)| *n == fd);
    let was = inode(fd).unwrap();
    let error = tokio::net::TcpStream::try_from(near).map(drop).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Other);
    assert_ne!(inode(fd), Some(was));
    assert_eq!((&far).read(&mut [0]).unwrap(), 0);
}
