//! Echo over loopback: server and client in processes of their own, on processors of their own.

mod client;
mod compare;
mod counts;
mod server;

pub use client::Client;
pub use compare::rows;
pub use server::Server;
