//! `unwind_info` on Windows: functions made at run time, whose frames the system walks.
//!
//! Files: `system` is what the program needs of Windows; `code` is the machine code; `region` has it in memory, with its
//! table; `walks` and `panics` are the tests.
//!
//! The program prints a line per test, and how many passed at its end.

mod code;
mod panics;
mod region;
mod system;
mod walks;

type Test = (&'static str, fn());

const TESTS: &[Test] = &[
    (
        "functions are found while they are registered",
        walks::found,
    ),
    ("a walk goes through all frames", walks::every_frame),
    ("their caller's registers come back", walks::registers),
    ("our walk is the system's", walks::ours),
    ("without a table a walk ends", walks::not_registered),
    ("a panic passes the frames", panics::passes),
    (
        "registers are right in the midst of an unwind",
        panics::registers,
    ),
    ("many panics pass", panics::many),
];

fn main() {
    // Panics are the purpose here, those of tests' own assertions are not.
    std::panic::set_hook(Box::new(|info| {
        let ours = info.payload().downcast_ref::<&str>() == Some(&panics::TEXT);
        if !ours {
            println!("{info}");
        }
    }));
    for (name, test) in TESTS {
        test();
        println!("{name}: ok");
    }
    println!("{} tests passed", TESTS.len());
}
