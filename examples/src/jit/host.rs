//! What compiled code may call: Rust functions, by name. They wait, panic and look at the stack as any function of a fiber
//! may.

use std::time::Duration;

use switch_asm::unwind_info::Abi;

use super::stack;

type Function = fn(i64) -> i64;

const FUNCTIONS: [(&str, Function); 4] = [
    ("twice", |n| n.wrapping_mul(2)),
    ("wait", wait),
    ("fail", fail),
    ("trace", trace),
];

/// What compiled code gets a reference to.
#[derive(Debug)]
pub(crate) struct Host;

impl Host {
    pub(crate) fn names() -> impl Iterator<Item = &'static str> {
        FUNCTIONS.iter().map(|(name, _)| *name)
    }

    pub(crate) fn index_of(name: &str) -> Option<u32> {
        let index = FUNCTIONS.iter().position(|(known, _)| *known == name)?;
        u32::try_from(index).ok()
    }

    /// What the function of this name makes of `n`, called by Rust.
    #[cfg(test)]
    pub(crate) fn call_by_name(name: &str, n: i64) -> i64 {
        let (_, function) = FUNCTIONS.iter().find(|(known, _)| *known == name).unwrap();
        function(n)
    }

    fn call(&self, index: u32, n: i64) -> i64 {
        FUNCTIONS[index as usize].1(n)
    }
}

/// Where compiled code calls into Rust. `-unwind`: a panic comes back through it.
extern "sysv64-unwind" fn call_sysv(host: &Host, index: u32, n: i64) -> i64 {
    host.call(index, n)
}

extern "win64-unwind" fn call_win64(host: &Host, index: u32, n: i64) -> i64 {
    host.call(index, n)
}

pub(crate) fn entry(abi: Abi) -> *const () {
    match abi {
        Abi::SysV => call_sysv as *const (),
        Abi::Win64 => call_win64 as *const (),
    }
}

/// Parks the fiber for so many milliseconds, the frames of compiled code below it and all.
fn wait(n: i64) -> i64 {
    sisal::fiber::sleep(Duration::from_millis(n.max(0).cast_unsigned()));
    n
}

fn fail(n: i64) -> i64 {
    panic!("fail({n})")
}

/// Prints who called.
fn trace(n: i64) -> i64 {
    for line in stack::from_here() {
        println!("    {line}");
    }
    n
}
