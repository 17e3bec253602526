//! Two servers written once, with the names of std, and compiled twice: on threads and on fibers.
//!
//! | file | what |
//! |---|---|
//! | `chat.rs` | a chat with rooms |
//! | `kv.rs` | a key-value store |
//! | `lines.rs` | what both protocols are made of |
//! | `threads.rs`, `fibers.rs` | the two sets of imports, all that differs |
//! | `command.rs` | the `chat` and `kv` commands |
//! | `compare.rs` | the `twice` command: what 10,000 clients cost each of them |

mod command;
mod compare;
mod fibers;
mod threads;

pub(crate) use command::{Options, Which, run};
pub(crate) use compare::{Options as CompareOptions, run as compare};
