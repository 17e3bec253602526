//! Stop 2: a thousand keep-alive connections against the file server, both in this process.
//!
//! The server is the one of `serve`: blocking-style code, a fiber a connection, on a Sisal runtime
//! of its own. The clients are async code on tokio. Every response is compared byte for byte.

use std::io::{IsTerminal, Write, stdout};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinSet;

use super::client::Client;
use super::samples::Samples;
use crate::descriptors;
use crate::serve::{Limits, Root, Server};

const CLIENTS: usize = 1_000;
const REQUESTS: usize = 100_000;

/// On a slow machine, or in a debug build, the clients stop here; what they did still counts.
const ENOUGH: Duration = Duration::from_secs(10);

/// Two descriptors a connection, since both ends are ours, and what else a process has open.
const SPARE: u64 = 200;

/// What the clients saw.
#[derive(Debug, Default)]
struct Outcome {
    /// One for every response that was right.
    latencies: Vec<Duration>,
    errors: Vec<String>,
}

pub(super) fn show() -> Result<(), String> {
    descriptors::raise();
    let clients = CLIENTS.min((descriptors::most().saturating_sub(SPARE) / 2) as usize);
    let samples = Samples::new().map_err(|error| format!("cannot write files: {error}"))?;
    let root =
        Root::open(samples.root()).map_err(|error| format!("cannot open the root: {error}"))?;
    let listener = sisal::net::TcpListener::bind("127.0.0.1:0")
        .map_err(|error| format!("cannot listen: {error}"))?;
    let addr = listener
        .local_addr()
        .map_err(|error| format!("no address: {error}"))?;
    let server = Server::new(listener, root, Limits::default());
    let stop = server.stop_handle();
    let runtime = sisal::Runtime::builder()
        .thread_name("serve")
        .build()
        .map_err(|error| format!("cannot start a runtime: {error}"))?;
    let serving = runtime.spawn(move || server.run());

    let begun = Instant::now();
    let outcome = drive(addr, clients, samples);
    let elapsed = begun.elapsed();

    stop.stop();
    let cut = serving.join().map_err(|error| error.to_string())?;
    let ended = runtime.shutdown_timeout(Duration::from_secs(1));
    ended.map_err(|unfinished| unfinished.to_string())?;
    report(outcome?, clients, elapsed)?;
    match cut {
        0 => Ok(()),
        cut => Err(format!("{cut} connections did not end with their clients")),
    }
}

/// Runs the clients on tokio until all of them are done.
fn drive(addr: SocketAddr, clients: usize, samples: Samples) -> Result<Outcome, String> {
    let tokio = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| format!("cannot start tokio: {error}"))?;
    let samples = Arc::new(samples);
    let done = Arc::new(AtomicUsize::new(0));
    tokio.block_on(async {
        let deadline = Instant::now() + ENOUGH;
        let mut connections = JoinSet::new();
        for number in 0..clients {
            let (samples, done) = (Arc::clone(&samples), Arc::clone(&done));
            connections.spawn(async move {
                one(number, addr, REQUESTS / clients, deadline, &samples, &done).await
            });
        }
        let mut progress = Progress::new();
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        let mut all = Outcome::default();
        loop {
            tokio::select! {
                joined = connections.join_next() => match joined {
                    Some(Ok(outcome)) => {
                        all.latencies.extend(outcome.latencies);
                        all.errors.extend(outcome.errors);
                    }
                    Some(Err(error)) => all.errors.push(error.to_string()),
                    None => break,
                },
                // Relaxed: a number to look at.
                _ = tick.tick() => progress.show(&format!(
                    "{} of {REQUESTS} requests",
                    done.load(Ordering::Relaxed)
                )),
            }
        }
        progress.clear();
        Ok(all)
    })
}

/// One client: its requests one after the other, until they are done, it is late, or something is
/// wrong.
async fn one(
    number: usize,
    addr: SocketAddr,
    requests: usize,
    deadline: Instant,
    samples: &Samples,
    done: &AtomicUsize,
) -> Outcome {
    let mut outcome = Outcome::default();
    let mut client = match Client::connect(addr).await {
        Ok(client) => client,
        Err(error) => {
            outcome.errors.push(error);
            return outcome;
        }
    };
    for request in 0..requests {
        match client.fetch(samples.pick(number, request)).await {
            Ok(latency) => outcome.latencies.push(latency),
            Err(error) => {
                outcome.errors.push(error);
                break;
            }
        }
        done.fetch_add(1, Ordering::Relaxed);
        if Instant::now() > deadline {
            break;
        }
    }
    outcome
}

fn report(mut outcome: Outcome, clients: usize, elapsed: Duration) -> Result<(), String> {
    if let Some(first) = outcome.errors.first() {
        return Err(format!(
            "{} clients failed, one with: {first}",
            outcome.errors.len()
        ));
    }
    outcome.latencies.sort_unstable();
    let total = outcome.latencies.len();
    if total < clients {
        return Err(format!("{clients} clients made only {total} requests"));
    }
    let rank = |percent: usize| outcome.latencies[(total - 1) * percent / 100].as_secs_f64() * 1e3;
    println!(
        "   {clients} keep-alive connections, {total} requests, every byte checked, no error: {:.1} s",
        elapsed.as_secs_f64()
    );
    println!(
        "   {:.0} requests/s; latency p50 {:.1} ms, p99 {:.1} ms (clients and server share the cores)",
        total as f64 / elapsed.as_secs_f64(),
        rank(50),
        rank(99)
    );
    Ok(())
}

/// A line that is written over: on a terminal only, so that a log of the tour stays short.
#[derive(Debug)]
pub(super) struct Progress {
    terminal: bool,
}

impl Progress {
    pub(super) fn new() -> Progress {
        Progress {
            terminal: stdout().is_terminal(),
        }
    }

    pub(super) fn show(&mut self, line: &str) {
        self.write(&format!("\r\x1b[K   {line}"));
    }

    pub(super) fn clear(&mut self) {
        self.write("\r\x1b[K");
    }

    fn write(&mut self, text: &str) {
        if self.terminal {
            // Decoration: if it cannot be written, it is not missed.
            let _ = stdout().write_all(text.as_bytes());
            let _ = stdout().flush();
        }
    }
}
