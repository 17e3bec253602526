//! The `chat` and `kv` commands.

use std::io::{self, Write};
use std::process::ExitCode;

use clap::Args;

use super::{fibers, threads};
use crate::descriptors;

/// Which of the two servers.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Which {
    Chat,
    Kv,
}

#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Where to listen; port 0 takes a free one
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7070")]
    addr: String,
    /// On std's threads, not on fibers
    #[arg(long)]
    threads: bool,
}

pub(crate) fn run(which: Which, options: &Options) -> ExitCode {
    descriptors::raise();
    let addr = &*options.addr;
    let never = match options.threads {
        true => on_threads(which, addr),
        false => sisal::run(|| on_fibers(which, addr)),
    };
    let Err(error) = never;
    eprintln!("error: cannot listen on {addr}: {error}; pass HOST:PORT with --addr");
    ExitCode::FAILURE
}

fn on_threads(which: Which, addr: &str) -> io::Result<std::convert::Infallible> {
    let listener = std::net::TcpListener::bind(addr)?;
    announce(listener.local_addr()?);
    match which {
        Which::Chat => threads::chat::serve(&listener),
        Which::Kv => threads::kv::serve(&listener),
    }
}

fn on_fibers(which: Which, addr: &str) -> io::Result<std::convert::Infallible> {
    let listener = sisal::net::TcpListener::bind(addr)?;
    announce(listener.local_addr()?);
    match which {
        Which::Chat => fibers::chat::serve(&listener),
        Which::Kv => fibers::kv::serve(&listener),
    }
}

fn announce(addr: std::net::SocketAddr) {
    // A closed stdout is no reason not to serve.
    let _ = writeln!(io::stdout(), "listening on {addr}");
}
