//! What has to come out even: fibers, values, messages. And what each fiber is doing, for a hang.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Fibers of a round, and values of a round: a round ends before it needs more.
const FIBERS: usize = 1 << 16;
const VALUES: usize = 1 << 19;

const FREE: u8 = 0;
const QUEUED: u8 = 1;
const RUNNING: u8 = 2;
const ENDED: u8 = 3;

const LIVE: u8 = 1;
const SENT: u8 = 2;
const RECEIVED: u8 = 3;
const DROPPED: u8 = 4;

/// One round's books.
pub(crate) struct Ledger {
    pub(crate) title: String,
    begun: Instant,
    fibers: Box<[Slot]>,
    next_fiber: AtomicUsize,
    values: Box<[AtomicU8]>,
    next_value: AtomicUsize,
    dropped: AtomicUsize,
    sent: AtomicUsize,
    received: AtomicUsize,
    lost: AtomicUsize,
    /// Grows with every operation that ends.
    pub(crate) operations: AtomicU64,
    by_name: Mutex<BTreeMap<&'static str, u64>>,
}

struct Slot {
    state: AtomicU8,
    /// Whoever asked it to unwind said so here before.
    may_cancel: AtomicBool,
    /// The fiber whose cancellation is passed on to this one, plus 1.
    owner: AtomicU32,
    since: AtomicU32,
    doing: Mutex<&'static str>,
}

/// What it all came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) fibers: usize,
    pub(crate) values: usize,
    pub(crate) sent: usize,
    pub(crate) received: usize,
    pub(crate) lost: usize,
    pub(crate) operations: u64,
}

fn unpoisoned<T>(lock: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // A fiber that unwinds poisons what is locked on its thread meanwhile (S9).
    lock.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Ledger {
    pub(crate) fn new(title: String) -> Arc<Ledger> {
        let slot = |_| Slot {
            state: AtomicU8::new(FREE),
            may_cancel: AtomicBool::new(false),
            owner: AtomicU32::new(0),
            since: AtomicU32::new(0),
            doing: Mutex::new("queued"),
        };
        Arc::new(Ledger {
            title,
            begun: Instant::now(),
            fibers: (0..FIBERS).map(slot).collect(),
            next_fiber: AtomicUsize::new(0),
            values: (0..VALUES).map(|_| AtomicU8::new(FREE)).collect(),
            next_value: AtomicUsize::new(0),
            dropped: AtomicUsize::new(0),
            sent: AtomicUsize::new(0),
            received: AtomicUsize::new(0),
            lost: AtomicUsize::new(0),
            operations: AtomicU64::new(0),
            by_name: Mutex::new(BTreeMap::new()),
        })
    }

    /// Whether the books have room: else nobody starts anything more.
    pub(crate) fn has_room(&self) -> bool {
        self.next_fiber.load(Ordering::Relaxed) < FIBERS / 4 * 3
            && self.next_value.load(Ordering::Relaxed) < VALUES / 4 * 3
    }

    /// A fiber that is about to be spawned. The closure takes it.
    pub(crate) fn fiber(self: &Arc<Self>, owner: Option<&Me>) -> Spawned {
        let index = self.next_fiber.fetch_add(1, Ordering::Relaxed);
        self.check(index < FIBERS, || "the books are full".into());
        let slot = &self.fibers[index];
        let owner = owner.map_or(0, |me| me.index as u32 + 1);
        slot.owner.store(owner, Ordering::Relaxed);
        slot.state.store(QUEUED, Ordering::Relaxed);
        Spawned {
            ledger: Arc::clone(self),
            index,
        }
    }

    /// From now on it may end cancelled.
    pub(crate) fn may_cancel(&self, fiber: usize) {
        self.fibers[fiber].may_cancel.store(true, Ordering::SeqCst);
    }

    /// Whether somebody asked it, or one that it belongs to, to unwind.
    pub(crate) fn was_cancelled(&self, mut fiber: usize) -> bool {
        loop {
            let slot = &self.fibers[fiber];
            if slot.may_cancel.load(Ordering::SeqCst) {
                return true;
            }
            match slot.owner.load(Ordering::Relaxed) {
                0 => return false,
                owner => fiber = owner as usize - 1,
            }
        }
    }

    /// A value whose only drop is waited for.
    pub(crate) fn value(self: &Arc<Self>) -> Value {
        let index = self.next_value.fetch_add(1, Ordering::Relaxed);
        self.check(index < VALUES, || "the books are full".into());
        self.values[index].store(LIVE, Ordering::Relaxed);
        Value {
            ledger: Arc::clone(self),
            index,
        }
    }

    #[track_caller]
    pub(crate) fn check(&self, holds: bool, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(&what());
        }
    }

    /// Says what is wrong, what everybody does, and ends the process.
    #[track_caller]
    pub(crate) fn fail(&self, what: &str) -> ! {
        let place = std::panic::Location::caller();
        let text = format!("\nsoak: FAILED at {place}: {what}\n{}", self.dump());
        let _ = std::io::Write::write_all(&mut std::io::stderr(), text.as_bytes());
        std::process::abort()
    }

    /// What every fiber that has not ended does.
    pub(crate) fn dump(&self) -> String {
        let mut text = format!("round: {}\n", self.title);
        let used = self.next_fiber.load(Ordering::SeqCst).min(FIBERS);
        let now = self.begun.elapsed().as_millis() as u32;
        let mut shown = 0;
        for (index, slot) in self.fibers[..used].iter().enumerate() {
            let state = match slot.state.load(Ordering::SeqCst) {
                QUEUED => "queued ",
                RUNNING => "running",
                _ => continue,
            };
            shown += 1;
            if shown > 300 {
                continue;
            }
            let doing = slot.doing.try_lock().map_or("?", |doing| *doing);
            let since = now.saturating_sub(slot.since.load(Ordering::Relaxed));
            let owner = slot.owner.load(Ordering::Relaxed);
            let cancel = if slot.may_cancel.load(Ordering::SeqCst) {
                ", cancelled"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "  #{index} {state} {doing}, since {since} ms{cancel} (owner {owner} - 1)"
            );
        }
        let _ = writeln!(
            text,
            "  {shown} of {used} fibers have not ended; {:?}",
            self.totals()
        );
        text
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals {
            fibers: self.next_fiber.load(Ordering::SeqCst),
            values: self.next_value.load(Ordering::SeqCst),
            sent: self.sent.load(Ordering::SeqCst),
            received: self.received.load(Ordering::SeqCst),
            lost: self.lost.load(Ordering::SeqCst),
            operations: self.operations.load(Ordering::SeqCst),
        }
    }

    pub(crate) fn by_name(&self) -> BTreeMap<&'static str, u64> {
        unpoisoned(&self.by_name).clone()
    }

    pub(crate) fn did(&self, name: &'static str) {
        self.operations.fetch_add(1, Ordering::Relaxed);
        *unpoisoned(&self.by_name).entry(name).or_default() += 1;
    }

    /// Every runtime of the round is gone.
    pub(crate) fn close(&self) {
        let totals = self.totals();
        let ended = |slot: &&Slot| slot.state.load(Ordering::SeqCst) == ENDED;
        let count = self.fibers.iter().filter(ended).count();
        self.check(count == totals.fibers, || {
            format!("{count} of {} fibers have ended", totals.fibers)
        });
        let dropped = self.dropped.load(Ordering::SeqCst);
        self.check(dropped == totals.values, || {
            format!("{dropped} drops of {} values", totals.values)
        });
        self.check(totals.sent == totals.received + totals.lost, || {
            format!("messages do not add up: {totals:?}")
        });
    }
}

/// A fiber's entry, held by its closure: it goes when that has run, or is dropped without.
pub(crate) struct Spawned {
    ledger: Arc<Ledger>,
    pub(crate) index: usize,
}

impl Spawned {
    /// The closure is called.
    pub(crate) fn start(self) -> Me {
        let state = &self.ledger.fibers[self.index].state;
        let before = state.swap(RUNNING, Ordering::SeqCst);
        self.ledger.check(before == QUEUED, || {
            format!("fiber #{} runs again: {before}", self.index)
        });
        let me = Me {
            index: self.index,
            ledger: Arc::clone(&self.ledger),
            _end: self,
        };
        me.doing("its body");
        me
    }
}

impl Drop for Spawned {
    fn drop(&mut self) {
        let slot = &self.ledger.fibers[self.index];
        let before = slot.state.swap(ENDED, Ordering::SeqCst);
        self.ledger
            .check(before == QUEUED || before == RUNNING, || {
                format!("fiber #{} ends again", self.index)
            });
    }
}

/// The running fiber.
pub(crate) struct Me {
    pub(crate) index: usize,
    pub(crate) ledger: Arc<Ledger>,
    _end: Spawned,
}

impl Me {
    fn doing(&self, what: &'static str) -> &'static str {
        let slot = &self.ledger.fibers[self.index];
        slot.since.store(
            self.ledger.begun.elapsed().as_millis() as u32,
            Ordering::Relaxed,
        );
        std::mem::replace(&mut *unpoisoned(&slot.doing), what)
    }

    /// Does something that may wait, under a name.
    pub(crate) fn op<R>(&self, name: &'static str, f: impl FnOnce() -> R) -> R {
        struct Back<'a>(&'a Me, &'static str);
        impl Drop for Back<'_> {
            fn drop(&mut self) {
                self.0.doing(self.1);
            }
        }
        let _back = Back(self, self.doing(name));
        let result = f();
        self.ledger.did(name);
        result
    }
}

/// Dropped once.
pub(crate) struct Value {
    ledger: Arc<Ledger>,
    pub(crate) index: usize,
}

impl Value {
    /// As a message that is on its way.
    pub(crate) fn send(self) -> Value {
        let before = self.ledger.values[self.index].swap(SENT, Ordering::SeqCst);
        self.ledger.check(before == LIVE, || {
            format!("value {} is sent again", self.index)
        });
        self.ledger.sent.fetch_add(1, Ordering::SeqCst);
        self
    }

    pub(crate) fn receive(&self) {
        let before = self.ledger.values[self.index].swap(RECEIVED, Ordering::SeqCst);
        self.ledger.check(before == SENT, || {
            format!("message {} came twice, or unsent", self.index)
        });
        self.ledger.received.fetch_add(1, Ordering::SeqCst);
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        let before = self.ledger.values[self.index].swap(DROPPED, Ordering::SeqCst);
        self.ledger.check((LIVE..DROPPED).contains(&before), || {
            format!("value {} is dropped again: {before}", self.index)
        });
        if before == SENT {
            self.ledger.lost.fetch_add(1, Ordering::SeqCst);
        }
        self.ledger.dropped.fetch_add(1, Ordering::SeqCst);
    }
}
