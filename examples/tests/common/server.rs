use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};

use super::{Client, PATIENCE, Tree};

/// The built binary, serving; killed at the end if it still runs.
pub(crate) struct Server {
    child: Child,
    addr: SocketAddr,
    log: Receiver<String>,
}

impl Server {
    pub(crate) fn start(tree: &Tree, options: &[&str]) -> Server {
        Server::launch(&tree.root(), options, Stdio::piped())
    }

    /// As `start`, with its log sent elsewhere.
    pub(crate) fn start_with_log(tree: &Tree, log: impl Into<Stdio>) -> Server {
        Server::launch(&tree.root(), &[], log.into())
    }

    fn launch(root: &Path, options: &[&str], log: Stdio) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sisal-tour"))
            .args(["serve", "--addr", "127.0.0.1:0", "--root"])
            .arg(root)
            .args(options)
            .env_remove("RUST_LOG")
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let log = match child.stderr.take() {
            Some(log) => lines(log),
            None => mpsc::channel().1,
        };
        let out = lines(child.stdout.take().unwrap());
        let line = out
            .recv_timeout(PATIENCE)
            .expect("the server says where it listens");
        let addr = line
            .strip_prefix("listening on http://")
            .unwrap_or_else(|| panic!("unexpected: {line}"));
        Server {
            addr: addr.parse().unwrap(),
            child,
            log,
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(self.addr)
    }

    /// Waits for a line of the log that contains all of these, and returns it.
    pub(crate) fn wait_for_log(&self, words: &[&str]) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match self
                .log
                .recv_timeout(deadline.saturating_duration_since(Instant::now()))
            {
                Ok(line) if words.iter().all(|word| line.contains(word)) => return line,
                Ok(line) => seen.push(line),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    panic!("no log line with {words:?} in {seen:#?}")
                }
            }
        }
    }

    /// What is still in the log of a server that has ended.
    pub(crate) fn rest_of_log(&self) -> Vec<String> {
        self.log.iter().collect()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let process = pidfd_open(self.pid(), PidfdFlags::empty()).unwrap();
        let limit = Timespec {
            tv_sec: PATIENCE.as_secs() as i64,
            tv_nsec: 0,
        };
        let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&limit)).unwrap();
        assert_eq!(ended, 1, "the server does not end");
        self.child.wait().unwrap()
    }

    /// SIGTERM, and the exit code that a good end has.
    pub(crate) fn stop(mut self) {
        self.signal(Signal::TERM);
        assert_eq!(self.wait().code(), Some(0));
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A thread reads, so that the server never waits for the test to.
fn lines(from: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}
