//! What Unix has beside `std::process`, as `std::os::unix::process`.

use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt as _;

use crate::process::Command;

pub use std::os::unix::process::{ExitStatusExt, parent_id};

mod sealed {
    #[expect(
        unnameable_types,
        reason = "nobody else has the trait, so it may get more methods, as std's"
    )]
    pub trait Sealed {}
    impl Sealed for crate::process::Command {}
}

/// More of [`Command`], as [`std::os::unix::process::CommandExt`], which is for std's `Command` alone.
///
/// ```
/// use sisal::os::unix::process::CommandExt;
/// use sisal::process::Command;
///
/// let named = sisal::run(|| Command::new("sh").arg0("named").args(["-c", "echo $0"]).output());
/// assert_eq!(named.unwrap().stdout, b"named\n");
/// ```
pub trait CommandExt: sealed::Sealed {
    /// The user that it runs as.
    fn uid(&mut self, id: u32) -> &mut Command;

    /// The group that it runs as.
    fn gid(&mut self, id: u32) -> &mut Command;

    /// Has `f` called in the new process, before its program runs.
    ///
    /// # Safety
    /// Std's contract (`CommandExt::pre_exec`): the new process is a copy of one with many threads, of which it has
    /// one, so `f` does no more than a signal handler may. It calls nothing of Sisal's.
    unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static;

    /// The older name of [`pre_exec`](Self::pre_exec).
    ///
    /// # Safety
    /// As there.
    #[deprecated(note = "as std's: use `pre_exec`")]
    unsafe fn before_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        // SAFETY: by contract.
        unsafe { self.pre_exec(f) }
    }

    /// Makes this process that program. Returns only if that fails, with what the system said. Neither destructors run
    /// nor do other fibers or threads go on.
    fn exec(&mut self) -> io::Error;

    /// What it finds as the name of its program.
    fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command;

    /// Its process group; 0 makes one of its own.
    fn process_group(&mut self, pgroup: i32) -> &mut Command;
}

impl CommandExt for Command {
    fn uid(&mut self, id: u32) -> &mut Command {
        self.inner.uid(id);
        self
    }

    fn gid(&mut self, id: u32) -> &mut Command {
        self.inner.gid(id);
        self
    }

    unsafe fn pre_exec<F>(&mut self, f: F) -> &mut Command
    where
        F: FnMut() -> io::Result<()> + Send + Sync + 'static,
    {
        // SAFETY: by contract.
        unsafe { self.inner.pre_exec(f) };
        self
    }

    fn exec(&mut self) -> io::Error {
        self.inner.exec()
    }

    fn arg0<S: AsRef<OsStr>>(&mut self, arg: S) -> &mut Command {
        self.inner.arg0(arg);
        self
    }

    fn process_group(&mut self, pgroup: i32) -> &mut Command {
        self.inner.process_group(pgroup);
        self
    }
}
