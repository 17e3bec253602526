//! Servers over loopback: server and client in processes of their own, on processors of their own.
//!
//! One client, one comparison and one way to count for every [`Protocol`]; only the servers and what is said differ.

mod client;
mod compare;
mod counts;
mod echo;
mod http;
mod protocol;
mod server;

pub use client::Client;
pub use compare::{rows, times};
pub use protocol::Protocol;
pub use server::Server;
