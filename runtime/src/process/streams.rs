//! The standard streams of a child.

use super::NAMES;
use crate::io::Pipe;
use crate::io::pipe::{descriptor_of, reads, writes};

/// A child's standard input, as [`std::process::ChildStdin`]. Dropping it is the end for the child.
///
/// # Cancellation
/// A write is a suspension point while it waits.
#[derive(Debug)]
pub struct ChildStdin(pub(super) Pipe);

/// A child's standard output, as [`std::process::ChildStdout`].
///
/// # Cancellation
/// A read is a suspension point while it waits. A byte that was taken was returned.
#[derive(Debug)]
pub struct ChildStdout(pub(super) Pipe);

/// A child's standard error, as [`std::process::ChildStderr`].
///
/// # Cancellation
/// A read is a suspension point while it waits. A byte that was taken was returned.
#[derive(Debug)]
pub struct ChildStderr(pub(super) Pipe);

writes!(ChildStdin, &ChildStdin);
reads!(ChildStdout, ChildStderr);
descriptor_of! {
    ChildStdin, NAMES;
    ChildStdout, NAMES;
    ChildStderr, NAMES;
}
