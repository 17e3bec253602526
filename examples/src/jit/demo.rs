//! The `demo` command: compiled code on fibers, doing what is hard to do through frames that nobody knows.

use std::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use sisal::fiber;
use switch_asm::unwind_info::Abi;
use switch_asm::unwind_info::dwarf;

use super::compile::compile;
use super::expr::Expr;
use super::program::Program;

/// How many fibers are parked in compiled code at once.
const FIBERS: i64 = 1_000;

pub(crate) fn run() -> Result<(), Box<dyn Error + Send + Sync>> {
    // A panic is part of the show: its message comes with `join`.
    std::panic::set_hook(Box::new(|_| {}));
    for (abi, name) in [(Abi::SysV, "sysv64"), (Abi::Win64, "win64")] {
        println!("== {name}");
        describe(abi)?;
        sisal::run(|| on_fibers(abi))?;
    }
    Ok(())
}

/// What the compiler says of a function: the same list of steps that the unwinder gets.
fn describe(abi: Abi) -> Result<(), Box<dyn Error + Send + Sync>> {
    let text = "3 * x + twice(x - 1)";
    let (code, layout) = compile(&Expr::parse(text)?, abi)?;
    layout.check_code(&code)?;
    println!("{text}: {} bytes", code.len());
    for row in dwarf::rows(&layout) {
        println!("    {row}");
    }
    Ok(())
}

fn on_fibers(abi: Abi) -> Result<(), Box<dyn Error + Send + Sync>> {
    let program = |text: &str| -> Result<Arc<Program>, Box<dyn Error + Send + Sync>> {
        Ok(Arc::new(Program::new(text, abi)?))
    };

    let sum = program("3 * x + twice(x - 1)")?;
    println!("3 * x + twice(x - 1) = {} for x = 7", sum.call(7));

    let waits = program("x + wait(20)")?;
    let fibers: Vec<_> = (0..FIBERS)
        .map(|x| {
            let waits = Arc::clone(&waits);
            fiber::spawn(move || waits.call(x))
        })
        .collect();
    let mut total = 0;
    for fiber in fibers {
        total += fiber.join()?;
    }
    println!("{FIBERS} fibers waited in it at once: the sum is {total}");

    println!("its callers, as a function that it called sees them:");
    let traces = program("1 + trace(x)")?;
    fiber::spawn(move || traces.call(1)).join()?;

    let drops = Arc::new(AtomicU32::new(0));
    let fails = program("1 + fail(x)")?;
    let counted = Counted(Arc::clone(&drops));
    let failed = fiber::spawn(move || {
        let _counted = counted;
        fails.call(7)
    });
    let Err(error) = failed.join() else {
        return Err("it should have panicked".into());
    };
    println!(
        "a panic came through it: {error}; destructors run: {}",
        drops.load(Ordering::Relaxed)
    );

    let counted = Counted(Arc::clone(&drops));
    let long = program("1 + wait(3600000)")?;
    let (at_it, is_at_it) = sisal::sync::oneshot::channel();
    let parked = fiber::spawn(move || {
        let _counted = counted;
        let _ = at_it.send(());
        long.call(0)
    });
    is_at_it.recv()?;
    parked.cancel();
    let Err(error) = parked.join() else {
        return Err("it should have been cancelled".into());
    };
    println!(
        "cancelled while parked in it: {error}; destructors run: {}",
        drops.load(Ordering::Relaxed)
    );
    Ok(())
}

/// Counts how often it is dropped.
struct Counted(Arc<AtomicU32>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
