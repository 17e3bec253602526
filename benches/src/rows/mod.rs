//! The rows of the table, one file each; in a file, our side and the peer's stand next to each other.
//!
//! A row knows its work and nothing of rounds, medians or printing.

mod hand_off;
mod lock;
mod one_thread;
mod pair;
mod ping_pong;
mod spawn_join;
mod yielding;

use std::time::Duration;

/// One side of a row: does that many units of work, checks that they were done, and says how long they took.
pub(crate) type Side = Box<dyn FnMut(u64) -> Duration>;

/// Both sides of a row, each with its runtime already made.
pub(crate) struct Sides {
    pub(crate) ours: Side,
    pub(crate) peer: Side,
}

/// A row before it is measured.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    pub(crate) peer: &'static str,
    /// A unit is what a side can repeat; an operation is what the table prices.
    pub(crate) operations_per_unit: u64,
    /// With fewer units the edges of a round would show.
    pub(crate) least_units: u64,
    pub(crate) note: Option<&'static str>,
    pub(crate) sides: fn() -> Sides,
}

pub(crate) const ALL: [Work; 7] = [
    pair::WORK,
    yielding::HUNDRED,
    yielding::TEN_THOUSAND,
    spawn_join::WORK,
    ping_pong::WORK,
    hand_off::WORK,
    lock::WORK,
];
