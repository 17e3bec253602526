//! What a side writes to its standard error: read to the end, kept up to a limit, and the reason in it.

use std::io::{BufRead, Read, Write};

/// So many lines are kept. A peer that panics in each of its fibers says the same a hundred thousand times.
const KEPT: usize = 20;

/// Longer lines are cut.
const WIDTH: usize = 300;

/// The first lines of a side's standard error.
#[derive(Debug, Default)]
pub(crate) struct Complaint {
    lines: Vec<String>,
    /// How many more there were.
    more: u64,
}

impl Complaint {
    /// Reads until the other end is closed.
    pub(crate) fn read(mut from: impl BufRead) -> Complaint {
        let mut complaint = Complaint::default();
        let mut line = Vec::new();
        loop {
            line.clear();
            // What is left of a long line is the next one: no line may take all memory.
            match (&mut from).take(1 << 16).read_until(b'\n', &mut line) {
                Ok(1..) => complaint.add(&line),
                Ok(0) | Err(_) => return complaint,
            }
        }
    }

    fn add(&mut self, line: &[u8]) {
        if self.lines.len() >= KEPT {
            self.more += 1;
            return;
        }
        let text = String::from_utf8_lossy(line);
        let text = text.trim_end();
        if !text.is_empty() {
            self.lines.push(text.chars().take(WIDTH).collect());
        }
    }

    /// The first line that says something, with those that continue it: they are indented.
    pub(crate) fn reason(&self) -> Option<String> {
        let mut lines = self.lines.iter().filter(|line| says_something(line));
        let first = lines.next()?;
        let rest = lines.take_while(|line| line.starts_with([' ', '\t']));
        let all = std::iter::once(first).chain(rest);
        let all: Vec<&str> = all.map(|line| line.trim()).collect();
        Some(all.join(" "))
    }

    /// Writes what there is for a reader, after the name of who said it.
    pub(crate) fn pass_on(&self, name: &str, to: &mut dyn Write) {
        // If nobody can read it, there is nobody to tell.
        for line in &self.lines {
            let _ = writeln!(to, "{name}: {line}");
        }
        if self.more > 0 {
            let _ = writeln!(to, "{name}: and {} lines more", self.more);
        }
    }
}

/// Where a panic was and how to get a backtrace is not why.
fn says_something(line: &str) -> bool {
    let place = line.starts_with("thread '") && line.contains(" panicked at ");
    !place && !line.starts_with("note: ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(text: &str) -> Option<String> {
        Complaint::read(text.as_bytes()).reason()
    }

    #[test]
    fn the_reason_of_a_panic_is_its_message() {
        let panic = "\nthread '<unnamed>' (7) panicked at src/stack.rs:1:2:\n\
                     no stack: Cannot allocate memory\n\
                     note: run with `RUST_BACKTRACE=1`\n\
                     \nthread 'main' (1) panicked at src/may.rs:3:4:\na coroutine ends\n";
        let why = reason(panic);
        assert_eq!(why.as_deref(), Some("no stack: Cannot allocate memory"));
    }

    #[test]
    fn the_reason_of_others_is_their_first_line_with_its_indented_ones() {
        let cpp = "terminate called after throwing an instance of 'std::bad_alloc'\n  what():  std::bad_alloc\n";
        let why = "terminate called after throwing an instance of 'std::bad_alloc' what():  std::bad_alloc";
        assert_eq!(reason(cpp).as_deref(), Some(why));
        let go = "panic: a message was lost\n\ngoroutine 1 [running]:\nmain.main()\n\t/x.go:3\n";
        assert_eq!(reason(go).as_deref(), Some("panic: a message was lost"));
        assert_eq!(reason("\n\n"), None);
    }

    #[test]
    fn a_flood_is_counted_and_not_kept() {
        let complaint = Complaint::read("again\n".repeat(1_000).as_bytes());
        let mut passed = Vec::new();
        complaint.pass_on("may", &mut passed);
        let passed = String::from_utf8(passed).unwrap();
        assert_eq!(passed.lines().count(), KEPT + 1, "{passed}");
        assert!(passed.ends_with("may: and 980 lines more\n"), "{passed}");
        assert_eq!(Complaint::read(&*vec![b'x'; 1 << 20]).lines[0].len(), WIDTH);
    }
}
