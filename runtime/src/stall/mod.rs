//! Which fiber holds a worker: asked from outside, while it does.
//!
//! | file | what |
//! |---|---|
//! | `request.rs` | the word by which one thread asks another's signal handler |
//! | `signal.rs` | that handler |
//! | `probe.rs` | a worker, as it can be asked: by the watchdog, and by a shutdown that waits in vain |
//! | `watchdog.rs` | the thread that looks at the workers and warns |
//! | `report.rs` | the backtrace of an answer, as text |
//!
//! The handler copies registers and a part of the stack into memory that was there before; the asking thread walks the
//! copy and looks up symbols at leisure. Protocol and race: README.md of `sched`, "Interrogation".
//!
//! Must not know the scheduler.

mod probe;
mod report;
mod request;
mod signal;
mod watchdog;

#[cfg(all(test, sisal_loom))]
mod loom_request;

pub(crate) use probe::Probe;
pub(crate) use watchdog::Watchdog;
