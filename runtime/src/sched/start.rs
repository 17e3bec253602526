//! How a runtime's starter learns what became of its workers.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

use crate::error::because;

/// The starter's end. (Not a channel: std's parks its receiver, and that takes a token which the starting
/// thread's user may have left for a `park` of their own.)
pub(crate) struct Starts(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    all: Condvar,
}

struct State {
    /// `Starting`s that are there.
    left: usize,
    result: io::Result<()>,
}

/// A worker's end: dropped, the worker has started.
pub(crate) struct Starting {
    shared: Arc<Shared>,
    worker: usize,
}

impl Starts {
    pub(crate) fn new() -> Starts {
        Starts(Arc::new(Shared {
            state: Mutex::new(State {
                left: 0,
                result: Ok(()),
            }),
            all: Condvar::new(),
        }))
    }

    pub(crate) fn worker(&self, worker: usize) -> Starting {
        self.0.state.lock().left += 1;
        Starting {
            shared: Arc::clone(&self.0),
            worker,
        }
    }

    /// Waits until every worker has said what became of it.
    ///
    /// # Errors
    /// Why one could not start: the first that said so.
    pub(crate) fn wait(self) -> io::Result<()> {
        let mut state = self.0.state.lock();
        while state.left > 0 {
            self.0.all.wait(&mut state);
        }
        std::mem::replace(&mut state.result, Ok(()))
    }
}

impl Starting {
    /// The worker has no reactor.
    pub(crate) fn failed(self, error: io::Error) {
        let what = format!(
            "worker {} could not make its reactor, which takes a few descriptors",
            self.worker
        );
        let error = because(what, error);
        let mut state = self.shared.state.lock();
        if state.result.is_ok() {
            state.result = Err(error);
        }
    }
}

impl Drop for Starting {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        state.left -= 1;
        if state.left == 0 {
            self.shared.all.notify_one();
        }
    }
}
