//! `Child`.

use std::fmt;
use std::io::{self, Read};
use std::mem::ManuallyDrop;
use std::os::fd::{AsFd, OwnedFd};
use std::process::{self, ExitStatus, Output};

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::NAMES;
use super::streams::{ChildStderr, ChildStdin, ChildStdout};
use crate::current::{self, ThreadState};
use crate::io::Pipe;
use crate::io::ready::{For, ready};
use crate::unblock::unblock_call;

#[cfg(all(test, not(sisal_loom), not(miri)))]
mod tests;

/// A child process, as [`std::process::Child`].
///
/// Dropping it neither ends the child nor waits for it. On a worker (in a fiber or an async task) the system's record of a child
/// that was dropped is cleared when the child ends, for as long as the runtime is there; on a plain thread it
/// stays, as with std: wait for it.
pub struct Child {
    /// Standard input, if it is piped.
    pub stdin: Option<ChildStdin>,
    /// Standard output, if it is piped.
    pub stdout: Option<ChildStdout>,
    /// Standard error, if it is piped.
    pub stderr: Option<ChildStderr>,
    end: ManuallyDrop<End>,
}

/// A process that may have to be waited for.
struct End {
    child: process::Child,
    /// Where it can be waited for by a reactor.
    pidfd: Option<OwnedFd>,
    reaped: bool,
}

impl End {
    /// Whether it has ended. Then the system's record of it is gone, and its number may be another's.
    fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        let status = self.child.try_wait()?;
        self.reaped = status.is_some();
        Ok(status)
    }
}

impl Child {
    /// # Errors
    /// The operating system's, for the pipes. The child then goes on.
    pub(super) fn new(mut child: process::Child) -> io::Result<Child> {
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        // Before it was waited for its number is nobody else's.
        let pidfd = pid.and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok());
        let stdin = child.stdin.take().map(OwnedFd::from);
        let stdout = child.stdout.take().map(OwnedFd::from);
        let stderr = child.stderr.take().map(OwnedFd::from);
        let pipe = |fd: Option<OwnedFd>| fd.map(|fd| Pipe::new(fd, NAMES)).transpose();
        let (stdin, stdout, stderr) = (pipe(stdin)?, pipe(stdout)?, pipe(stderr)?);
        let reaped = false;
        let end = ManuallyDrop::new(End {
            child,
            pidfd,
            reaped,
        });
        Ok(Child {
            stdin: stdin.map(ChildStdin),
            stdout: stdout.map(ChildStdout),
            stderr: stderr.map(ChildStderr),
            end,
        })
    }

    /// The number of the process.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.end.child.id()
    }

    /// Ends it by `SIGKILL`. One that has been waited for is left alone. See [`std::process::Child::kill`].
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill(&mut self) -> io::Result<()> {
        self.end.child.kill()
    }

    /// How it ended, if it has. Never waits.
    ///
    /// # Errors
    /// The operating system's.
    pub fn try_wait(&mut self) -> io::Result<Option<ExitStatus>> {
        self.end.try_wait()
    }

    /// Closes its standard input, if that is here, and waits until it has ended. See [`std::process::Child::wait`].
    ///
    /// # Errors
    /// The operating system's.
    ///
    /// # Panics
    /// On a worker's own stack: use `tokio::process` there.
    ///
    /// # Cancellation
    /// A suspension point while it waits: the child goes on, and may be waited for again. (Without a pidfd it is one as it
    /// begins, and the wait cannot be cut short.)
    #[track_caller]
    pub fn wait(&mut self) -> io::Result<ExitStatus> {
        current::forbid_worker(NAMES.0, NAMES.1);
        drop(self.stdin.take());
        loop {
            if let Some(status) = self.end.try_wait()? {
                return Ok(status);
            }
            let End { child, pidfd, .. } = &mut *self.end;
            match pidfd {
                Some(pidfd) => ready(&[pidfd.as_fd()], For::Reading)?,
                None => drop(unblock_call(NAMES.0, NAMES.1, || child.wait())?),
            }
        }
    }

    /// Closes its standard input, reads the other two streams to their ends, and waits until it has ended. See
    /// [`std::process::Child::wait_with_output`].
    ///
    /// # Errors
    /// The operating system's.
    ///
    /// # Panics
    /// On a worker's own stack: use `tokio::process` there.
    ///
    /// # Cancellation
    /// A suspension point while it waits: the child goes on, what was read is lost.
    #[track_caller]
    pub fn wait_with_output(mut self) -> io::Result<Output> {
        current::forbid_worker(NAMES.0, NAMES.1);
        drop(self.stdin.take());
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        match (self.stdout.take(), self.stderr.take()) {
            (Some(out), Some(err)) => {
                Pipe::read_both((out.0, &mut stdout), (err.0, &mut stderr))?;
            }
            (Some(mut out), None) => drop(out.read_to_end(&mut stdout)?),
            (None, Some(mut err)) => drop(err.read_to_end(&mut stderr)?),
            (None, None) => {}
        }
        let status = self.wait()?;
        Ok(Output {
            status,
            stdout,
            stderr,
        })
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // SAFETY: here only, and it is not used again.
        let mut end = unsafe { ManuallyDrop::take(&mut self.end) };
        if end.reaped || !matches!(end.try_wait(), Ok(None)) {
            return;
        }
        if let ThreadState::Fiber(_) | ThreadState::Worker = current::state() {
            reap_later(end);
        }
    }
}

/// Has the system's record cleared when the child ends.
fn reap_later(mut end: End) {
    let Some(pidfd) = end.pidfd.take() else {
        return;
    };
    let reap = async move {
        // SAFETY: the registration owns the descriptor, which stays what it is.
        let ended = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
        let Ok(ended) = ended else {
            return;
        };
        if ended.readable().await.is_ok() {
            let _ = end.try_wait();
        }
    };
    // A task, for it takes no stack. The end of the runtime drops it.
    current::with_reactor(|| drop(tokio::spawn(reap)));
}

impl fmt::Debug for Child {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut f = f.debug_struct("Child");
        f.field("id", &self.id());
        f.field("stdin", &self.stdin).field("stdout", &self.stdout);
        f.field("stderr", &self.stderr).finish_non_exhaustive()
    }
}
