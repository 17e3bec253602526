//! A deadline passed.

use std::error::Error;
use std::fmt;

/// A deadline passed before the work was done: see [`timeout`](crate::timeout()).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Elapsed {
    _private: (),
}

impl Elapsed {
    pub(crate) fn new() -> Elapsed {
        Elapsed { _private: () }
    }
}

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the deadline has passed")
    }
}

impl Error for Elapsed {}
