//! A static file server for HTTP/1.1, written the way one would write it with threads.
//!
//! Every connection is a fiber running a plain loop: read a request, answer it, again. What blocks
//! on the disk goes through `unblock`; what waits for a signal or for the last connection blocks on
//! a tokio future. Reading order: `server` accepts, `connection` is the loop, `answer` picks the
//! bytes; the other files are one idea each.
//!
//! Not here, on purpose: TLS, compression, directory listings, several ranges in one answer.

mod access;
mod answer;
mod body;
mod command;
mod conditional;
mod connection;
mod date;
mod files;
mod framing;
mod head;
mod input;
mod log;
mod mime;
mod options;
mod path;
mod range;
mod registry;
mod respond;
mod rt;
mod server;

pub(crate) use command::run;
pub(crate) use files::Root;
pub(crate) use options::{Limits, Options};
pub(crate) use server::Server;
