//! Windows' unwind information: what is encoded, what is read, where a walk leads.

mod errors;
mod goldens;
mod tables;
