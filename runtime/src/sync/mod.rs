//! Locks, channels and other ways to wait for each other, with the names and signatures of `std::sync`.
//!
//! They work between fibers, between threads and between both: whoever waits parks its fiber or blocks its thread.

mod raw_mutex;
mod wait;
mod wait_list;
mod wakers;
