//! Time: sleeping and deadlines.

mod elapsed;
mod sleep;
pub(crate) mod timer;

pub(crate) use elapsed::Elapsed;
pub use sleep::{sleep, sleep_until};
