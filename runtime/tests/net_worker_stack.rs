//! On a worker's own stack calls that would wait panic at once, and name what to use; the rest works.

mod common_net;

use std::io::{IoSlice, IoSliceMut, Read, Write};
use std::net::Shutdown;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use common_net::{listener, pair, runtime, watchdog};
use sisal::net::{TcpListener, TcpStream, UdpSocket};
use sisal::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};

/// Runs `f` in an async task on a worker's own stack.
fn on_worker<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    runtime(1).run(|| sisal::block_on(async move { tokio::spawn(async { f() }).await.unwrap() }))
}

fn panic_of<R>(f: impl FnOnce() -> R) -> String {
    let Err(payload) = catch_unwind(AssertUnwindSafe(f)) else {
        panic!("it did not panic");
    };
    *payload.downcast::<String>().expect("a text")
}

#[test]
fn what_waits_panics() {
    let _dog = watchdog("what_waits_panics");
    let listener = listener();
    let addr = listener.local_addr().unwrap();
    let (near, far) = pair();
    // Even if there is nothing to wait for.
    (&far).write_all(b"here").unwrap();
    let _waiting = std::net::TcpStream::connect(addr).unwrap();
    on_worker(move || {
        let mut buf = [0; 4];
        let texts = [
            panic_of(|| listener.accept()),
            panic_of(|| listener.incoming().next()),
            panic_of(|| TcpStream::connect(addr)),
            panic_of(|| TcpStream::connect_timeout(&addr, Duration::from_secs(1))),
            panic_of(|| (&near).read(&mut buf)),
            panic_of(|| near.peek(&mut buf)),
            panic_of(|| (&near).read_vectored(&mut [IoSliceMut::new(&mut [0; 2])])),
            panic_of(|| (&near).write(b"x")),
            panic_of(|| (&near).write_vectored(&[IoSlice::new(b"x")])),
        ];
        for text in texts {
            assert!(
                text.contains("sisal::net") && text.contains("tokio's sockets"),
                "{text}"
            );
        }
        // Nothing was taken, sent or accepted.
        near.set_nodelay(true).unwrap();
        near.shutdown(Shutdown::Write).unwrap();
        std::thread::spawn(move || {
            (&near).read_exact(&mut buf).unwrap();
            assert_eq!(&buf, b"here");
            assert_eq!((&far).read(&mut [0]).unwrap(), 0);
            listener.accept().unwrap();
        })
        .join()
        .unwrap();
    });
}

#[test]
fn datagrams_and_unix_sockets_that_wait_panic() {
    use std::os::linux::net::SocketAddrExt;
    let _dog = watchdog("datagrams_and_unix_sockets_that_wait_panic");
    let name = format!("net_worker_stack of sisal's tests {}", std::process::id());
    let at = SocketAddr::from_abstract_name(name).unwrap();
    let listener = UnixListener::bind_addr(&at).unwrap();
    let (near, far) = UnixStream::pair().unwrap();
    let (a, b) = UnixDatagram::pair().unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let to = udp.local_addr().unwrap();
    // Even if there is nothing to wait for.
    (&far).write_all(b"here").unwrap();
    b.send(b"here").unwrap();
    udp.send_to(b"here", to).unwrap();
    let _waiting = std::os::unix::net::UnixStream::connect_addr(&at).unwrap();
    on_worker(move || {
        let mut buf = [0; 4];
        let texts = [
            panic_of(|| listener.accept()),
            panic_of(|| listener.incoming().next()),
            panic_of(|| UnixStream::connect_addr(&at)),
            panic_of(|| UnixStream::connect("nowhere")),
            panic_of(|| (&near).read(&mut buf)),
            panic_of(|| (&near).read_vectored(&mut [IoSliceMut::new(&mut [0; 2])])),
            panic_of(|| (&near).write(b"x")),
            panic_of(|| (&near).write_vectored(&[IoSlice::new(b"x")])),
            panic_of(|| a.recv(&mut buf)),
            panic_of(|| a.recv_from(&mut buf)),
            panic_of(|| a.send(b"x")),
            panic_of(|| a.send_to(b"x", "nowhere")),
            panic_of(|| a.send_to_addr(b"x", &at)),
            panic_of(|| udp.recv(&mut buf)),
            panic_of(|| udp.recv_from(&mut buf)),
            panic_of(|| udp.peek(&mut buf)),
            panic_of(|| udp.peek_from(&mut buf)),
            panic_of(|| udp.send(b"x")),
            panic_of(|| udp.send_to(b"x", to)),
        ];
        for text in texts {
            assert!(
                text.contains("sisal::net") && text.contains("tokio's sockets"),
                "{text}"
            );
        }
        // What does not wait works, and nothing was taken.
        a.set_nonblocking(true).unwrap();
        near.set_nonblocking(true).unwrap();
        udp.set_nonblocking(true).unwrap();
        listener.set_nonblocking(true).unwrap();
        assert_eq!(a.recv(&mut buf).unwrap(), 4);
        assert_eq!(udp.recv(&mut buf).unwrap(), 4);
        assert_eq!((&near).read(&mut buf).unwrap(), 4);
        listener.accept().unwrap();
        let wait = std::io::ErrorKind::WouldBlock;
        assert_eq!(a.recv(&mut buf).unwrap_err().kind(), wait);
        assert_eq!(udp.recv(&mut buf).unwrap_err().kind(), wait);
        assert_eq!((&near).read(&mut buf).unwrap_err().kind(), wait);
        assert_eq!(listener.accept().unwrap_err().kind(), wait);
    });
}

/// A connection that is refused to be waited for is not begun.
#[test]
fn connect_does_not_begin() {
    let _dog = watchdog("connect_does_not_begin");
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let addr = listener.local_addr().unwrap();
    on_worker(move || {
        panic_of(|| TcpStream::connect(addr));
        // Other addresses are not tried either.
        panic_of(|| TcpStream::connect(&[addr, addr][..]));
    });
    let error = listener.accept().unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn what_does_not_wait_works() {
    let _dog = watchdog("what_does_not_wait_works");
    let (near, far) = pair();
    on_worker(move || {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.local_addr().unwrap();
        listener.try_clone().unwrap();
        listener.set_ttl(9).unwrap();
        near.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
        near.try_clone().unwrap();
        assert!(near.take_error().unwrap().is_none());
        assert_eq!(near.peer_addr().unwrap(), far.local_addr().unwrap());
        near.shutdown(Shutdown::Both).unwrap();
        (&near).flush().unwrap();
        assert!(format!("{near:?} {listener:?}").contains("fd"));
    });
}

/// Sockets that end with a task, on a worker's own stack, leave nothing behind.
#[test]
fn sockets_dropped_by_a_task() {
    let _dog = watchdog("sockets_dropped_by_a_task");
    let runtime = runtime(1);
    let (near, far) = pair();
    let near = Arc::new(near);
    let in_task = Arc::clone(&near);
    let task = runtime.run(move || {
        (&far).write_all(b"x").unwrap();
        (&*in_task).read_exact(&mut [0]).unwrap();
        tokio::spawn(async move {
            let _held = (in_task, far);
            std::future::pending::<()>().await;
        })
    });
    assert_eq!(Arc::strong_count(&near), 2);
    // The task is dropped with its runtime.
    drop(runtime);
    assert_eq!(Arc::strong_count(&near), 1);
    assert!(task.is_finished());
    assert_eq!((&*near).read(&mut [0]).unwrap(), 0);
}
