//! Log lines on their way to stderr.
//!
//! A fiber must not wait for a terminal or a full pipe: that would stop every connection of its
//! worker. So lines go into memory and a plain thread writes them out, many at a time. If it cannot
//! keep up, lines are lost and counted.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

/// What may wait to be written; at a hundred bytes a line some ten thousand requests.
const CAPACITY: usize = 1024 * 1024;

/// How long the first line waits for company.
const BATCH: Duration = Duration::from_millis(10);

/// How long the last lines may take: nobody may ever read the other end of stderr.
const FAREWELL: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct Queue {
    state: Mutex<State>,
    filled: Condvar,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<u8>,
    lost: u64,
    /// No more lines come.
    closed: bool,
    /// All lines are out.
    ended: bool,
}

/// Keeps the log going; dropping it writes out what is left.
#[derive(Debug)]
pub(crate) struct Log {
    queue: Arc<Queue>,
}

#[derive(Debug)]
pub(crate) struct Lines(Arc<Queue>);

impl Log {
    /// Sends `tracing` events to stderr, filtered by `RUST_LOG` or, without it, by `default`.
    pub(crate) fn start(default: &str) -> io::Result<Log> {
        let queue = Arc::<Queue>::default();
        let theirs = Arc::clone(&queue);
        thread::Builder::new()
            .name("log".to_owned())
            .spawn(move || theirs.write_out(&mut io::stderr()))?;
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
        let subscriber = tracing_subscriber::fmt()
            .with_env_filter(filter)
            .with_ansi(false)
            .with_writer(Lines(Arc::clone(&queue)));
        // Someone else's subscriber, if there is one, serves as well.
        let _ = subscriber.try_init();
        Ok(Log { queue })
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let mut state = self.queue.state();
        state.closed = true;
        self.queue.filled.notify_one();
        // Whether it ended or was given up makes no difference to us.
        let _ = self
            .queue
            .ended
            .wait_timeout_while(state, FAREWELL, |state| !state.ended);
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, line: &[u8]) {
        let mut state = self.state();
        if state.lines.len() + line.len() > CAPACITY {
            state.lost += 1;
            return;
        }
        let first = state.lines.is_empty();
        state.lines.extend_from_slice(line);
        drop(state);
        if first {
            self.filled.notify_one();
        }
    }

    fn write_out(&self, out: &mut impl Write) {
        let mut lines = Vec::new();
        loop {
            let mut state = self.state();
            while state.lines.is_empty() && !state.closed {
                state = self
                    .filled
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            if state.lines.is_empty() {
                state.ended = true;
                self.ended.notify_one();
                return;
            }
            if !state.closed {
                // Not a wait for anything: a moment in which more lines come, so that a write
                // carries many.
                (state, _) = self
                    .filled
                    .wait_timeout_while(state, BATCH, |state| !state.closed)
                    .unwrap_or_else(PoisonError::into_inner);
            }
            std::mem::swap(&mut lines, &mut state.lines);
            let lost = std::mem::take(&mut state.lost);
            drop(state);
            // If stderr is gone there is nobody to tell.
            let _ = out.write_all(&lines);
            lines.clear();
            if lost > 0 {
                let _ = writeln!(out, "{lost} log lines lost: stderr is too slow");
            }
        }
    }
}

impl Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Lines;

    fn make_writer(&'a self) -> &'a Lines {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_before_the_end_is_written() {
        let queue = Queue::default();
        queue.push(b"one\n");
        queue.push(b"two\n");
        queue.state().closed = true;
        let mut out = Vec::new();
        queue.write_out(&mut out);
        assert_eq!(out, b"one\ntwo\n");
    }

    #[test]
    fn too_much_is_lost_and_counted() {
        let queue = Queue::default();
        queue.push(&vec![b'x'; CAPACITY]);
        queue.push(b"y");
        queue.state().closed = true;
        let mut out = Vec::new();
        queue.write_out(&mut out);
        assert!(out.ends_with(b"x1 log lines lost: stderr is too slow\n"));
    }
}
