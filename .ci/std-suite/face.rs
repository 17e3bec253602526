//! std's names over Sisal's modules: what a program gets that replaces its imports. std's tests are put below, as
//! they are below std's own modules.
#![cfg(test)]
// Named by the tests; nothing of Sisal is behind them.
#![feature(core_io_borrowed_buf, io_error_uncategorized, unix_socket_ancillary_data)]
// The texts are std's: what they leave unused is no matter, and what is left out leaves more.
#![allow(unused, dead_code, non_snake_case, deprecated)]

// What a fiber program goes on taking from std.
pub use ::std::{
    any, cell, collections, convert, env, ffi, fmt, fs, hash, hint, io, iter, marker, mem, num, ops, panic, path, process, ptr, rc,
    result, slice, string, time,
};

pub use sisal::fiber_local as thread_local;

pub mod thread {
    pub use sisal::fiber::*;
    mod tests;
}

pub mod sync {
    pub use sisal::sync::*;
    /// std's other name for its locks.
    pub use sisal::sync as poison;

    // Unstable in std, and not in Sisal: the texts import them for tests that are left out.
    pub struct MappedMutexGuard;
    pub struct MappedRwLockReadGuard;
    pub struct MappedRwLockWriteGuard;
    pub struct ReentrantLock;
}

pub mod net {
    pub use sisal::net::*;
    pub mod tests;
    mod tcp {
        mod tests;
    }
    mod udp {
        mod tests;
    }
}

pub mod os {
    pub use ::std::os::{fd, linux};
    pub mod unix {
        pub use ::std::os::unix::{ffi, io};
        pub mod net {
            pub use sisal::os::unix::net::*;
            mod tests;
        }
    }
}

mod test_helpers;
mod common;

mod suites {
    mod thread;
    mod thread_local {
        mod dynamic_tests;
        mod tests;
    }
    pub mod sync {
        mod barrier;
        mod condvar;
        mod lazy_lock;
        mod mpmc;
        mod mpsc;
        mod mpsc_sync;
        mod mutex;
        mod once;
        mod once_lock;
        mod oneshot;
        mod reentrant_lock;
        mod rwlock;

        /// What `maybe_unwrap` is to the tests of locks that are poisoned.
        #[track_caller]
        pub fn result_unwrap<T, E: std::fmt::Debug>(result: Result<T, E>) -> T {
            result.unwrap()
        }
    }
}

/// Runs a test in a fiber of a runtime of its own, which has as many workers as `SUITE_WORKERS` says.
///
/// Fibers that the test leaves behind must end with the runtime. A test that does not end ends the process.
pub fn in_a_fiber<T: Send>(test: fn() -> T) -> T {
    use ::std::sync::mpsc::{RecvTimeoutError, channel};
    use ::std::time::Duration;

    // As the tests of Sisal's own say it.
    let limit = ::std::env::var("SISAL_TEST_WATCHDOG").ok().and_then(|secs| secs.parse().ok());
    let limit = Duration::from_secs(limit.unwrap_or(300));
    let workers = ::std::env::var("SUITE_WORKERS").unwrap().parse().unwrap();
    let name = ::std::thread::current().name().unwrap_or("?").to_string();
    let (ended, watch) = channel::<()>();
    let watchdog = ::std::thread::spawn(move || {
        if watch.recv_timeout(limit) == Err(RecvTimeoutError::Timeout) {
            // Not `eprintln`: the harness would keep it to itself.
            let text = format!("\n{name} did not end within {limit:?} ({workers} workers)\n");
            let _ = io::Write::write_all(&mut io::stderr(), text.as_bytes());
            ::std::process::abort();
        }
    });
    let runtime = sisal::Runtime::builder().workers(workers).build().unwrap();
    let result = ::std::panic::catch_unwind(|| {
        runtime.run(|| {
            assert!(sisal::Handle::try_current().is_some());
            test()
        })
    });
    let unfinished = runtime.shutdown_timeout(Duration::from_secs(60));
    drop(ended);
    watchdog.join().unwrap();
    match result {
        Ok(result) => {
            unfinished.unwrap_or_else(|left| panic!("fibers are left: {left}"));
            result
        }
        Err(panic) => ::std::panic::resume_unwind(panic),
    }
}
