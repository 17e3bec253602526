//! `Command`.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::Path;
use std::process::{self, CommandArgs, CommandEnvs, ExitStatus, Output, Stdio};

use super::NAMES;
use super::child::Child;
use crate::unblock::unblock_call;

/// A process to be started, as [`std::process::Command`]. More of it is in [`CommandExt`](crate::os::unix::process::CommandExt).
///
/// # Panics
/// `spawn`, `output` and `status`, on a worker's own stack: use `tokio::process` there.
///
/// # Cancellation
/// They are suspension points as they begin; `output` and `status` also while they wait, and the child goes on then.
///
/// ```
/// use std::io::Write;
/// use sisal::process::{Command, Stdio};
///
/// sisal::run(|| -> std::io::Result<()> {
///     let mut sort = Command::new("sort").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
///     sort.stdin.take().unwrap().write_all(b"two\none\n")?;
///     assert_eq!(sort.wait_with_output()?.stdout, b"one\ntwo\n");
///     assert_eq!(Command::new("false").status()?.code(), Some(1));
///     Ok(())
/// })
/// .unwrap();
/// ```
pub struct Command {
    pub(crate) inner: process::Command,
    /// Streams whose place was said: input, output, error. `output` pipes the others.
    said: [bool; 3],
}

impl Command {
    /// To start `program`, with no arguments, in this process's environment and folder. See [`std::process::Command::new`].
    pub fn new<S: AsRef<OsStr>>(program: S) -> Command {
        Command {
            inner: process::Command::new(program),
            said: [false; 3],
        }
    }

    /// One more argument.
    pub fn arg<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command {
        self.inner.arg(arg);
        self
    }

    /// More arguments.
    pub fn args<I, S>(&mut self, args: I) -> &mut Command
    where
        I: IntoIterator<Item = S>,
        S: AsRef<OsStr>,
    {
        self.inner.args(args);
        self
    }

    /// A variable of its environment.
    pub fn env<K: AsRef<OsStr>, V: AsRef<OsStr>>(&mut self, key: K, value: V) -> &mut Command {
        self.inner.env(key, value);
        self
    }

    /// Variables of its environment.
    pub fn envs<I, K, V>(&mut self, vars: I) -> &mut Command
    where
        I: IntoIterator<Item = (K, V)>,
        K: AsRef<OsStr>,
        V: AsRef<OsStr>,
    {
        self.inner.envs(vars);
        self
    }

    /// Without a variable of this process's environment.
    pub fn env_remove<K: AsRef<OsStr>>(&mut self, key: K) -> &mut Command {
        self.inner.env_remove(key);
        self
    }

    /// Without all of this process's environment.
    pub fn env_clear(&mut self) -> &mut Command {
        self.inner.env_clear();
        self
    }

    /// The folder that it starts in.
    pub fn current_dir<P: AsRef<Path>>(&mut self, folder: P) -> &mut Command {
        self.inner.current_dir(folder);
        self
    }

    /// Its standard input. Default: this process's; for [`output`](Self::output) none.
    pub fn stdin<T: Into<Stdio>>(&mut self, stdin: T) -> &mut Command {
        self.inner.stdin(stdin);
        self.said[0] = true;
        self
    }

    /// Its standard output. Default: this process's; for [`output`](Self::output) a pipe.
    pub fn stdout<T: Into<Stdio>>(&mut self, stdout: T) -> &mut Command {
        self.inner.stdout(stdout);
        self.said[1] = true;
        self
    }

    /// Its standard error. Default: this process's; for [`output`](Self::output) a pipe.
    pub fn stderr<T: Into<Stdio>>(&mut self, stderr: T) -> &mut Command {
        self.inner.stderr(stderr);
        self.said[2] = true;
        self
    }

    /// Starts it.
    ///
    /// # Errors
    /// As std's: `NotFound` if there is no such program.
    #[track_caller]
    pub fn spawn(&mut self) -> io::Result<Child> {
        Child::new(unblock_call(NAMES.0, NAMES.1, || self.inner.spawn())?)
    }

    /// Starts it, and waits for its end and for all that it writes.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    #[track_caller]
    pub fn output(&mut self) -> io::Result<Output> {
        crate::current::forbid_worker(NAMES.0, NAMES.1);
        let [stdin, stdout, stderr] = self.said;
        if !stdin {
            self.inner.stdin(Stdio::null());
        }
        if !stdout {
            self.inner.stdout(Stdio::piped());
        }
        if !stderr {
            self.inner.stderr(Stdio::piped());
        }
        /// As it was, for a `spawn` after this; also if this one is cancelled.
        struct Restore<'a>(&'a mut Command);
        impl Drop for Restore<'_> {
            fn drop(&mut self) {
                let [stdin, stdout, stderr] = self.0.said;
                if !stdin {
                    self.0.inner.stdin(Stdio::inherit());
                }
                if !stdout {
                    self.0.inner.stdout(Stdio::inherit());
                }
                if !stderr {
                    self.0.inner.stderr(Stdio::inherit());
                }
            }
        }
        let child = Restore(self).0.spawn()?;
        child.wait_with_output()
    }

    /// Starts it, and waits for its end.
    ///
    /// # Errors
    /// As for [`spawn`](Self::spawn).
    #[track_caller]
    pub fn status(&mut self) -> io::Result<ExitStatus> {
        self.spawn()?.wait()
    }

    /// The program.
    #[must_use]
    pub fn get_program(&self) -> &OsStr {
        self.inner.get_program()
    }

    /// The arguments.
    pub fn get_args(&self) -> CommandArgs<'_> {
        self.inner.get_args()
    }

    /// The variables that were set or removed.
    pub fn get_envs(&self) -> CommandEnvs<'_> {
        self.inner.get_envs()
    }

    /// The folder, if it was set.
    #[must_use]
    pub fn get_current_dir(&self) -> Option<&Path> {
        self.inner.get_current_dir()
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.inner.fmt(f)
    }
}
