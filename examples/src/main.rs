//! The tour of Sisal, and the servers written on it.

#![forbid(unsafe_code)]

mod bench;
mod descriptors;
mod ported;
mod serve;
mod tour;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Sisal at work: without a command, a tour of under a minute
#[derive(Debug, Parser)]
#[command(name = "sisal-tour", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::Options),
    Bench(bench::Options),
    /// One side of a row of the latency table, for `bench`
    #[command(hide = true)]
    Side(sisal_benches::Side),
    /// A chat server with rooms, on fibers or on threads
    Chat(ported::Options),
    /// A key-value server, on fibers or on threads
    Kv(ported::Options),
    /// What many clients cost these two, on threads and on fibers
    Twice(ported::CompareOptions),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        None => tour::run(),
        Some(Command::Serve(options)) => serve::run(options),
        Some(Command::Bench(options)) => bench::run(&options),
        Some(Command::Side(side)) => side.serve(),
        Some(Command::Chat(options)) => ported::run(ported::Which::Chat, &options),
        Some(Command::Kv(options)) => ported::run(ported::Which::Kv, &options),
        Some(Command::Twice(options)) => ported::compare(&options),
    }
}
