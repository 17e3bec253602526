//! The tour of Sisal, and the servers written on it.

#![forbid(unsafe_code)]

mod bench;
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
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        None => tour::run(),
        Some(Command::Serve(options)) => serve::run(options),
        Some(Command::Bench(options)) => bench::run(&options),
    }
}
