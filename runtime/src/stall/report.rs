//! The backtrace of an answer, as text.

use std::cell::Cell;
use std::fmt::Write;

use super::probe::Answer;
use crate::walk::{Modules, Scratch};

/// More is a recursion, and would be no help.
const MOST_FRAMES: usize = 256;

/// Frame by frame from the innermost, as std's backtraces look.
pub(super) fn backtrace(answer: &Answer) -> String {
    let stack = &answer.stack[..answer.copied];
    // The first frame's way on leads through the base of the stack, to what is not there.
    let at_base = Cell::new(false);
    let read = |address: usize| {
        at_base.set(at_base.get() || address >= answer.link.seems);
        let at = address.checked_sub(answer.registers.sp)?;
        let word = stack.get(at..)?.first_chunk()?;
        Some(answer.link.seen(usize::from_ne_bytes(*word)))
    };
    let mut addresses = Vec::new();
    let mut cut = false;
    let each = |address: usize| {
        if at_base.get() {
            return false;
        }
        cut = addresses.len() == MOST_FRAMES;
        if !cut {
            addresses.push(address);
        }
        !cut
    };
    // Now, not at the start: what was loaded in between is there.
    Modules::loaded().walk(&mut Scratch::new(), answer.registers, read, each);
    let mut text = String::new();
    for (at, address) in addresses.into_iter().enumerate() {
        frame(&mut text, at, address);
    }
    if cut || !at_base.get() {
        text.push_str("      (and more, or no way on)\n");
    }
    text
}

/// One address: the functions that were inlined there, and the one they are in.
fn frame(text: &mut String, at: usize, address: usize) {
    let mut number = format!("{at:4}");
    // It takes a return address, and looks one byte before it.
    backtrace::resolve((address + 1) as *mut _, |symbol| {
        // Writing to a string cannot fail.
        let _ = match symbol.name() {
            Some(name) => writeln!(text, "{number}: {name:#}"),
            None => writeln!(text, "{number}: {address:#x}"),
        };
        if let (Some(file), Some(line)) = (symbol.filename(), symbol.lineno()) {
            let _ = writeln!(text, "             at {}:{line}", file.display());
        }
        number = " ".repeat(4);
    });
    if !number.trim().is_empty() {
        let _ = writeln!(text, "{number}: {address:#x}");
    }
}
