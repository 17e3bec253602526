//! The servers on std's threads.
#![expect(clippy::duplicate_mod, reason = "compiled twice is what they are for")]

#[path = "chat.rs"]
pub(super) mod chat;
#[path = "kv.rs"]
pub(super) mod kv;
#[path = "lines.rs"]
mod lines;

mod rt {
    pub(super) use std::{net, sync, thread};
}
