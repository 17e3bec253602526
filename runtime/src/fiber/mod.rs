//! Fibers, as `std::thread` is for threads.
//!
//! Inside this crate the folder holds what a fiber is: its record, state word, first frame and
//! switch. Spawning, joining, parking and scopes live beside it and are shown here.

mod after_switch;
mod block;
mod body;
mod chunks;
mod handle;
mod id;
mod locals;
mod may_unwind;
mod outcome;
mod record;
mod regret;
mod retire;
mod running;
mod schedule;
mod span;
mod state;
mod timers;
mod unwind;

#[cfg(test)]
mod loom_join;
#[cfg(test)]
mod loom_scan;
#[cfg(test)]
pub(crate) mod loom_state;
#[cfg(all(test, not(sisal_loom)))]
mod tests;

pub(crate) use after_switch::AfterSwitch;
pub(crate) use block::Blocks;
pub(crate) use body::{prepare, refuse_fresh, resume, start};
pub(crate) use chunks::Records;
pub(crate) use id::{IdSupply, Identity, Named};
pub(crate) use locals::Destroyed;
pub(crate) use may_unwind::caught;
pub(crate) use record::{Extra, FiberPtr, FiberRef, Header, Seed, Vtable, plant};
pub(crate) use retire::{leaving, retire};
pub(crate) use running::Running;
pub(crate) use schedule::{Lent, OnEnd, Schedule, SwitchHooks};
pub(crate) use span::{WorkerSpan, make_span};
pub(crate) use state::{ASKED, CANCEL, EXPIRED, TOKEN, WOKEN};
pub(crate) use timers::Timers;
pub(crate) use unwind::{Resumed, Unwinding};

pub use handle::{Fiber, Fiber as Thread};
pub use id::{FiberId, FiberId as ThreadId};

// The facade: what lives beside this folder.
pub use crate::cancel::{panicking, shield};
pub use crate::error::JoinError;
pub use crate::join::JoinHandle;
pub use crate::local_key::{AccessError, LocalKey};
#[expect(deprecated, reason = "std has it, and deprecates it")]
pub use crate::park::park_timeout_ms;
pub use crate::park::{park, park_timeout};
pub use crate::scope::{Scope, ScopedJoinHandle, scope};
pub use crate::spawn::{Builder, available_parallelism, current, spawn, spawn_local, yield_now};
#[expect(deprecated, reason = "std has it, and deprecates it")]
pub use crate::time::sleep_ms;
pub use crate::time::{sleep, sleep_until};

/// What joining a fiber gives.
pub type Result<T> = std::result::Result<T, JoinError>;
