//! Time: sleeping and deadlines.

mod elapsed;
mod sleep;
mod timeout;
pub(crate) mod timer;

pub use elapsed::Elapsed;
pub use sleep::{sleep, sleep_until};
pub use timeout::timeout;
