//! Models of notifications: against the way into a wait, against a timeout, and against one that is cancelled.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::{Condvar, Notified};
use crate::loom_support::{Bell, explore, thread, wait_for};
use crate::shim::Ordering;
use crate::sync::mutex::Mutex;

struct Pair {
    /// How many have something to take.
    ready: Mutex<u32>,
    changed: Condvar,
}

impl Pair {
    fn new() -> Arc<Pair> {
        Arc::new(Pair {
            ready: Mutex::new(0),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> crate::sync::MutexGuard<'_, u32> {
        wait_for(self.ready.lock_async()).unwrap()
    }

    fn notify(&self) {
        *self.lock() += 1;
        self.changed.notify_one();
    }

    /// Waits until there is something, and takes it.
    fn take(&self) {
        let mut ready = self.lock();
        while *ready == 0 {
            ready = wait_for(self.changed.wait_async(ready)).unwrap();
        }
        *ready -= 1;
    }

    fn end(&self, left: u32) {
        assert_eq!(*self.lock(), left);
        assert!(self.changed.waiters.with(|waiters| waiters.list.is_empty()));
        assert!(!self.changed.waited_for.load(Ordering::Relaxed));
    }
}

fn spawned(pair: &Arc<Pair>, f: fn(&Pair)) -> thread::JoinHandle<()> {
    let pair = Arc::clone(pair);
    thread::spawn(move || f(&pair))
}

#[test]
fn loom_condvar_notify_against_wait() {
    explore(20, || {
        let pair = Pair::new();
        let notifies = spawned(&pair, Pair::notify);
        pair.take();
        notifies.join().unwrap();
        pair.end(0);
    });
}

#[test]
fn loom_condvar_notify_all() {
    explore(100, || {
        let pair = Pair::new();
        let takes = spawned(&pair, Pair::take);
        let notifies = spawned(&pair, |pair| {
            *pair.lock() += 2;
            pair.changed.notify_all();
        });
        pair.take();
        takes.join().unwrap();
        notifies.join().unwrap();
        pair.end(0);
    });
}

/// Two wait, the first is cancelled while one is notified: the other takes it, whoever was meant.
#[test]
fn loom_condvar_cancelled() {
    explore(100, || {
        let pair = Pair::new();
        let guard = pair.lock();
        let mut cancelled = Box::pin(pair.changed.wait_async(guard));
        let waker = Waker::from(Bell::new());
        let polled = cancelled.as_mut().poll(&mut Context::from_waker(&waker));
        assert!(polled.is_pending());
        let takes = spawned(&pair, Pair::take);
        let notifies = spawned(&pair, Pair::notify);
        drop(cancelled);
        takes.join().unwrap();
        notifies.join().unwrap();
        pair.end(0);
    });
}

/// The time is over while it is notified: it is either told that it was notified, or the notification is another's.
#[test]
fn loom_condvar_timed_out() {
    explore(100, || {
        let pair = Pair::new();
        let takes = spawned(&pair, Pair::take);
        let notifies = spawned(&pair, Pair::notify);
        let parted = pair.lock().part();
        {
            // SAFETY: the lock is the guard's that was taken off.
            let mut notified = pin!(unsafe { Notified::new(&pair.changed, parted.raw()) });
            let waker = Waker::from(Bell::new());
            let polled = notified.as_mut().poll(&mut Context::from_waker(&waker));
            assert!(polled.is_pending(), "it takes its place");
            let in_time = notified.as_mut().give_up();
            wait_for(parted.raw().acquire());
            notified.done();
            // SAFETY: locked just now.
            let guard = unsafe { parted.guard() }.unwrap();
            drop(guard);
            if in_time {
                // As who was notified and found that it needs nothing has to.
                pair.changed.notify_one();
            }
        }
        takes.join().unwrap();
        notifies.join().unwrap();
        pair.end(0);
    });
}
