//! Sisal beside its peers: the same work, in the same process, in the same run.
//!
//! Each row of the table is one piece of work written twice: once for Sisal, once for a peer through the API that the
//! peer's documentation recommends. The rules:
//!
//! - *Interleaved.* A round runs our side and then the peer's, with the same amount of work. Rounds repeat, so that a
//!   machine that slows down slows down both. The ratio of a row is the median of the ratios of its rounds.
//! - *Warm.* The first rounds find out how much work fills a round and are thrown away.
//! - *Only the work.* A side makes its runtime once, before its first round. A round spawns what it needs and starts
//!   the clock when all of it runs; the clock is read on the thread that does the work.
//! - *Checked.* Every round counts or sums what it did and panics if that is not what was asked for.
//! - *Alike.* Sisal runs one worker, tokio is the `current_thread` runtime with its I/O and time drivers on, because
//!   a Sisal worker has them on too. Neither is tuned.
//!
//! Only ratios within a run count. Absolute times move from machine to machine and from run to run; pinning the process
//! to one core (`taskset -c 1 ...`) narrows the spread. Build with `--release`.
//!
//! ```no_run
//! let options = sisal_benches::Options { quick: true };
//! let report = sisal_benches::run(&options, &mut |line| eprintln!("{line}"));
//! println!("{}", report.table());
//! ```

mod driver;
mod machine;
mod report;
mod rows;
mod statistics;

pub use driver::{Options, run};
pub use machine::Machine;
pub use report::{Report, Row};
pub use statistics::Spread;
