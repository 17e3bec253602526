//! Permits: what is acquired, until it is dropped.

use std::sync::Arc;

use super::Semaphore;

macro_rules! permit {
    ($permit:ident, $semaphore:ty $(, $lifetime:lifetime)?) => {
        impl$(<$lifetime>)? $permit$(<$lifetime>)? {
            pub(super) fn new(semaphore: $semaphore, permits: usize) -> Self {
                $permit { semaphore, permits }
            }

            /// How many permits this is.
            pub fn num_permits(&self) -> usize {
                self.permits
            }

            /// Never gives the permits back: the semaphore has fewer from now on.
            pub fn forget(mut self) {
                self.permits = 0;
            }

            /// Adds the permits of `other` to this.
            ///
            /// # Panics
            /// If they are of different semaphores.
            #[track_caller]
            pub fn merge(&mut self, mut other: Self) {
                assert!(
                    std::ptr::eq::<Semaphore>(&*self.semaphore, &*other.semaphore),
                    "permits of different semaphores cannot be merged"
                );
                self.permits += std::mem::take(&mut other.permits);
            }
        }

        impl$(<$lifetime>)? Drop for $permit$(<$lifetime>)? {
            fn drop(&mut self) {
                if self.permits > 0 {
                    self.semaphore.give_back(self.permits);
                }
            }
        }
    };
}

/// Permits of a [`Semaphore`], given back when this is dropped.
#[must_use = "the permits are given back when this is dropped"]
#[clippy::has_significant_drop]
#[derive(Debug)]
pub struct SemaphorePermit<'a> {
    semaphore: &'a Semaphore,
    permits: usize,
}

/// Permits of a [`Semaphore`] that it shares, given back when this is dropped.
#[must_use = "the permits are given back when this is dropped"]
#[clippy::has_significant_drop]
#[derive(Debug)]
pub struct OwnedSemaphorePermit {
    semaphore: Arc<Semaphore>,
    permits: usize,
}

permit!(SemaphorePermit, &'a Semaphore, 'a);
permit!(OwnedSemaphorePermit, Arc<Semaphore>);

impl<'a> SemaphorePermit<'a> {
    /// Takes `n` permits out of this, as a guard of their own; `None` if it has fewer.
    ///
    /// ```
    /// let semaphore = sisal::sync::Semaphore::new(5);
    /// let mut three = semaphore.try_acquire_many(3).unwrap();
    /// let one = three.split(1).unwrap();
    /// drop(three);
    /// assert_eq!((one.num_permits(), semaphore.available_permits()), (1, 4));
    /// ```
    pub fn split(&mut self, n: usize) -> Option<SemaphorePermit<'a>> {
        self.permits = self.permits.checked_sub(n)?;
        Some(SemaphorePermit::new(self.semaphore, n))
    }
}

impl OwnedSemaphorePermit {
    /// Takes `n` permits out of this, as a guard of their own; `None` if it has fewer.
    pub fn split(&mut self, n: usize) -> Option<OwnedSemaphorePermit> {
        self.permits = self.permits.checked_sub(n)?;
        Some(OwnedSemaphorePermit::new(Arc::clone(&self.semaphore), n))
    }

    /// Whose permits these are.
    pub fn semaphore(&self) -> &Arc<Semaphore> {
        &self.semaphore
    }
}
