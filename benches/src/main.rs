//! Prints the table: `cargo run --release -p sisal-benches -- [--quick] [--json]`.

use std::process::ExitCode;

use sisal_benches::{Options, run};

fn main() -> ExitCode {
    let mut options = Options::default();
    let mut json = false;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--json" => json = true,
            other => {
                eprintln!("unknown argument {other:?}; usage: sisal-benches [--quick] [--json]");
                return ExitCode::FAILURE;
            }
        }
    }
    let report = run(&options, &mut |line| eprintln!("{line}"));
    let text = if json { report.json() } else { report.table() };
    println!("{text}");
    ExitCode::SUCCESS
}
