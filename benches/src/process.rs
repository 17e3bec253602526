//! The driver's end of a side: a child process and the pipes to it.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

/// A side that says nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running side. It ends when this is dropped.
pub(crate) struct Process {
    child: Child,
    /// Taken when it is to end.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

impl Process {
    /// Starts `program` and waits until it is ready: that is its first line.
    pub(crate) fn start(program: &Path, arguments: &[String]) -> io::Result<(Process, String)> {
        let mut child = Command::new(program)
            .args(arguments)
            // A peer that gives up is one line of the report.
            .env("RUST_BACKTRACE", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it was asked for");
        let (tx, lines) = mpsc::channel();
        // A read has no deadline, a channel has. The thread ends with the child.
        thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| tx.send(line))
        });
        let mut process = Process {
            child,
            stdin,
            lines,
        };
        let said = process.line()?;
        Ok((process, said))
    }

    /// Has it do so many units and hands back what they took.
    pub(crate) fn ask(&mut self, units: u64) -> io::Result<u64> {
        self.tell(&units.to_string())?
            .parse()
            .map_err(io::Error::other)
    }

    /// Sends a line and hands back the answer.
    pub(crate) fn tell(&mut self, line: &str) -> io::Result<String> {
        let stdin = self.stdin.as_mut().expect("taken only at the end");
        // Who has died says why by its exit status, which is better than a broken pipe.
        let _ = writeln!(stdin, "{line}");
        self.line()
    }

    fn line(&mut self) -> io::Result<String> {
        match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                self.child.kill()?;
                Err(io::Error::other(format!(
                    "no answer within {} s",
                    PATIENCE.as_secs()
                )))
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = self.child.wait()?;
                Err(io::Error::other(format!("it ended: {status}")))
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input is the end of a side that works; one that does not has been killed.
        drop(self.stdin.take());
        let _ = self.child.wait();
    }
}
