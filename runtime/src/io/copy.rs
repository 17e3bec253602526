//! `copy_bidirectional`: two connections made one.

use std::io::{self, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::panic::resume_unwind;

use crate::fiber::{ScopedJoinHandle, scope};
use crate::net::TcpStream;
use crate::os::unix::net::UnixStream;
use crate::park::waiter::{self, Waiter};
use crate::shim::Mutex;

/// A connection whose writing side can be ended by itself, so that the peer meets the end of what it reads.
///
/// For [`copy_bidirectional`]: implement it for streams of your own.
pub trait ShutdownWrite {
    /// Ends the writing side. The reading side goes on.
    ///
    /// # Errors
    /// The operating system's.
    fn shutdown_write(&self) -> io::Result<()>;
}

impl ShutdownWrite for TcpStream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl ShutdownWrite for UnixStream {
    fn shutdown_write(&self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl<T: ShutdownWrite + ?Sized> ShutdownWrite for &T {
    fn shutdown_write(&self) -> io::Result<()> {
        (**self).shutdown_write()
    }
}

/// Copies what comes from `a` to `b` and what comes from `b` to `a`, until both have ended; the numbers of bytes.
///
/// When one side ends, the writing side of the other is shut down, and the other direction goes on. Each direction is
/// a fiber, with 8 KiB for what is on its way.
///
/// # Errors
/// The first error of either direction; the other one is cut short where it waits. Both connections stay open.
///
/// # Panics
/// On a worker's own stack: await `tokio::io::copy_bidirectional` there. With what `Read` or `Write` panic with.
///
/// # Cancellation
/// A suspension point while it waits: a cancelled caller cancels both directions, waits for their end, and unwinds. Every byte that was
/// read was then written, but for those of one write that was cut short.
///
/// ```
/// use std::io::{Read, Write};
/// use std::net::Shutdown;
/// use sisal::net::{TcpListener, TcpStream};
///
/// sisal::run(|| -> std::io::Result<()> {
///     let (front, back) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
///     let (front_addr, back_addr) = (front.local_addr()?, back.local_addr()?);
///     let proxy = sisal::spawn(move || -> std::io::Result<(u64, u64)> {
///         let (client, _) = front.accept()?;
///         sisal::io::copy_bidirectional(&client, &TcpStream::connect(back_addr)?)
///     });
///     let server = sisal::spawn(move || -> std::io::Result<()> {
///         let (mut peer, _) = back.accept()?;
///         let mut asked = String::new();
///         peer.read_to_string(&mut asked)?;
///         peer.write_all(asked.to_uppercase().as_bytes())
///     });
///     let mut client = TcpStream::connect(front_addr)?;
///     client.write_all(b"quiet")?;
///     client.shutdown(Shutdown::Write)?;
///     let mut answer = String::new();
///     client.read_to_string(&mut answer)?;
///     assert_eq!(answer, "QUIET");
///     assert_eq!(proxy.join().unwrap()?, (5, 5));
///     server.join().unwrap()
/// })
/// .unwrap();
/// ```
#[track_caller]
pub fn copy_bidirectional<A, B>(a: &A, b: &B) -> io::Result<(u64, u64)>
where
    A: ShutdownWrite + Sync + ?Sized,
    B: ShutdownWrite + Sync + ?Sized,
    for<'a> &'a A: Read + Write,
    for<'b> &'b B: Read + Write,
{
    const INSTEAD: &str = "await `tokio::io::copy_bidirectional` there";
    let (waiting, waiter) = waiter::caller("copy_bidirectional", INSTEAD);
    let both = Both {
        state: Mutex::new((0, None)),
        waiter,
    };
    let (forth, back) = scope(|s| {
        // Made here: a direction that is cancelled before it begins is over too.
        let (ended, ended_back) = (Ended(&both, 2), Ended(&both, 2));
        let forth = s.spawn(move || ended.after(|| one_way(a, b)));
        let back = s.spawn(move || ended_back.after(|| one_way(b, a)));
        let cancel = || {
            forth.cancel();
            back.cancel();
        };
        waiting.until_or(|| both.are_over(), cancel);
        // One has failed, or both are over.
        cancel();
        (joined(forth), joined(back))
    });
    if let (Some(forth), Some(back)) = (forth, back) {
        return Ok((forth, back));
    }
    let error = both.state.lock().1.take();
    Err(error.unwrap_or_else(|| io::Error::other("a direction was cancelled")))
}

/// What a direction copied, if it came to its end.
#[track_caller]
fn joined(direction: ScopedJoinHandle<'_, Option<u64>>) -> Option<u64> {
    match direction.join() {
        Ok(copied) => copied,
        Err(error) => match error.try_into_panic() {
            Ok(payload) => resume_unwind(payload),
            Err(_) => None,
        },
    }
}

/// What the two directions tell who waits for them.
struct Both {
    /// How many have ended, and the first error.
    state: Mutex<(usize, Option<io::Error>)>,
    waiter: Waiter,
}

impl Both {
    fn are_over(&self) -> bool {
        self.state.lock().0 >= 2
    }
}

/// Tells that a direction has ended, however it did. Without a result, the other one need not go on either.
struct Ended<'a>(&'a Both, usize);

impl Ended<'_> {
    fn after(mut self, copy: impl FnOnce() -> io::Result<u64>) -> Option<u64> {
        match copy() {
            Ok(copied) => {
                self.1 = 1;
                Some(copied)
            }
            Err(error) => {
                self.0.state.lock().1.get_or_insert(error);
                None
            }
        }
    }
}

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        self.0.state.lock().0 += self.1;
        self.0.waiter.wake();
    }
}

fn one_way<A, B>(from: &A, to: &B) -> io::Result<u64>
where
    A: ?Sized,
    B: ShutdownWrite + ?Sized,
    for<'a> &'a A: Read,
    for<'b> &'b B: Write,
{
    /// As std's `copy`. Not on the stack: a page of it would be touched for nothing while the fiber waits.
    const BUF: usize = 8 * 1024;
    let (mut reader, mut writer) = (from, to);
    let mut buf = vec![0; BUF];
    let mut copied = 0;
    loop {
        let read = match (&mut reader).read(&mut buf) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        (&mut writer).write_all(&buf[..read])?;
        (&mut writer).flush()?;
        copied += read as u64;
    }
    match to.shutdown_write() {
        // The peer has gone altogether: there is nobody left to be told.
        Err(error) if error.kind() == ErrorKind::NotConnected => Ok(copied),
        result => result.map(|()| copied),
    }
}
