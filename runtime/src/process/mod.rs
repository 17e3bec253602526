//! Child processes, as `std::process`: waiting for one parks the fiber, and so does reading and writing its streams.
//!
//! The same types work on plain threads, and may go from one to the other. A child that is spawned in a fiber is started on
//! the blocking pool, for a fork may take long. (So `PR_SET_PDEATHSIG`, which is about the thread that forks, is of no
//! use there.) The end of a child is waited for by its pidfd (Linux 5.3), and where there is none on the blocking pool. No
//! signal handler is installed.
//!
//! What only holds data, or ends this process, is std's own.
//!
//! # Panics
//! On a worker's own stack calls that wait do: use `tokio::process` there.
//!
//! ```
//! use sisal::process::Command;
//!
//! let output = sisal::run(|| Command::new("echo").arg("hello").output()).unwrap();
//! assert!(output.status.success());
//! assert_eq!(output.stdout, b"hello\n");
//! ```

mod child;
mod command;
mod streams;

pub use child::Child;
pub use command::Command;
pub use streams::{ChildStderr, ChildStdin, ChildStdout};

pub use std::process::{
    CommandArgs, CommandEnvs, ExitCode, ExitStatus, Output, Stdio, Termination, abort, exit, id,
};

/// For the panic on a worker's own stack (S10): the call, and what to do instead.
const NAMES: (&str, &str) = ("sisal::process", "use `tokio::process` there");
