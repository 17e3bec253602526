//! What a row is before it is measured.

use std::time::Duration;

use crate::foreign::{self, Foreign};

/// One side of a row: does so many units of work, checks that they were done, and says what they took, in the row's
/// unit.
pub(crate) type Side = Box<dyn FnMut(u64) -> u64>;

/// Makes a side, with its runtime already running.
pub(crate) type Make = fn(Scale) -> Side;

/// A side that is timed.
pub(crate) fn timed(mut side: impl FnMut(u64) -> Duration + 'static) -> Side {
    Box::new(move |units| {
        let nanos = side(units).as_nanos();
        u64::try_from(nanos).expect("a round is over within centuries")
    })
}

/// How large the work is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// What the row's name says there are so many of: fibers, sleepers, leaves.
    pub(crate) size: u64,
    /// Threads of the runtime that run fibers.
    pub(crate) workers: usize,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Unit {
    Nanoseconds,
    /// Of memory. A process measures it once.
    Bytes,
}

/// A row: everything about it but the figures.
pub(crate) struct Work {
    pub(crate) name: &'static str,
    /// Rows that differ only in their size share a group, and a curve.
    pub(crate) group: &'static str,
    pub(crate) size: u64,
    /// The size in a quick run.
    pub(crate) quick: u64,
    pub(crate) workers: usize,
    /// Processors that a side is pinned to.
    pub(crate) cpus: usize,
    pub(crate) unit: Unit,
    /// What the table prices.
    pub(crate) operation: &'static str,
    /// A unit is what a side can repeat; so many operations are in one, by the size.
    pub(crate) operations: fn(u64) -> u64,
    /// With fewer units the edges of a round would show.
    pub(crate) least_units: u64,
    /// What a reader must know to judge the row, if anything.
    pub(crate) note: Option<&'static str>,
    /// Whether it stands in the short table.
    pub(crate) short: bool,
    /// Sisal's side, then that of the peer it is judged by, then the others.
    pub(crate) sides: &'static [(&'static str, Make)],
    /// Peers in other languages.
    pub(crate) foreign: &'static [Abroad],
}

/// A peer's name, and the program that does its rows.
pub(crate) type Abroad = (&'static str, &'static Foreign);

pub(crate) const GO: Abroad = ("Go", &foreign::GO);
pub(crate) const BOOST_FIBER: Abroad = ("boost.fiber", &foreign::BOOST);
pub(crate) const BOOST_CONTEXT: Abroad = ("boost.context", &foreign::BOOST);

impl Work {
    /// What most rows have in common.
    pub(crate) const BASE: Work = Work {
        name: "",
        group: "",
        size: 1,
        quick: 1,
        workers: 1,
        cpus: 1,
        unit: Unit::Nanoseconds,
        operation: "",
        operations: |_| 1,
        least_units: 1,
        note: None,
        short: false,
        sides: &[],
        foreign: &[],
    };
}

/// All peers with a runtime: one function for those with fibers or threads, one for those with tasks.
macro_rules! everybody {
    ($fibers:ident, $tasks:ident) => {
        &[
            ("sisal", $fibers::<crate::faces::Sisal>),
            ("tokio current_thread", $tasks::<crate::faces::Current>),
            ("tokio multi_thread", $tasks::<crate::faces::Multi>),
            ("smol", $tasks::<crate::faces::Smol>),
            ("may", $fibers::<crate::faces::May>),
            ("std threads", $fibers::<crate::faces::Threads>),
        ]
    };
}

/// The same without threads: there are too many fibers for them.
macro_rules! no_threads {
    ($fibers:ident, $tasks:ident) => {
        &[
            ("sisal", $fibers::<crate::faces::Sisal>),
            ("tokio current_thread", $tasks::<crate::faces::Current>),
            ("tokio multi_thread", $tasks::<crate::faces::Multi>),
            ("smol", $tasks::<crate::faces::Smol>),
            ("may", $fibers::<crate::faces::May>),
        ]
    };
}

/// All that can have several workers.
macro_rules! several_workers {
    ($fibers:ident, $tasks:ident) => {
        &[
            ("sisal", $fibers::<crate::faces::Sisal>),
            ("tokio multi_thread", $tasks::<crate::faces::Multi>),
            ("smol", $tasks::<crate::faces::Smol>),
            ("may", $fibers::<crate::faces::May>),
            ("std threads", $fibers::<crate::faces::Threads>),
        ]
    };
}

pub(crate) use {everybody, no_threads, several_workers};
