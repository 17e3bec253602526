//! A small JIT: expressions become machine code that runs on fibers, calls Rust, parks there, panics through, is walked and is cancelled.
//!
//! | file | what |
//! |---|---|
//! | `expr.rs` | the language |
//! | `compile.rs` | expressions to machine code, and its frame |
//! | `program.rs` | code in memory, and calling it |
//! | `host.rs` | what it may call |
//! | `stack.rs` | a backtrace |
//! | `demo.rs` | the `demo` command |

mod compile;
mod demo;
mod expr;
mod host;
mod program;
mod stack;

use std::error::Error;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use switch_asm::unwind_info::Abi;

use program::Program;

/// Expressions, compiled to machine code that runs on fibers
#[derive(Debug, Parser)]
#[command(name = "sisal-jit", version)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// What compiled code can do on a fiber (without a command: this)
    Demo,
    /// Compiles an expression and runs it on a fiber
    Eval {
        /// Of integers, `x`, `+ - *`, brackets and calls of twice, wait, fail, trace
        expression: String,
        /// Its argument
        #[arg(short, default_value_t = 0, allow_negative_numbers = true)]
        x: i64,
        /// The calling convention
        #[arg(long, value_enum, default_value_t = Convention::Sysv64)]
        abi: Convention,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Convention {
    Sysv64,
    Win64,
}

fn main() -> ExitCode {
    let ran = match Arguments::parse().command.unwrap_or(Command::Demo) {
        Command::Demo => demo::run(),
        Command::Eval { expression, x, abi } => eval(&expression, x, abi),
    };
    match ran {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn eval(
    expression: &str,
    x: i64,
    convention: Convention,
) -> Result<(), Box<dyn Error + Send + Sync>> {
    let abi = match convention {
        Convention::Sysv64 => Abi::SysV,
        Convention::Win64 => Abi::Win64,
    };
    let program = Program::new(expression, abi)?;
    let value = sisal::run(move || sisal::fiber::spawn(move || program.call(x)).join())?;
    println!("{value}");
    Ok(())
}
