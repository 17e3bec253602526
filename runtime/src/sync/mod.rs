//! Locks, channels and other ways to wait for each other, with the names and signatures of [`std::sync`].
//!
//! They work between fibers, between threads, between async tasks, and between all of these: whoever waits parks its fiber,
//! blocks its thread, or awaits the `*_async` twin of the call. Nothing is allocated for a wait of a fiber or a task.
//!
//! On a worker's own stack (an async task spawned from a fiber, a waker) a call that would have to wait panics, and names
//! its twin.

mod barrier;
mod channel;
mod condvar;
mod lazy_lock;
pub mod mpmc;
pub mod mpsc;
mod mutex;
mod once;
mod once_lock;
pub mod oneshot;
mod poison;
mod raw_mutex;
mod raw_rwlock;
mod rwlock;
mod semaphore;
mod wait;
mod wait_list;
mod wakers;

pub use barrier::{Barrier, BarrierWaitResult};
pub use condvar::{Condvar, WaitTimeoutResult};
pub use lazy_lock::LazyLock;
pub use mutex::{Mutex, MutexGuard};
pub use once::{Once, OnceState};
pub use once_lock::OnceLock;
pub use rwlock::{RwLock, RwLockReadGuard, RwLockWriteGuard};
pub use semaphore::{
    AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError,
};

// What needs no waiting is std's own, so that an import is changed in one place.
pub use std::sync::{Arc, LockResult, PoisonError, TryLockError, TryLockResult, Weak, atomic};
