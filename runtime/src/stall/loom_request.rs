//! Models of "Interrogation" in README.md of `sched`.

use loom::cell::UnsafeCell;
use loom::sync::Arc;
use loom::thread;

use super::request::Request;

struct Asked {
    request: Request,
    memory: UnsafeCell<u32>,
}

// SAFETY: `memory` is shared by the protocol that is checked here.
unsafe impl Sync for Asked {}
// SAFETY: as above.
unsafe impl Send for Asked {}

/// One question, and a handler that may be late: the memory is never both sides', and an answer is whole.
fn ask(patience: usize) {
    loom::model(move || {
        let asked = Arc::new(Asked {
            request: Request::new(),
            memory: UnsafeCell::new(0),
        });
        // The signal was sent: the handler runs now, or after the asker gave up.
        asked.memory.with_mut(|memory| unsafe { *memory = 1 });
        asked.request.ask();
        let handler = thread::spawn({
            let asked = Arc::clone(&asked);
            move || {
                let taken = asked.request.take();
                if taken {
                    asked.memory.with_mut(|memory| unsafe { *memory += 41 });
                    asked.request.answer();
                }
                taken
            }
        });
        let mut answered = false;
        for _ in 0..patience {
            answered = answered || asked.request.take_answer();
        }
        if !answered && !asked.request.withdraw() {
            while !asked.request.take_answer() {
                thread::yield_now();
            }
            answered = true;
        }
        let expected = if answered { 42 } else { 1 };
        asked
            .memory
            .with_mut(|memory| unsafe { assert_eq!(std::mem::take(&mut *memory), expected) });
        assert_eq!(handler.join().unwrap(), answered);
        // It can be asked again, and nobody answers what was not asked.
        assert!(!asked.request.take() && !asked.request.take_answer());
    });
}

#[test]
fn loom_interrogation_is_answered_or_withdrawn() {
    ask(0);
    ask(2);
}
