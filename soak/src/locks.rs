//! Locks, permits and condition variables that all fibers of a world share, with what must have come of them.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError};

use sisal::sync::{Condvar, Mutex, RwLock, Semaphore, TryLockError};
use sisal::{block_on, timeout};

use crate::ledger::{Ledger, Me, Value};
use crate::operations::{pause, spawn};
use crate::random::Random;
use crate::world::World;

/// Permits of each world's semaphore.
const PERMITS: usize = 4;

/// Those of one world.
pub(crate) struct Locks {
    counter: Mutex<u64>,
    /// What the counter has to be.
    counted: AtomicU64,
    /// Equal, but for a writer that unwound between the two: then it is poisoned.
    pair: RwLock<(u64, u64)>,
    permits: Semaphore,
    /// Permits in use.
    held: AtomicUsize,
}

impl Locks {
    pub(crate) fn new() -> Locks {
        Locks {
            counter: Mutex::new(0),
            counted: AtomicU64::new(0),
            pair: RwLock::new((0, 0)),
            permits: Semaphore::new(PERMITS),
            held: AtomicUsize::new(0),
        }
    }

    /// Nobody is left who could have any of them.
    pub(crate) fn settled(&self, ledger: &Ledger) {
        let counter = match self.counter.try_lock() {
            Ok(counter) => *counter,
            Err(TryLockError::Poisoned(poisoned)) => *poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => ledger.fail("nobody gave the mutex back"),
        };
        let counted = self.counted.load(Ordering::SeqCst);
        ledger.check(counter == counted, || {
            format!("a counter is {counter} after {counted} times: two had the lock")
        });
        if let Err(TryLockError::WouldBlock) = self.pair.try_write() {
            ledger.fail("nobody gave the rwlock back");
        }
        let permits = self.permits.available_permits();
        ledger.check(permits == PERMITS, || {
            format!("{permits} permits are left of {PERMITS}")
        });
    }
}

/// Any of them.
pub(crate) fn any(me: &Me, world: &World, r: &mut Random) {
    match r.below(3) {
        0 => count(me, world, r),
        1 => pair(me, world, r),
        _ => permits(me, world, r),
    }
}

/// Adds one, by what it was before a wait.
fn count(me: &Me, world: &World, r: &mut Random) {
    let (lock, limit) = (&world.locks.counter, r.pause());
    let locked = || lock.lock().unwrap_or_else(PoisonError::into_inner);
    let guard = match r.below(5) {
        0 => match lock.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        },
        1 => me.op("lock with a limit", || timeout(limit, locked).ok()),
        2 => me.op("lock_async with a limit", || {
            block_on(async {
                tokio::select! {
                    guard = lock.lock_async() => Some(guard.unwrap_or_else(PoisonError::into_inner)),
                    () = tokio::time::sleep(limit) => None,
                }
            })
        }),
        _ => Some(me.op("lock", locked)),
    };
    if let Some(mut guard) = guard {
        let before = *guard;
        if r.one_in(3) {
            pause(me, r);
        }
        *guard = before + 1;
        world.locks.counted.fetch_add(1, Ordering::SeqCst);
    }
}

/// Reads two numbers that are equal, or makes them so one after the other.
fn pair(me: &Me, world: &World, r: &mut Random) {
    let (lock, limit) = (&world.locks.pair, r.pause());
    if r.one_in(3) {
        let write = || lock.write().unwrap_or_else(PoisonError::into_inner);
        let guard = match r.one_in(2) {
            true => me.op("write with a limit", || timeout(limit, write).ok()),
            false => Some(me.op("write", write)),
        };
        let Some(mut guard) = guard else { return };
        guard.0 += 1;
        if r.one_in(2) {
            pause(me, r);
        }
        guard.1 = guard.0;
        // The only writer has repaired it.
        lock.clear_poison();
        return;
    }
    let guard = match r.below(3) {
        0 => me.op("read with a limit", || timeout(limit, || lock.read()).ok()),
        1 => me.op("read_async with a limit", || {
            block_on(async { tokio::time::timeout(limit, lock.read_async()).await.ok() })
        }),
        _ => Some(me.op("read", || lock.read())),
    };
    // A poisoned one says so, and may be anything.
    if let Some(Ok(guard)) = guard {
        let seen = *guard;
        if r.one_in(2) {
            pause(me, r);
        }
        world.ledger.check(seen == *guard && seen.0 == seen.1, || {
            format!("a reader saw {seen:?}, and then {:?}", *guard)
        });
    }
}

/// Some permits for a while.
fn permits(me: &Me, world: &World, r: &mut Random) {
    struct Held<'a>(&'a AtomicUsize, usize);
    impl Drop for Held<'_> {
        fn drop(&mut self) {
            self.0.fetch_sub(self.1, Ordering::SeqCst);
        }
    }
    let (permits, limit) = (&world.locks.permits, r.pause());
    let n = r.below(PERMITS as u64 + 1) as usize;
    let permit = match r.below(5) {
        0 => permits.try_acquire_many(n).ok(),
        1 => me.op("permits with a limit", || {
            permits.acquire_many_timeout(n, limit).ok()
        }),
        2 => me.op("permits in a timeout", || {
            let got = timeout(limit, || permits.acquire_many(n));
            got.ok().map(|got| got.expect("never closed"))
        }),
        3 => me.op("acquire_many_async with a limit", || {
            block_on(async {
                let got = tokio::time::timeout(limit, permits.acquire_many_async(n)).await;
                got.ok().map(|got| got.expect("never closed"))
            })
        }),
        _ => Some(me.op("permits", || permits.acquire_many(n).expect("never closed"))),
    };
    if permit.is_some() {
        let others = world.locks.held.fetch_add(n, Ordering::SeqCst);
        let _held = Held(&world.locks.held, n);
        world.ledger.check(others + n <= PERMITS, || {
            format!("{} permits of {PERMITS} are in use", others + n)
        });
        pause(me, r);
    }
}

/// A queue with room for a few, as one writes it over a condition variable.
struct Buffer {
    state: Mutex<State>,
    not_empty: Condvar,
    not_full: Condvar,
}

struct State {
    queue: VecDeque<Value>,
    closed: bool,
}

const ROOM: usize = 3;

impl Buffer {
    /// The message comes back if nobody takes any more.
    fn send(&self, message: Value) -> Option<Value> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let full = |state: &mut State| state.queue.len() >= ROOM && !state.closed;
        let state = self.not_full.wait_while(state, full);
        let mut state = state.unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return Some(message);
        }
        state.queue.push_back(message);
        self.not_empty.notify_one();
        None
    }

    fn receive(&self, r: &mut Random) -> Value {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(message) = state.queue.pop_front() {
                self.not_full.notify_one();
                return message;
            }
            state = if r.one_in(2) {
                let waited = self.not_empty.wait_timeout(state, r.pause());
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                let waited = self.not_empty.wait(state);
                waited.unwrap_or_else(PoisonError::into_inner)
            };
        }
    }
}

/// Several producers, and the caller receives all that they send.
pub(crate) fn buffer(me: &Me, world: &Arc<World>, r: &mut Random) {
    /// Whoever waits for room is told, also if the consumer unwinds.
    struct Close<'a>(&'a Buffer);
    impl Drop for Close<'_> {
        fn drop(&mut self) {
            // In a destructor a cancel does not begin.
            let state = self.0.state.lock();
            state.unwrap_or_else(PoisonError::into_inner).closed = true;
            self.0.not_full.notify_all();
        }
    }
    let buffer = Arc::new(Buffer {
        state: Mutex::new(State {
            queue: VecDeque::new(),
            closed: false,
        }),
        not_empty: Condvar::new(),
        not_full: Condvar::new(),
    });
    let close = Close(&buffer);
    let (producers, each) = (1 + r.below(3), r.below(12));
    let children: Vec<_> = (0..producers)
        .map(|_| {
            let (buffer, mut r, world) = (Arc::clone(&buffer), r.fork(), Arc::clone(world));
            spawn(&Arc::clone(&world), false, move |me| {
                for _ in 0..each {
                    let message = world.ledger.value().send();
                    drop(me.op("buffer send", || buffer.send(message)));
                    if r.one_in(3) {
                        pause(me, &mut r);
                    }
                }
            })
        })
        .collect();
    for _ in 0..producers * each {
        me.op("buffer receive", || buffer.receive(r)).receive();
    }
    for child in children {
        child.join(me, world);
    }
    drop(close);
    let state = buffer.state.lock().unwrap_or_else(PoisonError::into_inner);
    world
        .ledger
        .check(state.queue.is_empty(), || "a message too many".into());
}
