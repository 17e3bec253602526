//! Who waits for a lock, a permit or a message: one list, used by all of `sync`.
//!
//! Knows places in a queue and wakers; must not know what is waited for. A list has no lock of its own: it lies
//! in the primitive's [`Locked`], beside what is waited for.
//!
//! A [`Place`] lies in the future that waits; nothing is allocated. Its fields belong to whoever holds the
//! primitive's lock, but for `granted`, which the owner reads without; once that is set, all of it is the owner's.
//!
//! - *Granting:* under the lock, take the first place out, take its waker (or wake, see [`pick_up`]), set `granted` as the last access
//!   to the place; then release the lock and wake. From `granted` on the place may be gone.
//! - *Calling:* the waker alone, for whoever is to look for itself, and keeps its place until it does.
//! - *Waiting:* look at `granted` on every wake. A wake alone means nothing.
//! - *Giving up:* under the lock, take the place out. If it was granted or called meanwhile, what that was for is
//!   handed on: no wake that was meant for another is lost.
//!
//! Models: `loom_wait_list.rs`.

use std::cell::UnsafeCell;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::ptr::NonNull;
use std::task::Waker;

#[cfg(not(sisal_loom))]
use super::short_lock::ShortLock;
use super::wakers::{Wakers, let_go};
use crate::keep::keep;
use crate::park::waker::pick_up;
#[cfg(sisal_loom)]
use crate::shim::Mutex;
use crate::shim::{AtomicBool, Ordering, const_fn};

#[cfg(test)]
#[path = "loom_wait_list.rs"]
mod loom_wait_list;

/// What a primitive keeps under a lock of its own: for a few steps that wait for nothing and call nobody's code.
pub(crate) struct Locked<T>(
    #[cfg(not(sisal_loom))] ShortLock<T>,
    #[cfg(sisal_loom)] Mutex<T>,
);

impl<T> Locked<T> {
    const_fn! {
        pub(crate) const fn new(value: T) -> Locked<T> {
            #[cfg(not(sisal_loom))]
            let lock = ShortLock::new(value);
            #[cfg(sisal_loom)]
            let lock = Mutex::new(value);
            Locked(lock)
        }
    }

    /// Calls `f` under the lock. A fiber that overflows its stack in there is not left behind with it.
    #[inline]
    pub(crate) fn with<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        keep(move || self.kept(f))
    }

    /// The same for whoever is inside of [`keep`] already.
    #[inline(always)]
    pub(crate) fn kept<R>(&self, f: impl FnOnce(&mut T) -> R) -> R {
        #[cfg(not(sisal_loom))]
        return self.0.with(f);
        #[cfg(sisal_loom)]
        f(&mut self.0.lock())
    }
}

/// The waiters of one primitive, the longest waiting first. `D` is what each wants.
pub(crate) struct WaitList<D> {
    first: Option<NonNull<Place<D>>>,
    last: Option<NonNull<Place<D>>>,
}

// SAFETY: the places belong to whoever holds the list (see above), and they hold nothing but wakers, which are
// Send, and `D`.
unsafe impl<D: Send> Send for WaitList<D> {}

/// One waiter's place, for one wait. Pinned while it is in a list.
pub(crate) struct Place<D> {
    links: UnsafeCell<Links<D>>,
    granted: AtomicBool,
    _pinned: PhantomPinned,
}

struct Links<D> {
    before: Option<NonNull<Place<D>>>,
    after: Option<NonNull<Place<D>>>,
    queued: bool,
    waker: Option<Waker>,
    wants: D,
}

// SAFETY: the links are the lock holder's, whatever thread that is; `D` goes along.
unsafe impl<D: Send> Send for Place<D> {}
// SAFETY: shared access is to `granted`, or under the primitive's lock.
unsafe impl<D: Send> Sync for Place<D> {}

impl<D> Place<D> {
    pub(crate) fn new(wants: D) -> Place<D> {
        Place {
            links: UnsafeCell::new(Links {
                before: None,
                after: None,
                queued: false,
                waker: None,
                wants,
            }),
            granted: AtomicBool::new(false),
            _pinned: PhantomPinned,
        }
    }

    /// The owner: what it wants, or was given.
    ///
    /// # Safety
    /// The place is in no list: it never was, it was removed, or it [is granted](Self::is_granted).
    pub(crate) unsafe fn wants(self: Pin<&mut Self>) -> &mut D {
        // SAFETY: nothing is moved; in no list, so the links are the owner's.
        &mut unsafe { self.get_unchecked_mut() }.links.get_mut().wants
    }

    /// The owner: by whom it is to be woken. Gives back what was there before.
    ///
    /// # Safety
    /// As for [`wants`](Self::wants).
    #[inline]
    #[must_use]
    pub(crate) unsafe fn set_waker(self: Pin<&mut Self>, waker: Option<Waker>) -> Option<Waker> {
        // SAFETY: nothing is moved; in no list, so the links are the owner's.
        let links = unsafe { self.get_unchecked_mut() }.links.get_mut();
        std::mem::replace(&mut links.waker, waker)
    }

    /// The owner, woken without a grant: goes on in the list with another waker. True: it was granted meanwhile. `locked` calls
    /// what it gets under the lock of the list.
    ///
    /// # Safety
    /// The place was put into that list, and is used with no other.
    pub(crate) unsafe fn wait_on(
        self: Pin<&Self>,
        waker: Waker,
        locked: impl FnOnce(&mut dyn FnMut(&mut WaitList<D>)),
    ) -> bool {
        let mut waker = Some(waker);
        locked(&mut |list| {
            if !self.is_granted()
                && let Some(new) = waker.take()
            {
                // SAFETY: by contract, and it is not granted.
                waker = unsafe { list.wait(self, new) };
            }
        });
        // The one before, or this one if it is not needed.
        let_go(waker);
        self.is_granted()
    }

    /// The owner: whether it got what it waits for.
    #[inline]
    pub(crate) fn is_granted(&self) -> bool {
        // Acquire pairs with the Release in `grant_first`: what the granter did comes before.
        self.granted.load(Ordering::Acquire)
    }
}

impl<D> Drop for Place<D> {
    fn drop(&mut self) {
        debug_assert!(
            !self.links.get_mut().queued,
            "a place is freed in its list: whoever waits takes it out"
        );
    }
}

impl<D> WaitList<D> {
    pub(crate) const fn new() -> WaitList<D> {
        WaitList {
            first: None,
            last: None,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first.is_none()
    }

    /// Puts a place at the end, to be woken by `waker`; if it is in the list already, only sets the waker. What
    /// it gives back is dropped after the lock is released, for it may be anybody's code.
    ///
    /// # Safety
    /// `place` was not granted, and is used with this list only, under one lock. Until it was granted or removed it is
    /// not freed.
    #[must_use]
    pub(crate) unsafe fn wait(&mut self, place: Pin<&Place<D>>, waker: Waker) -> Option<Waker> {
        // SAFETY: the lock is held (`&mut self`), so the links are ours.
        let links = unsafe { links(NonNull::from(place.get_ref())) };
        let old = links.waker.replace(waker);
        if !links.queued {
            // SAFETY: by contract, and it is in no list.
            unsafe { self.append(place) };
        }
        old
    }

    /// Puts a place at the end that is in no list, and whose owner [has said](Place::set_waker) by whom it is to be woken.
    ///
    /// # Safety
    /// As for [`wait`](Self::wait).
    #[inline]
    pub(crate) unsafe fn append(&mut self, place: Pin<&Place<D>>) {
        // It would be taken for granted while it is in the list.
        debug_assert!(!place.is_granted(), "a place serves one wait");
        let place = NonNull::from(place.get_ref());
        // SAFETY: the lock is held (`&mut self`), so the links are ours.
        let links = unsafe { links(place) };
        links.queued = true;
        links.before = self.last.replace(place);
        match links.before {
            None => self.first = Some(place),
            // SAFETY: places in the list are live, and ours under the lock.
            Some(before) => unsafe { self::links(before) }.after = Some(place),
        }
    }

    /// Whether the place is the first.
    pub(crate) fn is_first(&self, place: Pin<&Place<D>>) -> bool {
        self.first == Some(NonNull::from(place.get_ref()))
    }

    /// What the first waiter wants.
    pub(crate) fn first(&mut self) -> Option<&mut D> {
        // SAFETY: places in the list are live, and ours under the lock.
        self.first.map(|place| unsafe { &mut links(place).wants })
    }

    /// What a waiter wants, in the list or not.
    ///
    /// # Safety
    /// `place` was used with this list only, under one lock, if at all.
    pub(crate) unsafe fn wants<'a>(&'a mut self, place: Pin<&'a Place<D>>) -> &'a mut D {
        // SAFETY: by contract, and the lock is held.
        &mut unsafe { links(NonNull::from(place.get_ref())) }.wants
    }

    /// Takes the waker of the first waiter, which stays in the list; `None` if there is none, or if it was
    /// called already, perhaps here, and has not looked yet.
    pub(crate) fn call_first(&mut self) -> Option<Waker> {
        let place = self.first?;
        // SAFETY: places in the list are live, and ours under the lock.
        unsafe { links(place) }.waker.take().and_then(pick_up)
    }

    /// Takes the first waiter out: it has got what it wants. Its waker is to be called after the lock is
    /// released, for it may be anybody's code; `None` also if it was called already, perhaps here.
    #[inline]
    #[must_use]
    pub(crate) fn grant_first(&mut self) -> Option<Waker> {
        let place = self.first?;
        // SAFETY: as above; it is in this list.
        let links = unsafe { links(place) };
        // The first has none before it, and what is after it nobody asks a place that is granted.
        links.queued = false;
        self.first = links.after;
        match links.after {
            None => self.last = None,
            // SAFETY: as above.
            Some(after) => unsafe { self::links(after) }.before = None,
        }
        let waker = links.waker.take().and_then(pick_up);
        // SAFETY: still live: its owner waits for this, or for the lock.
        let granted = unsafe { &(*place.as_ptr()).granted };
        // Release pairs with the Acquire of `is_granted`.
        granted.store(true, Ordering::Release);
        waker
    }

    /// Grants to the waiters at the front while `to` says so. True: `wakers` is full before that, and the same is to be
    /// called again after they were called.
    pub(crate) fn grant_while(
        &mut self,
        wakers: &mut Wakers,
        mut to: impl FnMut(&mut D) -> bool,
    ) -> bool {
        while let Some(first) = self.first() {
            if wakers.is_full() {
                return true;
            }
            if !to(first) {
                break;
            }
            wakers.push(self.grant_first());
        }
        false
    }

    /// Takes a place out, if it is in. What it gives back is dropped after the lock is released.
    ///
    /// # Safety
    /// `place` was used with this list only, under one lock, if at all.
    #[must_use]
    pub(crate) unsafe fn remove(&mut self, place: Pin<&Place<D>>) -> Option<Waker> {
        let place = NonNull::from(place.get_ref());
        // SAFETY: by contract, and the lock is held.
        unsafe {
            if links(place).queued {
                self.unlink(place);
            }
            links(place).waker.take()
        }
    }

    /// # Safety
    /// `place` is in this list.
    unsafe fn unlink(&mut self, place: NonNull<Place<D>>) {
        // SAFETY: by contract; places in the list are live, and ours under the lock.
        unsafe {
            let links = links(place);
            let (before, after) = (links.before.take(), links.after.take());
            links.queued = false;
            match before {
                None => self.first = after,
                Some(before) => self::links(before).after = after,
            }
            match after {
                None => self.last = before,
                Some(after) => self::links(after).before = before,
            }
        }
    }
}

/// # Safety
/// The caller holds the lock of the place's list, uses the result under it, and has no other.
unsafe fn links<'a, D>(place: NonNull<Place<D>>) -> &'a mut Links<D> {
    // SAFETY: by contract.
    unsafe { &mut *place.as_ref().links.get() }
}
