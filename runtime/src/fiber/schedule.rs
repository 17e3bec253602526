//! What a fiber needs of a scheduler; `sched` implements it, so that this folder need not know it.

use super::chunks::Records;
use super::record::FiberPtr;
use crate::error::JoinError;

/// A scheduler, as seen from a fiber's record.
pub(crate) trait Schedule: Send + Sync {
    /// Puts a parked fiber into a queue of the worker that it is bound to. Called once for each
    /// `State::notify` or `State::park` that said so, from any thread.
    fn schedule(&self, fiber: FiberPtr);

    /// What fibers that were made `hooked` call around each switch.
    fn on_switch(&self) -> Option<&SwitchHooks> {
        None
    }

    /// Where records of its fibers are.
    fn records(&self) -> &Records {
        unreachable!("models take records from the allocator: see `block.rs`")
    }
}

/// A user's functions around each switch; see [`crate::Builder::on_switch`], whose contract says that
/// they may be called as `Running::suspend` does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SwitchHooks {
    pub(crate) save: unsafe fn() -> *mut (),
    pub(crate) restore: unsafe fn(*mut ()),
}

/// Whoever waits for the end of a fiber that borrows from it (S5).
pub(crate) trait OnEnd: Send + Sync {
    /// The fiber gave no result, and nobody asked why.
    fn unseen(&self, error: &JoinError);

    /// The fiber has ended: its closure is gone, its result is stored, handed over or dropped.
    /// Nothing that it borrowed is touched after this call.
    fn ended(&self);
}
