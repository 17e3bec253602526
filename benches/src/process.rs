//! The driver's end of a side: a child process and the pipes to it.

use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use crate::complaint::Complaint;

/// A side that says nothing for so long is stuck.
const PATIENCE: Duration = Duration::from_secs(120);

/// Who has ended has closed its pipes, unless a child of its own still has them.
const AFTER_THE_END: Duration = Duration::from_secs(2);

/// A running side. It ends when this is dropped.
pub(crate) struct Process {
    child: Child,
    /// What was started, for whoever reads what it complains of.
    name: String,
    /// Taken when it is to end.
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
    /// Comes when its standard error is closed.
    complaint: Receiver<Complaint>,
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
            .stderr(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().expect("it was asked for");
        let stderr = child.stderr.take().expect("it was asked for");
        let (tx, lines) = mpsc::channel();
        // A read has no deadline, a channel has. The threads end with the child.
        thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| tx.send(line))
        });
        let (tx, complaint) = mpsc::channel();
        thread::spawn(move || tx.send(Complaint::read(BufReader::new(stderr))));
        let mut process = Process {
            child,
            name: arguments.join(" "),
            stdin,
            lines,
            complaint,
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
        // Who has died says why, which is better than a broken pipe.
        let _ = writeln!(stdin, "{line}");
        self.line()
    }

    fn line(&mut self) -> io::Result<String> {
        let how = match self.lines.recv_timeout(PATIENCE) {
            Ok(line) => return Ok(line),
            Err(RecvTimeoutError::Timeout) => {
                self.child.kill()?;
                format!("no answer within {} s", PATIENCE.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => format!("it ended: {}", self.child.wait()?),
        };
        let complaint = self.complaint.recv_timeout(AFTER_THE_END);
        let reason = complaint.ok().and_then(|complaint| complaint.reason());
        Err(io::Error::other(match reason {
            Some(reason) => format!("{how}: {reason}"),
            None => how,
        }))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The end of its input is the end of a side that works; one that does not has been killed.
        drop(self.stdin.take());
        let _ = self.child.wait();
        // The reason of an end has been taken. What a side said that went on is nowhere else.
        if let Ok(complaint) = self.complaint.recv_timeout(AFTER_THE_END) {
            complaint.pass_on(&self.name, &mut io::stderr());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> io::Result<(Process, String)> {
        Process::start(Path::new("sh"), &["-c".to_owned(), script.to_owned()])
    }

    #[test]
    fn who_ends_says_why_and_floods_nobody() {
        let flood = "echo ready; read line; echo 'no stack: Cannot allocate memory' >&2
                     seq 200000 >&2; exit 101";
        let (mut process, said) = shell(flood).expect("there is a shell");
        assert_eq!(said, "ready");
        let why = process.ask(1).unwrap_err().to_string();
        let expected = "it ended: exit status: 101: no stack: Cannot allocate memory";
        assert_eq!(why, expected);
    }

    #[test]
    fn who_ends_before_it_is_ready_says_why_too() {
        let why = shell("echo 'no such row' >&2; exit 1")
            .err()
            .expect("it ended");
        assert_eq!(why.to_string(), "it ended: exit status: 1: no such row");
        let why = shell("exit 3").err().expect("it ended");
        assert_eq!(why.to_string(), "it ended: exit status: 3");
    }

    #[test]
    fn who_complains_and_goes_on_is_asked_again() {
        let (mut process, _) =
            shell("echo ready; while read line; do echo oh >&2; echo $line; done").unwrap();
        for units in 1..4 {
            assert_eq!(process.ask(units).unwrap(), units);
        }
        drop(process.stdin.take());
        let complaint = process.complaint.recv().unwrap();
        let mut passed = Vec::new();
        complaint.pass_on("a shell", &mut passed);
        assert_eq!(passed, b"a shell: oh\na shell: oh\na shell: oh\n");
    }
}
