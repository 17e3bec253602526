//! The thread that looks at the workers of a runtime and warns of a fiber that holds one for too long.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::probe::Probe;
use super::report::backtrace;
use super::signal;
use crate::current::{self, ThreadState};

/// Ends its thread when it is dropped.
pub(crate) struct Watchdog {
    /// Nothing is sent: it is dropped.
    alive: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Watchdog {
    /// # Errors
    /// The operating system's, for the signal handler and the thread.
    pub(crate) fn start(
        probes: Vec<Arc<Probe>>,
        limit: Duration,
        name: String,
    ) -> io::Result<Watchdog> {
        signal::install()?;
        let (alive, owner) = mpsc::channel();
        let thread = thread::Builder::new()
            .name(name)
            .spawn(move || watch(&probes, limit, &owner))?;
        Ok(Watchdog {
            alive: Some(alive),
            thread: Some(thread),
        })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        /// It may be in a subscriber that waits for what a stuck fiber holds.
        const PATIENCE: Duration = Duration::from_secs(1);
        self.alive = None;
        let (Some(thread), ThreadState::Plain) = (self.thread.take(), current::state()) else {
            return; // a worker does not wait: it may be the one that was asked
        };
        let begun = Instant::now();
        while !thread.is_finished() {
            if begun.elapsed() > PATIENCE {
                return;
            }
            thread::sleep(Duration::from_micros(100));
        }
        // It is over, and it does not panic.
        let _ = thread.join();
    }
}

/// What was seen of one worker.
struct Seen {
    /// `Probe::turns`.
    turns: u64,
    since: Instant,
    /// The next warning is due when it has held the worker for so long.
    due: Duration,
}

fn watch(probes: &[Arc<Probe>], limit: Duration, owner: &Receiver<()>) {
    const OFTENEST: Duration = Duration::from_millis(1);
    const SELDOMEST: Duration = Duration::from_secs(1);
    let pause = (limit / 4).clamp(OFTENEST, SELDOMEST);
    let now = Instant::now();
    let mut seen: Vec<Seen> = probes
        .iter()
        .map(|_| Seen {
            turns: 0,
            since: now,
            due: limit,
        })
        .collect();
    while let Err(RecvTimeoutError::Timeout) = owner.recv_timeout(pause) {
        for (worker, (probe, seen)) in probes.iter().zip(&mut seen).enumerate() {
            let turns = probe.turns();
            let in_fiber = turns % 2 == 1;
            if turns != seen.turns || !in_fiber {
                *seen = Seen {
                    turns,
                    since: Instant::now(),
                    due: limit,
                };
                continue;
            }
            let held = seen.since.elapsed();
            if held >= seen.due {
                seen.due = held * 2;
                // A subscriber may be anybody's code, and the watch goes on without it.
                let _ = catch_unwind(AssertUnwindSafe(|| warn(worker, probe, turns, held)));
            }
        }
    }
}

#[cold]
fn warn(worker: usize, probe: &Probe, turns: u64, held: Duration) {
    let Some(answer) = probe.ask(true) else {
        if probe.turns() == turns {
            tracing::warn!(
                target: "sisal::stall",
                worker,
                held_ms = held.as_millis() as u64,
                "a fiber has held worker {worker} for more than {held:?}; its thread does not answer"
            );
        }
        return;
    };
    let (true, Some(fiber)) = (answer.turns == turns, &answer.fiber) else {
        return; // it has just gone on
    };
    let fiber = fiber.named();
    tracing::warn!(
        target: "sisal::stall",
        worker,
        fiber = %fiber,
        held_ms = held.as_millis() as u64,
        "{fiber} has held worker {worker} for more than {held:?}. It is at:\n{}",
        backtrace(&answer)
    );
}
