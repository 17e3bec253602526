//! Fibers in tokio-console.
//!
//! `cargo run` in this folder runs fibers of several kinds for a minute; in another terminal `tokio-console` shows them.
//! `cargo run -- check` looks by itself, at a server of its own on a free port, and fails unless it sees what the fibers did.

mod check;
mod server;
mod work;

use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

/// Where `tokio-console` looks by default.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 6669);

fn main() -> ExitCode {
    let result = match std::env::args().nth(1).as_deref() {
        None => look(),
        Some("check") => check::run(),
        Some(other) => Err(format!("`{other}`: the one command is `check`").into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

type Result = std::result::Result<(), Box<dyn std::error::Error + Send + Sync>>;

fn look() -> Result {
    let address = server::start(ADDRESS, Duration::from_secs(1))?;
    println!("for a minute: tokio-console http://{address}");
    let runtime = sisal::Runtime::new()?;
    for _ in 0..60 {
        let work = work::Work::start(&runtime);
        runtime.run(|| sisal::fiber::sleep(Duration::from_secs(1)));
        work.end(&runtime);
    }
    Ok(())
}
