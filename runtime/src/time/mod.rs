//! Time: sleeping and deadlines.

mod elapsed;
mod sleep;
mod timeout;
pub(crate) mod timer;

pub use elapsed::Elapsed;
#[expect(deprecated, reason = "std has it, and deprecates it")]
pub use sleep::sleep_ms;
pub use sleep::{sleep, sleep_until};
pub use timeout::timeout;
