//! The `serve` command: from options to a running server, and from a signal to the exit code.

use std::fmt::Display;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};

use super::files::Root;
use super::log::Log;
use super::options::Options;
use super::rt::net::TcpListener;
use super::rt::{self, Runtime, fiber};
use super::server::{Server, StopHandle};
use crate::descriptors;

/// What fibers that were cut off, or that only wait for a signal, get to end in.
const FAREWELL: Duration = Duration::from_secs(1);

pub(crate) fn run(options: Options) -> ExitCode {
    match serve(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            eprintln!("error: {complaint}");
            ExitCode::FAILURE
        }
    }
}

/// An error is one line that says what is wrong and what to do.
fn serve(options: Options) -> Result<(), String> {
    // Listen on everything that can be wrong before a thread is started.
    let root = open_root(&options)?;
    let (listener, addr) = listen(&options.addr)?;
    let _log = Log::start("info").map_err(|error| format!("cannot start a thread: {error}"))?;
    descriptors::raise();
    let mut builder = Runtime::builder().thread_name("serve");
    if let Some(workers) = options.workers {
        builder = builder.workers(workers.get());
    }
    let runtime = builder
        .build()
        .map_err(|error| format!("cannot start the runtime: {error}; try fewer --workers"))?;
    let server = Server::new(listener, root, options.limits);
    let outcome = runtime.run(|| serve_until_signal(server, addr));
    if let Err(unfinished) = runtime.shutdown_timeout(FAREWELL) {
        tracing::error!("{unfinished}");
    }
    outcome.map_err(|error| format!("cannot wait for signals: {error}"))
}

fn serve_until_signal(server: Server, addr: SocketAddr) -> io::Result<()> {
    let signals = Signals::listen(server.stop_handle())?;
    let obeying = fiber::Builder::new().name("signals".to_owned());
    // Nobody joins it: it waits for signals as long as the runtime lives.
    drop(obeying.spawn(move || signals.obey())?);
    // Only now: whoever reads this line may send a signal at once. A closed stdout is no reason not
    // to serve.
    let _ = writeln!(io::stdout(), "listening on http://{addr}");
    let cut = server.run();
    tracing::info!(cut, "stopped");
    Ok(())
}

fn open_root(options: &Options) -> Result<Root, String> {
    let root = options.root.display();
    Root::open(&options.root).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => {
            format!("there is no directory `{root}`: pass an existing one with --root")
        }
        io::ErrorKind::NotADirectory => {
            format!("`{root}` is not a directory: pass one with --root")
        }
        _ => format!("cannot open the directory `{root}`: {error}; pass another with --root"),
    })
}

fn listen(addr: &str) -> Result<(TcpListener, SocketAddr), String> {
    let cannot =
        |error: &dyn Display, advice| format!("cannot listen on {addr}: {error}; {advice}");
    let listener = TcpListener::bind(addr).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => cannot(
            &"the address is in use",
            "stop the other server or pass another port with --addr (port 0 takes a free one)",
        ),
        io::ErrorKind::PermissionDenied => cannot(
            &"permission denied",
            "ports below 1024 need privileges, pass a higher one with --addr",
        ),
        io::ErrorKind::AddrNotAvailable => cannot(
            &"this machine does not have the address",
            "pass one it has with --addr, such as 0.0.0.0:8080",
        ),
        _ => cannot(&error, "pass HOST:PORT with --addr, such as 127.0.0.1:8080"),
    })?;
    let bound = listener
        .local_addr()
        .map_err(|error| cannot(&error, "pass another address with --addr"))?;
    Ok((listener, bound))
}

/// SIGINT and SIGTERM: the first stops in good order, the second at once.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    stop: StopHandle,
}

impl Signals {
    fn listen(stop: StopHandle) -> io::Result<Signals> {
        // Registers with the reactor of the current worker, hence the `block_on`.
        rt::block_on(async {
            Ok(Signals {
                interrupt: signal(SignalKind::interrupt())?,
                terminate: signal(SignalKind::terminate())?,
                stop,
            })
        })
    }

    fn obey(mut self) {
        self.wait();
        tracing::info!("stopping; requests in flight are answered first");
        self.stop.stop();
        self.wait();
        tracing::info!("stopping at once");
        self.stop.stop_now();
    }

    fn wait(&mut self) {
        rt::block_on(async {
            tokio::select! {
                _ = self.interrupt.recv() => {}
                _ = self.terminate.recv() => {}
            }
        });
    }
}
