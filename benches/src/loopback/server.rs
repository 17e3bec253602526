//! A server's process: its processor, its port, and what it says of its CPU time. What it serves is elsewhere.

use std::io::{self, BufRead, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{self, Sender};
use std::thread;

use rustix::time::{ClockId, clock_gettime};

use super::Protocol;
use crate::pin;

/// Serves for ever, with one worker, once it has said where.
pub(super) type Serve = fn(&Sender<SocketAddr>) -> io::Result<()>;

/// A server for the driver: says its port, then its CPU time whenever it is sent a line.
#[derive(Clone, Debug, clap::Args)]
pub struct Server {
    /// What is spoken
    protocol: Protocol,
    /// Who serves
    peer: String,
    /// The processor to run on
    cpu: usize,
}

impl Server {
    /// Serves until standard input ends.
    pub fn serve(&self) -> ExitCode {
        match self.answer() {
            Ok(()) => std::process::exit(0),
            Err(error) => {
                eprintln!("{} server, {}: {error}", self.protocol.name(), self.peer);
                ExitCode::FAILURE
            }
        }
    }

    fn answer(&self) -> io::Result<()> {
        super::client::raise_descriptors()?;
        pin::pin(&[self.cpu])?;
        let mut servers = self.protocol.servers().iter();
        let Some(&(_, serve)) = servers.find(|(peer, _)| *peer == self.peer) else {
            return Err(io::Error::other("nobody is called so"));
        };
        let (tx, rx) = mpsc::channel();
        thread::spawn(move || {
            if let Err(error) = serve(&tx) {
                eprintln!("server: {error}");
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
