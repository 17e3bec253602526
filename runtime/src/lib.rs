//! Async-compatible green threads: stackful fibers that wait for any future and share tokio's reactor.
//!
//! A *fiber* runs plain blocking-style code and costs a few nanoseconds to switch. Waiting parks the
//! fiber, never its thread: [`block_on`] waits for any `Future`, and code for threads becomes code for fibers by its
//! imports: [`fiber`] is std's `thread`; [`sync`], [`net`], [`os`], [`io`], [`fs`] and [`process`] are std's modules of that name.
//! What differs is on one page, `docs/from-std.md` in the repository.
//!
//! ```
//! use std::io::{Read, Write};
//! use sisal::net::{TcpListener, TcpStream};
//!
//! sisal::run(|| -> std::io::Result<()> {
//!     let listener = TcpListener::bind("127.0.0.1:0")?;
//!     let addr = listener.local_addr()?;
//!     let server = sisal::spawn(move || -> std::io::Result<()> {
//!         let (mut peer, _) = listener.accept()?;
//!         peer.write_all(b"hello")
//!     });
//!     let mut text = String::new();
//!     TcpStream::connect(addr)?.read_to_string(&mut text)?;
//!     assert_eq!(text, "hello");
//!     server.join().unwrap()
//! })
//! .unwrap();
//! ```
//!
//! # The model
//! - A runtime has worker threads. Each drives a tokio runtime of its own, so in a fiber tokio's
//!   sockets, timers and `spawn` work.
//! - A fiber that has not started may be taken by any worker. Once started it never changes
//!   threads; thread-locals and `!Send` values inside it are safe.
//! - From async code, `.await` a [`fiber::JoinHandle`]. From a fiber or a plain thread, `join` it.
//! - Cancelling a fiber, or a [`timeout`] around any code of it, unwinds it from its wait: destructors run. A panic
//!   ends one fiber, and is told to whoever joins it.
//! - On a worker's own stack (an async task spawned from a fiber, a waker) calls that wait panic and
//!   name what to await instead.
//!
//! Rules and known limits: `docs/soundness.md` in the repository; all of cancellation: `docs/cancellation.md`.

mod block_on;
mod builder;
mod cancel;
mod current;
mod driver;
mod error;
pub mod fiber;
pub mod fs;
mod handle;
pub mod io;
mod join;
mod keep;
mod local_key;
#[cfg(test)]
mod loom_support;
mod metrics;
pub mod net;
pub mod os;
mod overflow;
mod park;
mod prefetch;
pub mod process;
mod runtime;
mod sched;
mod scope;
mod shim;
mod spawn;
mod stack_pool;
mod stall;
pub mod sync;
pub mod time;
mod unblock;
mod unfinished;
mod walk;

pub use block_on::block_on;
pub use builder::Builder;
pub use handle::Handle;
pub use metrics::{Metrics, OutsideMetrics, StackMetrics, StackUsage, WorkerMetrics};
pub use root::run;
pub use runtime::Runtime;
pub use spawn::spawn;
pub use time::timeout;
pub use unblock::unblock;
pub use unfinished::{Unfinished, UnfinishedFiber};

mod root;

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
