//! What belongs to one kind of operating system, as `std::os`.

pub mod unix;
