//! What a fiber needs of a scheduler; `sched` implements it, so that this folder need not know it.

use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::Arc;

use super::chunks::Records;
use super::record::FiberPtr;
use crate::error::JoinError;

/// A scheduler, as seen from a fiber's record.
pub(crate) trait Schedule: Send + Sync {
    /// Puts a parked fiber into a queue of the worker that it is bound to. Called once for each
    /// `State::notify`, `notify_here` or `park` that said so, from any thread.
    fn schedule(&self, fiber: FiberPtr);

    /// Calls for a fiber of the worker whose thread this is, and queues it if it was parked. False: another worker's, or a subscriber would be
    /// told; nothing was done. Nobody's code is called, so that it can be done under a lock.
    fn wake_here(&self, _: FiberPtr, _reason: u32) -> bool {
        false
    }

    /// What fibers that were made `hooked` call around each switch.
    fn on_switch(&self) -> Option<&SwitchHooks> {
        None
    }

    /// Where records of its fibers are.
    fn records(&self) -> &Records {
        unreachable!("models take records from the allocator: see `block.rs`")
    }
}

/// A counted scheduler whose count is somebody else's, for `'a`.
///
/// By the scheduler's own address: an `Arc` would look for it at each call.
pub(crate) struct Lent<'a>(NonNull<dyn Schedule>, PhantomData<&'a ()>);

// SAFETY: as the `Arc` that it stands for; every `Schedule` is Send and Sync.
unsafe impl Send for Lent<'_> {}
// SAFETY: as above.
unsafe impl Sync for Lent<'_> {}

impl<'a> Lent<'a> {
    pub(crate) fn new<S: Schedule + 'static>(scheduler: &'a Arc<S>) -> Lent<'a> {
        let scheduler: *const S = Arc::as_ptr(scheduler);
        // SAFETY: of a live `Arc`.
        let scheduler: NonNull<S> = unsafe { NonNull::new_unchecked(scheduler.cast_mut()) };
        Lent(scheduler, PhantomData)
    }

    /// To count it.
    pub(super) fn arc(&self) -> ManuallyDrop<Arc<dyn Schedule>> {
        // SAFETY: of an `Arc` that stays for as long as this; it is not dropped.
        ManuallyDrop::new(unsafe { Arc::from_raw(self.0.as_ptr()) })
    }

    /// # Safety
    /// The count stays for `'b`.
    pub(super) unsafe fn lend<'b>(&self) -> Lent<'b> {
        Lent(self.0, PhantomData)
    }

    /// A count of its own, for [`give_up`](Self::give_up).
    pub(super) fn counted(&self) -> Lent<'static> {
        std::mem::forget(Arc::clone(&self.arc()));
        Lent(self.0, PhantomData)
    }

    /// # Safety
    /// It came from `counted`, and nobody uses it again.
    pub(super) unsafe fn give_up(self) {
        drop(ManuallyDrop::into_inner(self.arc()));
    }

    /// Its address, which tells runtimes apart.
    #[inline]
    pub(super) fn address(&self) -> *const () {
        self.0.as_ptr().cast_const().cast()
    }
}

impl Deref for Lent<'_> {
    type Target = dyn Schedule + 'static;
    #[inline]
    fn deref(&self) -> &(dyn Schedule + 'static) {
        // SAFETY: it stays for as long as this.
        unsafe { self.0.as_ref() }
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
