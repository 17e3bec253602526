//! Time: sleeping and deadlines.

mod alarm;
mod elapsed;
mod sleep;
mod timeout;
pub(crate) mod timer;

pub(crate) use alarm::{call_at, is_over};
pub use elapsed::Elapsed;
#[expect(deprecated, reason = "std has it, and deprecates it")]
pub use sleep::sleep_ms;
pub use sleep::{sleep, sleep_until};
pub use timeout::timeout;
