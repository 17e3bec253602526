//! A join handle's side of a record: watching for the end, taking or refusing the result.

use std::mem::MaybeUninit;
use std::task::Waker;

use super::body::drop_unseen;
use super::record::FiberRef;
use super::state::JOIN_WAKER;
use crate::error::JoinError;

impl FiberRef {
    /// Leaves `waker` to be woken at the end. False: the fiber is done.
    ///
    /// # Safety
    /// The caller is the fiber's only join handle, and this the only call of it.
    pub(crate) unsafe fn watch(&self, waker: &Waker) -> bool {
        if !self.state.claim_waker() {
            return false;
        }
        // SAFETY: between `claim_waker` and `publish_waker` the slot is the handle's (rule 5).
        let slot = unsafe { &mut *self.join_waker.get() };
        match slot {
            Some(old) => old.clone_from(waker),
            None => *slot = Some(waker.clone()),
        }
        if self.state.publish_waker() {
            return true;
        }
        *slot = None; // done in between: the body has not seen JOIN_WAKER and keeps away
        false
    }

    /// The result; `None` if it was taken before.
    ///
    /// # Safety
    /// The caller is the fiber's only join handle, `T` is the fiber's result type, and it is done.
    pub(crate) unsafe fn take_result<T>(&self) -> Option<Result<T, JoinError>> {
        let mut out = MaybeUninit::<Option<Result<T, JoinError>>>::uninit();
        // SAFETY: by contract; `take` writes the place.
        unsafe {
            (self.vtable.take)(self.ptr(), out.as_mut_ptr().cast());
            out.assume_init()
        }
    }

    /// Gives up the right to the result.
    ///
    /// # Safety
    /// The caller is the fiber's only join handle, and `T` is the fiber's result type.
    pub(crate) unsafe fn drop_handle<T>(&self) {
        // What it left to be woken goes with it. (Dropped last: it may be anybody's code.)
        let _waker = match self.state.has(JOIN_WAKER) && self.state.claim_waker() {
            // SAFETY: after `claim_waker` the slot is the handle's (rule 5).
            true => unsafe { (*self.join_waker.get()).take() },
            false => None,
        };
        if self.state.drop_handle() {
            // SAFETY: by contract; done.
            if let Some(result) = unsafe { self.take_result::<T>() } {
                match result {
                    // A value's destructor may panic into whoever drops the handle, as anywhere.
                    Ok(value) => drop(value),
                    error => drop_unseen(self, error),
                }
            }
        }
    }
}
