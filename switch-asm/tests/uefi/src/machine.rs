//! The virtual machine that the program runs in: two of its ports. Must not know
//! what is tested.

use core::arch::asm;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

/// QEMU's `isa-debugcon`: each byte written is a byte of output.
const CONSOLE: u16 = 0xe9;
/// QEMU's `isa-debug-exit`: a value written ends QEMU with status `2 n + 1`.
const EXIT: u16 = 0xf4;

/// How the run ended.
#[derive(Clone, Copy)]
pub enum Outcome {
    /// Status 33.
    Passed = 0x10,
    /// Status 35.
    Failed = 0x11,
}

struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // SAFETY: the port takes any byte and changes nothing else.
            unsafe { asm!("out dx, al", in("dx") CONSOLE, in("al") byte, options(nomem, nostack)) }
        }
        Ok(())
    }
}

pub fn print(text: fmt::Arguments<'_>) {
    Console
        .write_fmt(text)
        .expect("the console takes everything");
}

pub fn exit(outcome: Outcome) -> ! {
    // SAFETY: ends the machine; should it not, the loop stays here.
    unsafe { asm!("out dx, eax", in("dx") EXIT, in("eax") outcome as u32, options(nomem, nostack)) }
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panicked(info: &PanicInfo<'_>) -> ! {
    print(format_args!("FAILED\n{info}\n"));
    exit(Outcome::Failed)
}
