//! Without a pidfd, as on old kernels and under some sandboxes.

use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::Child;
use crate::fiber;

fn child() -> Child {
    let mut sh = Command::new("/bin/sh");
    sh.args(["-c", "read n; exit 6"]).stdin(Stdio::piped());
    let mut child = Child::new(sh.spawn().unwrap()).unwrap();
    assert!(child.end.pidfd.take().is_some(), "this system has pidfds");
    child
}

#[test]
fn it_is_waited_for_on_the_pool() {
    let (mut here, mut there) = (child(), child());
    assert_eq!(here.wait().unwrap().code(), Some(6));
    let runtime = crate::Runtime::builder().workers(1).build().unwrap();
    runtime.run(move || {
        let input = there.stdin.take();
        let begun = Arc::new(AtomicBool::new(false));
        let theirs = Arc::clone(&begun);
        let waits = fiber::spawn(move || {
            theirs.store(true, Ordering::Relaxed);
            let status = there.wait().unwrap();
            assert!(there.end.reaped);
            (status, there.wait().unwrap())
        });
        // The worker goes on meanwhile.
        while !begun.load(Ordering::Relaxed) {
            fiber::yield_now();
        }
        assert!(!waits.is_finished());
        drop(input);
        let (first, again) = waits.join().unwrap();
        assert_eq!((first.code(), again.code()), (Some(6), Some(6)));
        // A drop then does as std's.
        drop(child());
    });
}
