//! Unix, as `std::os::unix`.

pub mod fs;
pub mod net;
pub mod process;
