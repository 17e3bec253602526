//! Text to stderr from a signal handler: no allocation, no lock, as long as it takes.

use std::fmt::{self, Write};

/// Writes it with as few system calls as a small buffer allows.
pub(super) fn write(text: fmt::Arguments<'_>) {
    let mut out = Out {
        buffer: [0; 512],
        used: 0,
    };
    // `Out` has no error, and what is shown here has none either.
    let _ = out.write_fmt(text);
    out.flush();
}

struct Out {
    buffer: [u8; 512],
    used: usize,
}

impl Out {
    fn flush(&mut self) {
        let mut left = &self.buffer[..self.used];
        while !left.is_empty() {
            // SAFETY: reads the buffer.
            let written =
                unsafe { libc::write(libc::STDERR_FILENO, left.as_ptr().cast(), left.len()) };
            match written {
                1.. => left = &left[written as usize..],
                // SAFETY: this thread's own.
                _ if unsafe { *libc::__errno_location() } == libc::EINTR => {}
                // Nobody can be told.
                _ => break,
            }
        }
        self.used = 0;
    }
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if self.used == self.buffer.len() {
                self.flush();
            }
            self.buffer[self.used] = byte;
            self.used += 1;
        }
        Ok(())
    }
}
