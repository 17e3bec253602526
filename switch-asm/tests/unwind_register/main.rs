//! Panics and walks pass code that was made at run time, as long as it is
//! registered.
//!
//! `code` has the functions, assembled by hand, `unwinder` reads frames as the system's unwinder sees
//! them. The others are what is tested.

mod code;
mod controls;
mod fibers;
mod many;
mod panics;
mod region;
mod registration;
mod unwinder;
