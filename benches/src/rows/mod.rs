//! The rows, one file for each piece of work.
//!
//! A row knows its work and nothing of rounds, medians or printing.

mod block_on;
mod create;
mod crowd;
mod fan;
mod fork_join;
mod hand_off;
mod lock;
mod memory;
mod pair;
mod ping_pong;
mod sleepers;
mod spawn_join;
mod turns;
mod wake_all;
mod work;
mod yielding;

pub(crate) use work::{Scale, Side, Unit, Work};

pub(crate) const ALL: &[&[Work]] = &[
    pair::ROWS,
    create::ROWS,
    block_on::ROWS,
    yielding::ROWS,
    spawn_join::ROWS,
    hand_off::ROWS,
    ping_pong::ROWS,
    fan::ROWS,
    lock::ROWS,
    sleepers::ROWS,
    fork_join::ROWS,
    wake_all::ROWS,
    memory::ROWS,
];
