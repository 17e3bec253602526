//! The word by which one thread asks another's signal handler, and gets an answer in memory that both know.
//!
//! | state | the memory is |
//! |---|---|
//! | `IDLE` | the asker's |
//! | `ASKED` | nobody's: the handler may take it, the asker may take it back |
//! | `TAKEN` | the handler's |
//! | `ANSWERED` | the asker's, and has the answer |

use crate::shim::{AtomicU32, Ordering};

const IDLE: u32 = 0;
const ASKED: u32 = 1;
const TAKEN: u32 = 2;
const ANSWERED: u32 = 3;

pub(super) struct Request(AtomicU32);

impl Request {
    pub(super) fn new() -> Request {
        Request(AtomicU32::new(IDLE))
    }

    /// The asker, of whom there is one at a time. From here on the memory is not its.
    pub(super) fn ask(&self) {
        // Release pairs with the Acquire in `take`: the memory is prepared.
        self.0.store(ASKED, Ordering::Release);
    }

    /// The handler. True: the memory is its until `answer`.
    #[must_use]
    pub(super) fn take(&self) -> bool {
        // Acquire pairs with the Release in `ask`.
        let taken = self
            .0
            .compare_exchange(ASKED, TAKEN, Ordering::Acquire, Ordering::Relaxed);
        taken.is_ok()
    }

    /// The handler, after `take`.
    pub(super) fn answer(&self) {
        // Release pairs with the Acquire in `take_answer`.
        self.0.store(ANSWERED, Ordering::Release);
    }

    /// The asker. True: the answer is there, and the memory is its again.
    #[must_use]
    pub(super) fn take_answer(&self) -> bool {
        // Acquire pairs with the Release in `answer`.
        let answered = self.0.load(Ordering::Acquire) == ANSWERED;
        if answered {
            self.0.store(IDLE, Ordering::Relaxed);
        }
        answered
    }

    /// The asker gives up. True: the memory is its again, without an answer. False: the handler has it, and an answer comes.
    #[must_use]
    pub(super) fn withdraw(&self) -> bool {
        // Relaxed: the handler has written nothing.
        let withdrawn = self
            .0
            .compare_exchange(ASKED, IDLE, Ordering::Relaxed, Ordering::Relaxed);
        withdrawn.is_ok()
    }
}
