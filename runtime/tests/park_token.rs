//! The token of `std::thread::park` is its user's: starting and ending a runtime leaves it where it is. Alone
//! in its file: the default runtime is started once in a process.

mod common;

use std::thread;

use common::{runtime, watchdog};
use sisal::fiber::{park, spawn};
use sisal::unblock;

/// Does `f` with the calling thread's token set; it is there after it, and only one.
#[track_caller]
fn keeps<R>(what: &str, f: impl FnOnce() -> R) -> R {
    println!("{what}");
    thread::current().unpark();
    let result = f();
    // Hangs without a token: the watchdog would say so, behind the last line.
    thread::park();
    result
}

#[test]
fn a_runtimes_start_and_end_leave_the_threads_token() {
    let _watchdog = watchdog(30);
    assert_eq!(keeps("the default runtime's start", || sisal::run(|| 1)), 1);
    assert_eq!(keeps("its use", || sisal::run(|| 2)), 2);
    keeps("a join", || spawn(|| ()).join().unwrap());
    for workers in [1, 2, 8] {
        let runtime = keeps("a start", || runtime(workers));
        let parked = runtime.spawn(park);
        keeps("a run", || runtime.run(|| unblock(|| ())));
        keeps("an end", || drop(runtime));
        assert!(parked.join().unwrap_err().is_cancelled());
    }
    let failed = keeps("a start that fails", || {
        sisal::Runtime::builder()
            .stack_size(1 << 46)
            .build()
            .is_err()
    });
    assert!(failed || cfg!(not(target_os = "linux")));
}
