//! Locks, channels and other ways to wait for each other, with the names and signatures of `std::sync`.
//!
//! They work between fibers, between threads and between both: whoever waits parks its fiber or blocks its thread.

mod channel;
pub mod mpmc;
pub mod mpsc;
pub mod oneshot;
mod raw_mutex;
mod semaphore;
mod wait;
mod wait_list;
mod wakers;

pub use semaphore::{
    AcquireError, OwnedSemaphorePermit, Semaphore, SemaphorePermit, TryAcquireError,
};
