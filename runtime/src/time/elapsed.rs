//! A deadline passed.

/// A deadline passed before the wait was over.
#[derive(Debug)]
pub(crate) struct Elapsed {
    _private: (),
}

impl Elapsed {
    pub(crate) fn new() -> Elapsed {
        Elapsed { _private: () }
    }
}
