//! Models of the lock for readers: exclusion, hand-over past one that gives up, and from writing to reading.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Waker};

use super::{RawRwLock, Wants};
use crate::loom_support::cell::UnsafeCell;
use crate::loom_support::{Bell, explore, thread, wait_for};
use crate::shim::Ordering;

struct Guarded {
    lock: RawRwLock,
    value: UnsafeCell<u32>,
}

// SAFETY: loom checks every access of the cell.
unsafe impl Send for Guarded {}
// SAFETY: as above.
unsafe impl Sync for Guarded {}

impl Guarded {
    fn use_and_unlock(&self, wants: Wants) {
        match wants {
            // SAFETY: loom checks the access.
            Wants::Read => drop(self.value.with(|value| unsafe { *value })),
            // SAFETY: as above.
            Wants::Write => self.value.with_mut(|value| unsafe { *value += 1 }),
        }
        // SAFETY: the caller has it, and gives it up here.
        unsafe { self.lock.unlock(wants) };
    }

    fn read(&self) {
        wait_for(self.lock.acquire(Wants::Read));
        self.use_and_unlock(Wants::Read);
    }

    fn write(&self) {
        wait_for(self.lock.acquire(Wants::Write));
        self.use_and_unlock(Wants::Write);
    }

    /// Writes, and then reads what it wrote, and nothing else.
    fn write_and_read(&self) {
        wait_for(self.lock.acquire(Wants::Write));
        // SAFETY: loom checks the access.
        let wrote = self.value.with_mut(|value| unsafe {
            *value += 1;
            *value
        });
        // SAFETY: locked to write, and then to read.
        unsafe { self.lock.downgrade() };
        // SAFETY: as above.
        assert_eq!(self.value.with(|value| unsafe { *value }), wrote);
        self.use_and_unlock(Wants::Read);
    }

    /// Looks once to write, and gives up.
    fn give_up(&self) {
        let mut locking = pin!(self.lock.acquire(Wants::Write));
        let waker = Waker::from(Bell::new());
        let polled = locking.as_mut().poll(&mut Context::from_waker(&waker));
        if polled.is_ready() {
            self.use_and_unlock(Wants::Write);
        }
    }
}

fn against(least: u64, others: &'static [fn(&Guarded)], own: fn(&Guarded)) {
    explore(least, move || {
        let guarded = Arc::new(Guarded {
            lock: RawRwLock::new(),
            value: UnsafeCell::new(0),
        });
        let spawned = others.iter().map(|other| {
            let guarded = Arc::clone(&guarded);
            thread::spawn(move || other(&guarded))
        });
        let spawned: Vec<_> = spawned.collect();
        own(&guarded);
        for other in spawned {
            other.join().unwrap();
        }
        // All have gone: it is free, and nobody is in the list.
        assert_eq!(guarded.lock.state.load(Ordering::Relaxed), 0);
        assert!(guarded.lock.waiters.with(|waiters| waiters.is_empty()));
    });
}

#[test]
fn loom_rwlock_writers_and_reader() {
    against(100, &[Guarded::write, Guarded::write], Guarded::read);
}

#[test]
fn loom_rwlock_readers_and_writer() {
    against(100, &[Guarded::read, Guarded::read], Guarded::write);
}

/// A writer that gives up lets the reader behind it go, who may be the only one who reads.
#[test]
fn loom_rwlock_given_up() {
    against(100, &[Guarded::give_up, Guarded::read], Guarded::read);
}

#[test]
fn loom_rwlock_given_up_between_writers() {
    against(100, &[Guarded::give_up, Guarded::write], Guarded::write);
}

#[test]
fn loom_rwlock_downgrade() {
    against(
        100,
        &[Guarded::write_and_read, Guarded::read],
        Guarded::write,
    );
}
