//! Echo: the servers, one for each peer, as their documentation writes them. One worker each.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;

use super::server::Serve;

/// What is sent and comes back. It starts with the number of the request.
pub(super) const MESSAGE: usize = 64;

const BUFFER: usize = 4096;

pub(super) const SERVERS: &[(&str, Serve)] = &[
    ("sisal", sisal),
    ("tokio current_thread", tokio),
    ("may", may),
];

pub(super) fn is_answered(number: u64, received: &[u8]) -> io::Result<bool> {
    if received.len() < MESSAGE {
        return Ok(false);
    }
    let (start, rest) = received.split_at(8);
    if start == number.to_le_bytes() && rest.len() == MESSAGE - 8 && rest.iter().all(|&b| b == 0) {
        Ok(true)
    } else {
        Err(io::Error::other("that was not sent"))
    }
}

fn sisal(bound: &Sender<SocketAddr>) -> io::Result<()> {
    use sisal::net::TcpListener;

    let runtime = sisal::Runtime::builder().workers(1).build()?;
    let bound = bound.clone();
    runtime.run(move || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let _ = bound.send(listener.local_addr()?);
        loop {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            sisal::spawn(move || {
                let mut buffer = [0; BUFFER];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
            });
        }
    })
}

fn tokio(bound: &Sender<SocketAddr>) -> io::Result<()> {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let _ = bound.send(listener.local_addr()?);
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            tokio::spawn(async move {
                let mut buffer = [0; BUFFER];
                while let Ok(n @ 1..) = stream.read(&mut buffer).await {
                    if stream.write_all(&buffer[..n]).await.is_err() {
                        break;
                    }
                }
            });
        }
    })
}

fn may(bound: &Sender<SocketAddr>) -> io::Result<()> {
    use may::net::TcpListener;

    may::config().set_workers(1).set_worker_pin(false);
    let bound = bound.clone();
    let acceptor = may::go!(move || -> io::Result<()> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let _ = bound.send(listener.local_addr()?);
        loop {
            let (mut stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            may::go!(move || {
                // Its documentation has the buffer in the heap: the stack is small.
                let mut buffer = vec![0; BUFFER];
                while let Ok(n @ 1..) = stream.read(&mut buffer) {
                    if stream.write_all(&buffer[..n]).is_err() {
                        break;
                    }
                }
            });
        }
    });
    let ended = acceptor.join();
    ended.map_err(|_| io::Error::other("the acceptor panicked"))?
}
