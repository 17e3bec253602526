//! Reading and writing, as `std::io`, and the bridges between blocking code and async code.
//!
//! All of `std::io` that only works on what it is given is here under its own name, so an import swap compiles. Beside it:
//!
//! | from | to | |
//! |---|---|---|
//! | an async reader or writer, tokio's or futures' | `Read`, `Write`, `Seek`, `BufRead` | [`Blocking`] |
//! | a blocking `Read`, `Write` or `Seek` | async, tokio's and futures' | [`Nonblocking`] |
//! | a futures `Stream` | an `Iterator` | [`iter`] |
//! | the process's standard streams | `Read`, `BufRead`, `Write` through the blocking pool | [`stdin`], [`stdout`], [`stderr`] |
//! | two connections | one, both ways | [`copy_bidirectional`] |

mod blocking;
mod blocking_futures;
mod copy;
mod iter;
mod nonblocking;
mod nonblocking_traits;
mod offload;
pub(crate) mod pipe;
pub(crate) mod ready;
mod stdio;

pub(crate) use pipe::Pipe;

pub use blocking::{Blocking, Futures, Tokio};
pub use copy::{ShutdownWrite, copy_bidirectional};
pub use iter::{Iter, iter};
pub use nonblocking::Nonblocking;
pub use pipe::{PipeReader, PipeWriter, pipe};
pub use stdio::{Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock, stderr, stdin, stdout};

pub use std::io::{
    BufRead, BufReader, BufWriter, Bytes, Chain, Cursor, Empty, Error, ErrorKind, IntoInnerError,
    IoSlice, IoSliceMut, IsTerminal, LineWriter, Lines, Read, Repeat, Result, Seek, SeekFrom, Sink,
    Split, Take, Write, WriterPanicked, copy, empty, prelude, read_to_string, repeat, sink,
};
