//! The standard streams, through the blocking pool.

use std::fmt;
use std::io::{self, BufRead, IoSlice, IsTerminal, Lines, Read, Write};
use std::marker::PhantomData;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::process::Stdio;

use crate::unblock::unblock_call;

/// The process's standard input, as [`std::io::stdin`].
#[must_use]
pub fn stdin() -> Stdin {
    Stdin(io::stdin())
}

/// The process's standard output, as [`std::io::stdout`].
#[must_use]
pub fn stdout() -> Stdout {
    Stdout(io::stdout())
}

/// The process's standard error, as [`std::io::stderr`].
#[must_use]
pub fn stderr() -> Stderr {
    Stderr(io::stderr())
}

#[track_caller]
fn on_pool<T: Send>(call: impl FnOnce() -> T + Send) -> T {
    unblock_call("sisal::io::stdin", "use `tokio::io::stdin` there", call)
}

/// Standard input: made by [`stdin`]. In a fiber each call runs on the blocking pool, over std's own buffer, and the fiber
/// parks; on a plain thread it is std's.
///
/// # Panics
/// On a worker's own stack: use `tokio::io::stdin` there.
///
/// # Cancellation
/// Each call is a suspension point as it begins. One that waits for input is waited for: a cancel, a deadline and the
/// runtime's end are met after it.
///
/// ```no_run
/// use sisal::io::{BufRead, stdin};
///
/// sisal::run(|| {
///     for line in stdin().lines() {
///         println!("{}", line.unwrap());
///     }
/// });
/// ```
#[derive(Debug)]
pub struct Stdin(io::Stdin);

impl Stdin {
    /// To read line by line. Unlike std's this does not keep others from reading: each call on its own is whole, so
    /// lines are, whoever reads.
    pub fn lock(&self) -> StdinLock<'static> {
        StdinLock {
            stdin: io::stdin(),
            seen: Vec::new(),
            lifetime: PhantomData,
        }
    }

    /// Reads a line, with its end, behind what `buf` has. See [`std::io::Stdin::read_line`].
    ///
    /// # Errors
    /// As std's: `InvalidData` if it is not UTF-8.
    #[track_caller]
    pub fn read_line(&self, buf: &mut String) -> io::Result<usize> {
        on_pool(|| self.0.read_line(buf))
    }

    /// The lines to come.
    pub fn lines(self) -> Lines<StdinLock<'static>> {
        self.lock().lines()
    }

    /// Whether it is a terminal, as std's `IsTerminal`, which nobody else may implement.
    pub fn is_terminal(&self) -> bool {
        self.0.is_terminal()
    }
}

impl Read for &Stdin {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        on_pool(|| (&self.0).read(buf))
    }

    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        on_pool(|| (&self.0).read_to_end(buf))
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        on_pool(|| (&self.0).read_to_string(buf))
    }

    #[track_caller]
    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        on_pool(|| (&self.0).read_exact(buf))
    }
}

impl Read for Stdin {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        (&*self).read(buf)
    }

    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        (&*self).read_to_end(buf)
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        (&*self).read_to_string(buf)
    }

    #[track_caller]
    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        (&*self).read_exact(buf)
    }
}

/// Standard input as a [`BufRead`]: made by [`Stdin::lock`].
///
/// `read_line`, `read_until` and `lines` are one trip to the pool for a line, whole whoever else reads. Between `fill_buf` and
/// `consume`, used by themselves, nobody else may read.
#[derive(Debug)]
pub struct StdinLock<'a> {
    stdin: io::Stdin,
    /// What `fill_buf` has shown: a copy, for it is consumed from std's buffer.
    seen: Vec<u8>,
    lifetime: PhantomData<&'a ()>,
}

impl Read for StdinLock<'_> {
    #[track_caller]
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        on_pool(|| self.stdin.read(buf))
    }

    #[track_caller]
    fn read_to_end(&mut self, buf: &mut Vec<u8>) -> io::Result<usize> {
        on_pool(|| self.stdin.read_to_end(buf))
    }

    #[track_caller]
    fn read_to_string(&mut self, buf: &mut String) -> io::Result<usize> {
        on_pool(|| self.stdin.read_to_string(buf))
    }

    #[track_caller]
    fn read_exact(&mut self, buf: &mut [u8]) -> io::Result<()> {
        on_pool(|| self.stdin.read_exact(buf))
    }
}

impl BufRead for StdinLock<'_> {
    #[track_caller]
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let StdinLock { stdin, seen, .. } = self;
        on_pool(|| {
            seen.clear();
            seen.extend_from_slice(stdin.lock().fill_buf()?);
            io::Result::Ok(())
        })?;
        Ok(&self.seen)
    }

    #[track_caller]
    fn consume(&mut self, amount: usize) {
        if amount > 0 {
            on_pool(|| self.stdin.lock().consume(amount));
        }
    }

    #[track_caller]
    fn read_until(&mut self, byte: u8, buf: &mut Vec<u8>) -> io::Result<usize> {
        on_pool(|| self.stdin.lock().read_until(byte, buf))
    }

    #[track_caller]
    fn read_line(&mut self, buf: &mut String) -> io::Result<usize> {
        on_pool(|| self.stdin.read_line(buf))
    }
}

impl StdinLock<'_> {
    /// Whether it is a terminal.
    pub fn is_terminal(&self) -> bool {
        self.stdin.is_terminal()
    }
}

macro_rules! output {
    ($Out:ident, $Lock:ident, $open:path, $name:literal, $call:literal, $instead:literal) => {
        #[doc = concat!("Standard ", $name, ". In a fiber each call runs on the blocking pool, through std's own lock and buffer, and the")]
        /// fiber parks; on a plain thread it is std's. Around many small writes put a [`BufWriter`](crate::io::BufWriter). (`println!` and
        /// its like are std's and write where they are: they hold up the worker while nobody reads.)
        ///
        /// # Panics
        #[doc = concat!("On a worker's own stack: ", $instead, ".")]
        ///
        /// # Cancellation
        /// Each call is a suspension point as it begins, and whole once it has begun.
        #[derive(Debug)]
        pub struct $Out(io::$Out);

        impl $Out {
            /// The same. Unlike std's it does not keep others from writing: each call on its own is whole, `write_all` and
            /// `writeln!` too.
            pub fn lock(&self) -> $Lock<'static> {
                $Lock($Out($open()), PhantomData)
            }

            /// Whether it is a terminal, as std's `IsTerminal`, which nobody else may implement.
            pub fn is_terminal(&self) -> bool {
                self.0.is_terminal()
            }

            #[track_caller]
            fn on_pool<T: Send>(call: impl FnOnce() -> T + Send) -> T {
                unblock_call($call, $instead, call)
            }
        }

        impl Write for &$Out {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                $Out::on_pool(|| (&self.0).write(buf))
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                $Out::on_pool(|| (&self.0).write_vectored(bufs))
            }

            #[track_caller]
            fn flush(&mut self) -> io::Result<()> {
                $Out::on_pool(|| (&self.0).flush())
            }

            #[track_caller]
            fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
                $Out::on_pool(|| (&self.0).write_all(buf))
            }

            #[track_caller]
            fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
                // What is shown may be of this thread only.
                self.write_all(fmt::format(text).as_bytes())
            }
        }

        through!($Out, this => (&*this));

        #[doc = concat!("Standard ", $name, ": made by its `lock`.")]
        #[derive(Debug)]
        pub struct $Lock<'a>($Out, PhantomData<&'a ()>);

        impl $Lock<'_> {
            /// Whether it is a terminal.
            pub fn is_terminal(&self) -> bool {
                self.0.is_terminal()
            }
        }

        through!($Lock<'_>, this => (&this.0));
        impl From<$Out> for Stdio {
            fn from(out: $Out) -> Stdio {
                out.0.into()
            }
        }

        descriptor!($Out, this => this.0);
        descriptor!($Lock<'_>, this => this.0);
    };
}

/// `Write` as by `$to`.
macro_rules! through {
    ($Type:ty, $this:ident => $to:expr) => {
        impl Write for $Type {
            #[track_caller]
            fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
                let $this = self;
                $to.write(buf)
            }

            #[track_caller]
            fn write_vectored(&mut self, bufs: &[IoSlice<'_>]) -> io::Result<usize> {
                let $this = self;
                $to.write_vectored(bufs)
            }

            #[track_caller]
            fn flush(&mut self) -> io::Result<()> {
                let $this = self;
                $to.flush()
            }

            #[track_caller]
            fn write_all(&mut self, buf: &[u8]) -> io::Result<()> {
                let $this = self;
                $to.write_all(buf)
            }

            #[track_caller]
            fn write_fmt(&mut self, text: fmt::Arguments<'_>) -> io::Result<()> {
                let $this = self;
                $to.write_fmt(text)
            }
        }
    };
}

macro_rules! descriptor {
    ($Type:ty, $this:ident => $of:expr) => {
        impl AsFd for $Type {
            fn as_fd(&self) -> BorrowedFd<'_> {
                let $this = self;
                $of.as_fd()
            }
        }

        impl AsRawFd for $Type {
            fn as_raw_fd(&self) -> RawFd {
                let $this = self;
                $of.as_raw_fd()
            }
        }
    };
}

output!(
    Stdout,
    StdoutLock,
    io::stdout,
    "output",
    "sisal::io::stdout",
    "use `tokio::io::stdout` there"
);
output!(
    Stderr,
    StderrLock,
    io::stderr,
    "error",
    "sisal::io::stderr",
    "use `tokio::io::stderr` there"
);
descriptor!(Stdin, this => this.0);
descriptor!(StdinLock<'_>, this => this.stdin);
