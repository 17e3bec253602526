//! Signals interrupt system calls, but no operation: not on threads, not under fibers.

mod common_net;

use std::io::{Read, Write};
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use common_net::{Place, pair_with_std, pattern, runtime, watchdog};

static CAUGHT: AtomicUsize = AtomicUsize::new(0);

extern "C" fn catch(_: libc::c_int) {
    CAUGHT.fetch_add(1, Ordering::SeqCst);
}

/// A handler that lets system calls fail with EINTR.
fn interrupting() {
    // SAFETY: an all-zero `sigaction` is one; the handler only counts, which a handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = catch as *const () as usize;
        assert_eq!(
            libc::sigaction(libc::SIGUSR1, &action, std::ptr::null_mut()),
            0
        );
    }
}

/// `thread` has not been joined.
fn signal(thread: libc::pthread_t) {
    // SAFETY: the thread is there: each caller says why.
    let sent = unsafe { libc::pthread_kill(thread, libc::SIGUSR1) };
    assert_eq!(sent, 0);
}

/// Every signal goes to the thread that reads, by whatever it waits in.
#[test]
fn a_thread_goes_on_waiting() {
    let _dog = watchdog("a_thread_goes_on_waiting");
    interrupting();
    for timeout in [None, Some(std::time::Duration::from_secs(3_600))] {
        let (near, mut far) = pair_with_std();
        near.set_read_timeout(timeout).unwrap();
        let reader = thread::spawn(move || {
            // Not `read_exact`, which would go on after an interruption.
            let mut all = vec![0; 100];
            for byte in all.chunks_mut(1) {
                assert_eq!((&near).read(byte).unwrap(), 1);
            }
            all
        });
        for byte in pattern(4, 0, 100) {
            let before = CAUGHT.load(Ordering::SeqCst);
            signal(reader.as_pthread_t());
            while CAUGHT.load(Ordering::SeqCst) == before {
                thread::yield_now();
            }
            far.write_all(&[byte]).unwrap();
        }
        assert_eq!(reader.join().unwrap(), pattern(4, 0, 100));
    }
}

/// A worker that sleeps in epoll, or is in the middle of a call.
#[test]
fn a_fiber_goes_on_waiting() {
    let _dog = watchdog("a_fiber_goes_on_waiting");
    interrupting();
    let (near, mut far) = pair_with_std();
    let runtime = runtime(1);
    // SAFETY: has no conditions.
    let worker = runtime.run(|| unsafe { libc::pthread_self() });
    let over = Arc::new(AtomicBool::new(false));
    let signals = {
        let over = Arc::clone(&over);
        thread::spawn(move || {
            while !over.load(Ordering::SeqCst) {
                // Its thread lives as long as its runtime, which ends after this.
                signal(worker);
                thread::yield_now();
            }
        })
    };
    let reader = Place::Fiber.start(&runtime, move || {
        let mut all = vec![0; 50_000];
        let mut got = 0;
        while got < all.len() {
            got += (&near).read(&mut all[got..]).unwrap();
        }
        (&near).write_all(&all).unwrap();
    });
    far.write_all(&pattern(5, 0, 50_000)).unwrap();
    let mut all = vec![0; 50_000];
    far.read_exact(&mut all).unwrap();
    reader.join();
    over.store(true, Ordering::SeqCst);
    signals.join().unwrap();
    assert!(all == pattern(5, 0, 50_000));
    assert!(CAUGHT.load(Ordering::SeqCst) > 0);
}
