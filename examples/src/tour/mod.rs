//! The tour: what Sisal is for, shown in under a minute and checked as it goes.
//!
//! Three stops, one file each; a stop that finds something wrong says what, and the tour's exit
//! code is then not 0.

mod async_side;
mod client;
mod load;
mod samples;
mod table;

use std::process::ExitCode;

/// A stop prints what it shows; an error is what was not as it should be.
type Stop = fn() -> Result<(), String>;

const STOPS: [(&str, Stop); 3] = [
    ("Fibers from async code", async_side::show),
    (
        "A blocking-style file server, and a thousand async clients",
        load::show,
    ),
    ("The cost of a switch, beside others", table::show),
];

pub(crate) fn run() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (number, (title, show)) in STOPS.into_iter().enumerate() {
        println!("{}. {title}", number + 1);
        if let Err(wrong) = show() {
            println!("   WRONG: {wrong}");
            code = ExitCode::FAILURE;
        }
        println!();
    }
    code
}
