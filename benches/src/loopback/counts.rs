//! What does not jitter: system calls per request by strace, user-space instructions per request by callgrind.
//!
//! A server answers some requests in one run and twice as many in another; the difference is those requests.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::{env, fs, process};

use super::Protocol;
use super::compare::{client, server_arguments};
use crate::instructions::collected;
use crate::process::Process;

#[derive(Clone, Copy, Debug)]
pub(super) enum Counter {
    SystemCalls,
    Instructions,
}

impl Counter {
    pub(super) fn unit(self) -> &'static str {
        match self {
            Counter::SystemCalls => "calls",
            Counter::Instructions => "instructions",
        }
    }

    /// The program that counts, and its arguments but for what it runs.
    fn command(self, log: &Path) -> (&'static str, Vec<String>) {
        let log = log.display();
        match self {
            Counter::SystemCalls => (
                "strace",
                vec!["-f".into(), "-c".into(), "-o".into(), format!("{log}")],
            ),
            Counter::Instructions => (
                "valgrind",
                vec![
                    "--tool=callgrind".into(),
                    "--callgrind-out-file=/dev/null".into(),
                    format!("--log-file={log}"),
                ],
            ),
        }
    }

    fn read(self, log: &str) -> Option<u64> {
        match self {
            Counter::SystemCalls => calls(log),
            Counter::Instructions => collected(log),
        }
    }

    /// Per request.
    pub(super) fn count(
        self,
        program: &Path,
        protocol: Protocol,
        peer: &str,
        connections: u64,
        requests: u64,
        cpus: [usize; 2],
    ) -> io::Result<f64> {
        let once = self.total(program, protocol, peer, connections, requests, cpus)?;
        let twice = self.total(program, protocol, peer, connections, 2 * requests, cpus)?;
        Ok((twice as f64 - once as f64) / requests as f64)
    }

    fn total(
        self,
        program: &Path,
        protocol: Protocol,
        peer: &str,
        connections: u64,
        requests: u64,
        cpus: [usize; 2],
    ) -> io::Result<u64> {
        let log = temporary();
        let (counter, mut arguments) = self.command(&log);
        arguments.push(program.display().to_string());
        arguments.extend(server_arguments(protocol, peer, cpus));
        let (server, port) = Process::start(Path::new(counter), &arguments)?;
        let mut client = client(program, protocol, &port, connections, cpus)?;
        client.tell(&format!("{requests} 0"))?;
        // The server first: what it does about connections that end is not counted.
        drop(server);
        drop(client);
        let text = fs::read_to_string(&log)?;
        fs::remove_file(&log)?;
        let found = self.read(&text);
        found.ok_or_else(|| io::Error::other(format!("{counter} said: {text}")))
    }
}

fn temporary() -> PathBuf {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let name = format!(
        "sisal-bench-{}-{}",
        process::id(),
        NEXT.fetch_add(1, Relaxed)
    );
    env::temp_dir().join(name)
}

/// The line of all calls: percent, seconds, microseconds each, calls, errors if any, `total`.
fn calls(log: &str) -> Option<u64> {
    let total = log.lines().find(|line| line.ends_with(" total"))?;
    total.split_whitespace().nth(3)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_of_calls_is_found() {
        let log = "% time     seconds  usecs/call     calls    errors syscall\n\
                   ------ ----------- ----------- --------- --------- ----------------\n \
                   60.00    0.000600           3       200        10 read\n\
                   100.00    0.001000           2       402        10 total\n";
        assert_eq!(calls(log), Some(402));
        assert_eq!(calls("strace: no"), None);
    }
}
