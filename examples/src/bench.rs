//! The `bench` command: the latency table alone.

use std::process::ExitCode;

/// Measure Sisal beside its peers and print the table
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Options {
    /// Print JSON instead of a table
    #[arg(long)]
    json: bool,

    /// Few short rounds: shows that every row works, and says little about speed
    #[arg(long)]
    quick: bool,
}

pub(crate) fn run(options: &Options) -> ExitCode {
    let chosen = sisal_benches::Options {
        quick: options.quick,
        ..Default::default()
    };
    let report = sisal_benches::run(&chosen, &mut |line| eprintln!("{line}"));
    let text = if options.json {
        report.short_json()
    } else {
        report.short_table()
    };
    println!("{text}");
    ExitCode::SUCCESS
}
