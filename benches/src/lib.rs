//! Sisal beside its peers: the same work, on the same machine, in the same run.
//!
//! Each row of the table is one piece of work, written once for Sisal and once for each peer through the API that the
//! peer's documentation recommends. The rules:
//!
//! - *Interleaved.* A round runs our side, then each peer's. Rounds repeat, so that a machine that slows down slows down
//!   all of them. The ratio of a row is the median of the ratios of its rounds.
//! - *Apart.* Each side is a process of its own, pinned to the same processors as the others, and waits for its turn on
//!   a pipe: a peer's idle threads, heap and stacks are nobody else's.
//! - *Warm.* The first rounds find out how much work fills a side's part of a round and are thrown away.
//! - *Only the work.* A side makes its runtime once, before its first round. A round spawns what it needs and starts
//!   the clock when all of it runs; the clock is read on the thread that does the work.
//! - *Checked.* Every round counts or sums what it did and panics if that is not what was asked for.
//! - *Alike.* All have as many workers as the row says, and the async runtimes have their I/O and time drivers on,
//!   because a Sisal worker has them on too. Nobody is tuned.
//!
//! Only ratios within a run count. Absolute times move from machine to machine and from run to run. Build with
//! `--release`.
//!
//! ```no_run
//! // The sides are this program again, with the arguments that `Side` reads.
//! let options = sisal_benches::Options { quick: true, ..Default::default() };
//! let report = sisal_benches::run(&options, &mut |line| eprintln!("{line}"));
//! println!("{}", report.short_table());
//! ```

mod body;
mod complaint;
mod conditions;
mod driver;
mod faces;
mod foreign;
mod instructions;
pub mod loopback;
mod machine;
mod markdown;
mod memory;
mod page;
mod pin;
mod plan;
mod process;
mod report;
mod rows;
mod side;
mod statistics;
mod table;
mod targets;

pub use body::Body;
pub use conditions::Conditions;
pub use driver::{Options, names, run};
pub use instructions::{Instructions, instruction_rows, instructions, judge};
pub use machine::Machine;
pub use memory::Memory;
pub use report::{Figure, Missing, Report, Row};
pub use side::Side;
pub use statistics::Spread;
