//! The echo servers, one for each peer, as their documentation writes them. One worker each.

use std::io::{self, BufRead, Read, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;

use rustix::time::{ClockId, clock_gettime};

use crate::pin;

const BUFFER: usize = 4096;

/// An echo server for the driver: says its port, then its CPU time whenever it is sent a line.
#[derive(Clone, Debug, clap::Args)]
pub struct Server {
    /// Who serves
    peer: String,
    /// The processor to run on
    cpu: usize,
}

pub(super) const PEERS: [&str; 3] = ["sisal", "tokio current_thread", "may"];

impl Server {
    /// Serves until standard input ends.
    pub fn serve(&self) -> ExitCode {
        match self.answer() {
            Ok(()) => std::process::exit(0),
            Err(error) => {
                eprintln!("echo server, {}: {error}", self.peer);
                ExitCode::FAILURE
            }
        }
    }

    fn answer(&self) -> io::Result<()> {
        super::client::raise_descriptors()?;
        pin::pin(&[self.cpu])?;
        let run = match self.peer.as_str() {
            "sisal" => sisal,
            "tokio current_thread" => tokio,
            "may" => may,
            other => return Err(io::Error::other(format!("nobody is called {other}"))),
        };
        let (tx, rx) = mpsc::channel();
        thread::spawn(move || {
            if let Err(error) = run(&tx) {
                eprintln!("echo server: {error}");
                std::process::exit(1);
            }
        });
        let address = rx.recv().map_err(io::Error::other)?;
        let mut out = io::stdout();
        writeln!(out, "{}", address.port())?;
        for line in io::stdin().lock().lines() {
            line?;
            let time = clock_gettime(ClockId::ProcessCPUTime);
            writeln!(out, "{}", time.tv_sec * 1_000_000_000 + time.tv_nsec)?;
        }
        Ok(())
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
