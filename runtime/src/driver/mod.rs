//! The only place that knows a tokio `Runtime`: runs a worker's turns, sleeps until woken.

mod blocking;
mod reactor;

pub(crate) use blocking::{BlockingPool, BlockingThreads, Spawner};
pub(crate) use reactor::{AsyncTasks, Driver, Reactor, Turn, Waits};

pub(crate) use tokio::runtime::Handle as TokioHandle;
pub(crate) use tokio::task::coop::has_budget_remaining;
