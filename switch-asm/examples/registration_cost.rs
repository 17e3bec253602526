//! What it costs to register functions: all of them in one region, and each by
//! itself, which is what not to do. `cargo run --release -p switch-asm --features unwind-info --example registration_cost`

use std::panic::{catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use switch_asm::unwind_info::dwarf::{EhFrameBuilder, Options, PointerEncoding};
use switch_asm::unwind_info::{CodeRegion, FrameLayout, Gpr, Op, Registration};

type Callback = extern "sysv64-unwind" fn();
type Function = unsafe extern "sysv64-unwind" fn(Callback);

/// `push rbx; call rdi; nop; pop rbx; ret`
const CODE: [u8; 6] = [0x53, 0xff, 0xd7, 0x90, 0x5b, 0xc3];

fn layout() -> FrameLayout {
    let layout = FrameLayout::builder().op(1, Op::Push(Gpr::Rbx));
    layout.code_len(6).finish().expect("a valid layout")
}

extern "sysv64-unwind" fn throws() {
    resume_unwind(Box::new(()));
}

/// How long a panic takes through the function at this address.
fn throw(address: *const u8) -> Duration {
    // SAFETY: that is its signature; whoever calls this has it registered.
    let function: Function = unsafe { std::mem::transmute(address) };
    let begun = Instant::now();
    // SAFETY: its region lives.
    let caught = catch_unwind(|| unsafe { function(throws) });
    let took = begun.elapsed();
    assert!(caught.is_err());
    took
}

/// The median of later throws.
fn later(address: *const u8) -> Duration {
    let mut all: Vec<Duration> = (0..101).map(|_| throw(address)).collect();
    all.sort();
    all[50]
}

fn print(name: &str, count: usize, columns: [Duration; 5]) {
    let columns = columns.map(|time| format!("{:>10.1}", time.as_secs_f64() * 1e6));
    println!("{name:<24}{count:>8}{}", columns.join(""));
}

fn one_region(count: usize) {
    let layout = layout();
    let begun = Instant::now();
    let mut builder = CodeRegion::builder(count * 16).expect("memory");
    for _ in 0..count {
        builder.push(&CODE, &layout).expect("room");
    }
    let described = begun.elapsed();
    let begun = Instant::now();
    let region = builder.seal().expect("registered");
    let registered = begun.elapsed();
    let address = region.function(count / 2);
    let first = throw(address);
    let later = later(address);
    let begun = Instant::now();
    drop(region);
    print(
        "one region",
        count,
        [described, registered, first, later, begun.elapsed()],
    );
}

/// Registers each function by itself, and forgets them from the first to the last or from the last to the first.
fn each_by_itself(count: usize, newest_first: bool) {
    let layout = layout();
    let memory = Memory::new(count);
    let begun = Instant::now();
    let sections: Vec<Vec<u8>> = (0..count)
        .map(|number| {
            let mut section = EhFrameBuilder::new(PointerEncoding::Absolute, Options::new());
            let address = memory.function(number).addr() as u64;
            section.add(address, &layout).expect("it can be said");
            section.finish(0).expect("one function")
        })
        .collect();
    let described = begun.elapsed();
    let begun = Instant::now();
    let mut all: Vec<Registration> = sections
        .into_iter()
        // SAFETY: that is the code, which is never unmapped; nobody is in it when they are dropped.
        .map(|section| unsafe { Registration::eh_frame(section) }.expect("registered"))
        .collect();
    let registered = begun.elapsed();
    let address = memory.function(count / 2);
    let first = throw(address);
    let later = later(address);
    let begun = Instant::now();
    if newest_first {
        while all.pop().is_some() {}
    }
    drop(all);
    let name = if newest_first {
        "each, newest first"
    } else {
        "each, oldest first"
    };
    print(
        name,
        count,
        [described, registered, first, later, begun.elapsed()],
    );
}

/// Executable memory that nobody has described; it is never unmapped.
struct Memory(*const u8);

impl Memory {
    fn new(count: usize) -> Memory {
        let len = count * 16;
        // SAFETY: new memory, written to within its length.
        unsafe {
            let access = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let start = libc::mmap(std::ptr::null_mut(), len, access, flags, -1, 0);
            assert_ne!(start, libc::MAP_FAILED);
            let start: *mut u8 = start.cast();
            for number in 0..count {
                let target = start.add(number * 16);
                target.copy_from_nonoverlapping(CODE.as_ptr(), CODE.len());
            }
            let access = libc::PROT_READ | libc::PROT_EXEC;
            assert_eq!(libc::mprotect(start.cast(), len, access), 0);
            Memory(start)
        }
    }

    fn function(&self, number: usize) -> *const u8 {
        self.0.wrapping_add(number * 16)
    }
}

fn main() {
    let heads = ["describe", "register", "1st throw", "later", "drop"];
    let heads: String = heads.map(|head| format!("{head:>10}")).concat();
    println!("{:<24}{:>8}{heads}   (microseconds)", "", "n");
    for count in [1, 1000, 10_000, 40_000] {
        one_region(count);
    }
    for count in [1000, 10_000] {
        each_by_itself(count, true);
        each_by_itself(count, false);
    }
    // Takes seconds, of which this wants to warn.
    if std::env::args().any(|argument| argument == "--all") {
        each_by_itself(40_000, true);
        each_by_itself(40_000, false);
    }
}
