//! Unix, as `std::os::unix`.

pub mod net;
