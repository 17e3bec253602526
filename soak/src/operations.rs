//! What a fiber may do. Everything ends by itself, or by a cancel that is in the books.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use sisal::fiber::{self, JoinError, JoinHandle};
use sisal::{block_on, unblock};

use crate::channels;
use crate::files;
use crate::ledger::{Me, Value};
use crate::locks;
use crate::random::Random;
use crate::traffic;
use crate::world::{self, World};

/// The payload of a panic that was planned.
struct Planned(#[expect(dead_code, reason = "its drop is counted")] Value);

/// A fiber, and what is known of its end.
pub(crate) struct Child {
    handle: JoinHandle<Value>,
    index: usize,
    panics: bool,
}

impl Child {
    pub(crate) fn is_finished(&self) -> bool {
        self.handle.is_finished()
    }

    pub(crate) fn cancel(&self, world: &World) {
        world.ledger.may_cancel(self.index);
        self.handle.cancel();
    }

    pub(crate) fn into_handle(self) -> JoinHandle<Value> {
        self.handle
    }

    /// Whether it ran to its end, as planned.
    pub(crate) fn join(self, me: &Me, world: &World) -> bool {
        let (index, panics) = (self.index, self.panics);
        let ended = me.op("join", || self.handle.join());
        judge(world, index, panics, ended)
    }

    pub(crate) fn join_on_thread(self, world: &World) {
        let ended = self.handle.join();
        world.ledger.did("join on a thread");
        judge(world, self.index, self.panics, ended);
    }

    async fn join_async(self, world: &World) -> bool {
        let ended = self.handle.await;
        judge(world, self.index, self.panics, ended)
    }
}

/// Whether a fiber ended as it was to.
fn judge(world: &World, index: usize, panics: bool, ended: Result<Value, JoinError>) -> bool {
    let ledger = &world.ledger;
    match ended {
        Ok(_) => ledger.check(!panics, || format!("fiber #{index} was to panic")),
        Err(error) if error.is_cancelled() => {
            let asked = world.is_closing() || ledger.was_cancelled(index);
            ledger.check(asked, || format!("nobody cancelled #{index}: {error}"));
            return false;
        }
        Err(error) => {
            ledger.check(panics && error.is_panic(), || format!("#{index}: {error}"));
            let planned = error.try_into_panic().is_ok_and(|p| p.is::<Planned>());
            ledger.check(planned, || format!("#{index} panicked with something else"));
        }
    }
    true
}

/// Waits while it is dropped, also in mid-unwind.
struct Waits(u64);

impl Drop for Waits {
    fn drop(&mut self) {
        match self.0 {
            0 => fiber::yield_now(),
            1 => fiber::sleep(Duration::from_millis(1)),
            2 => unblock(|| ()),
            3 => block_on(tokio::task::yield_now()),
            _ => {}
        }
    }
}

/// A fiber of this world.
pub(crate) fn spawn(
    world: &Arc<World>,
    panics: bool,
    body: impl FnOnce(&Me) + Send + 'static,
) -> Child {
    let entry = world.ledger.fiber(None);
    let (index, in_closure) = (entry.index, world.ledger.value());
    let handle = world.handle.spawn(move || {
        let me = entry.start();
        let _in_frame = (me.ledger.value(), in_closure);
        body(&me);
        if panics {
            resume_unwind(Box::new(Planned(me.ledger.value())));
        }
        me.ledger.value()
    });
    Child {
        handle,
        index,
        panics,
    }
}

/// One that does whatever comes.
pub(crate) fn child(world: &Arc<World>, r: &mut Random, depth: u32) -> Child {
    let (inner, mut own) = (Arc::clone(world), r.fork());
    spawn(world, r.one_in(8), move |me| {
        let _waits = Waits(own.below(12));
        world::work(me, &inner, &mut own, depth.saturating_sub(1));
    })
}

/// Lets others run, one way or another.
pub(crate) fn pause(me: &Me, r: &mut Random) {
    match r.below(4) {
        0 => me.op("yield_now", fiber::yield_now),
        1 => me.op("sleep", || fiber::sleep(r.pause())),
        2 => me.op("park_timeout", || fiber::park_timeout(r.pause())),
        _ => me.op("tokio's yield", || block_on(tokio::task::yield_now())),
    }
}

/// One operation. At depth 0 those that start fibers do something small instead.
pub(crate) fn act(me: &Me, world: &Arc<World>, r: &mut Random, depth: u32) {
    if depth == 0 || !world.ledger.has_room() {
        return small(me, world, r);
    }
    match r.below(31) {
        0..3 => small(me, world, r),
        3 => children(me, world, r, depth),
        4 => drop(child(world, r, depth)),
        5 => scope(me, world, r, depth),
        6 => token(me, world, r),
        7 => traffic::mailbox(me, world, r),
        8 => traffic::channel(me, world, r),
        9 => traffic::oneshot(me, world, r),
        10 | 11 => traffic::connection(me, world, r),
        12 if r.one_in(3) => world::nested(me, world, r),
        12 => cancel_many(me, world, r),
        13 => by_task(me, world, r, depth),
        14 => by_foreign_task(me, world, r, depth),
        15 => by_thread(me, world, r, depth),
        16 | 17 => cancel(me, world, r, depth),
        18 | 19 => timeout(me, world, r, depth),
        20 => shield(me, world, r, depth),
        21 => locks::buffer(me, world, r),
        22 | 23 => channels::many(me, world, r),
        24 => channels::one(me, world, r),
        25 | 26 => channels::answer(me, world, r),
        27 => files::pipe(me, world, r),
        28 => files::file(me, world, r),
        29 => locks::any(me, world, r),
        _ => run(me, world, r),
    }
}

fn small(me: &Me, world: &Arc<World>, r: &mut Random) {
    match r.below(13) {
        0 => (0..r.below(30)).for_each(|_| me.op("yield_now", fiber::yield_now)),
        1 => me.op("sleep in tokio", || block_on(tokio::time::sleep(r.pause()))),
        2 => {
            let (a, b) = (r.pause(), r.pause());
            me.op("select", || {
                block_on(async {
                    tokio::select! {
                        () = tokio::time::sleep(a) => {}
                        () = tokio::time::sleep(b) => {}
                        () = tokio::task::yield_now() => {}
                    }
                });
            });
        }
        3 => {
            let (a, b) = (r.pause(), r.pause());
            me.op("block_on in block_on", || {
                block_on(async {
                    tokio::time::sleep(a).await;
                    block_on(async {
                        tokio::task::yield_now().await;
                        tokio::time::sleep(b).await;
                    });
                    fiber::yield_now();
                });
            });
        }
        4 => {
            let (borrowed, long) = (me.ledger.value(), r.pause());
            me.op("unblock", || {
                unblock(|| {
                    std::thread::sleep(long);
                    std::hint::black_box(&borrowed);
                });
            });
        }
        5 => {
            let permit = me.op("semaphore", || block_on(world.semaphore.acquire()));
            let _permit = permit.expect("never closed");
            pause(me, r);
        }
        6 => {
            let waits = r.below(6);
            let caught = catch_unwind(AssertUnwindSafe(|| {
                let _waits = Waits(waits);
                pause(me, r);
                resume_unwind(Box::new(Planned(me.ledger.value())))
            }));
            let Err(payload) = caught;
            if !payload.is::<Planned>() {
                // A cancel: on it goes.
                resume_unwind(payload);
            }
            me.ledger.did("caught panic");
        }
        7 => {
            let bytes = 1000 * r.below(100) as usize;
            me.op("deep stack", || deep(bytes));
        }
        8..12 => locks::any(me, world, r),
        _ => pause(me, r),
    }
}

#[inline(never)]
fn deep(bytes: usize) -> u8 {
    let frame = std::hint::black_box([7_u8; 1000]);
    if bytes < 1000 {
        fiber::yield_now();
        return frame[0];
    }
    std::hint::black_box(deep(bytes - 1000) & frame[1])
}

fn children(me: &Me, world: &Arc<World>, r: &mut Random, depth: u32) {
    let all: Vec<_> = (0..1 + r.below(5))
        .map(|_| child(world, r, depth))
        .collect();
    for child in all {
        child.join(me, world);
    }
}

/// Children that borrow. They are cancelled when their owner is.
fn scope(me: &Me, world: &Arc<World>, r: &mut Random, depth: u32) {
    let lent = [me.ledger.value(), me.ledger.value()];
    let count = 1 + r.below(4);
    let mut planned = 0;
    let caught = catch_unwind(AssertUnwindSafe(|| {
        me.op("scope", || {
            fiber::scope(|s| {
                for _ in 0..count {
                    let (entry, mut own, lent) = (world.ledger.fiber(Some(me)), r.fork(), &lent);
                    let panics = r.one_in(12);
                    planned += usize::from(panics);
                    let spawned = s.spawn(move || {
                        let me = entry.start();
                        let _in_frame = me.ledger.value();
                        world::work(&me, world, &mut own, depth - 1);
                        std::hint::black_box(lent);
                        if panics {
                            resume_unwind(Box::new(Planned(me.ledger.value())));
                        }
                    });
                    if r.one_in(3) {
                        pause(me, r);
                    }
                    drop(spawned);
                }
            });
        });
    }));
    if let Err(payload) = caught {
        let text = payload.downcast_ref::<String>().map_or("", |text| text);
        if !text.starts_with("a scoped fiber gave no result") {
            resume_unwind(payload);
        }
        let expected = planned > 0 || world.is_closing() || me.ledger.was_cancelled(me.index);
        me.ledger.check(expected, || format!("scope: {text}"));
    } else {
        me.ledger
            .check(planned == 0, || "a child's panic was not seen".into());
    }
}

/// The park token, from wherever.
fn token(me: &Me, world: &Arc<World>, r: &mut Random) {
    let (fiber, long) = (fiber::current(), r.pause());
    match r.below(4) {
        0 => {
            let child = spawn(world, false, move |me| {
                me.op("sleep", || fiber::sleep(long));
                fiber.unpark();
            });
            me.op("park", fiber::park);
            child.join(me, world);
        }
        1 => {
            // On this worker.
            let task = tokio::spawn(async move {
                tokio::time::sleep(long).await;
                fiber.unpark();
            });
            me.op("park", fiber::park);
            let ended = me.op("join of a task", || block_on(task));
            world
                .ledger
                .check(ended.is_ok(), || "a task panicked".into());
        }
        2 => {
            world.foreign.spawn(async move {
                tokio::time::sleep(long).await;
                fiber.unpark();
            });
            me.op("park", fiber::park);
        }
        _ => {
            fiber.unpark();
            me.op("park with a token", fiber::park);
        }
    }
}

/// A fiber that is joined by an async task of this worker's.
fn by_task(me: &Me, world: &Arc<World>, r: &mut Random, depth: u32) {
    let (child, inner) = (child(world, r, depth), Arc::clone(world));
    let task = tokio::spawn(async move { child.join_async(&inner).await });
    let ended = me.op("join by a task", || block_on(task));
    world.ledger.check(ended.is_ok() || world.is_closing(), || {
        "a task panicked".into()
    });
}

/// Spawned and joined by an async task of somebody else's.
fn by_foreign_task(me: &Me, world: &Arc<World>, r: &mut Random, depth: u32) {
    let (inner, mut own) = (Arc::clone(world), r.fork());
    let task = world.foreign.spawn(async move {
        let child = child(&inner, &mut own, depth);
        child.join_async(&inner).await
    });
    let ended = me.op("join by a foreign task", || block_on(task));
    world
        .ledger
        .check(ended.is_ok(), || "a task panicked".into());
}

/// Spawned and joined by a plain thread.
fn by_thread(me: &Me, world: &Arc<World>, r: &mut Random, depth: u32) {
    let (inner, mut own) = (Arc::clone(world), r.fork());
    me.op("join by a thread", || {
        unblock(move || {
            let thread = std::thread::spawn(move || {
                child(&inner, &mut own, depth).join_on_thread(&inner);
            });
            thread.join().expect("it does not panic");
        });
    });
}

/// A wait that only a cancel ends.
fn for_ever(me: &Me, world: &World, kind: u64) {
    match kind {
        0 => loop {
            me.op("park for ever", fiber::park);
        },
        1 => me.op("sleep for ever", || fiber::sleep(Duration::from_secs(1000))),
        2 => loop {
            fiber::yield_now();
        },
        3 => me.op("pending for ever", || {
            let held = me.ledger.value();
            block_on(async {
                let _held = held;
                std::future::pending::<()>().await;
            });
        }),
        4 => me.op("a scope for ever", || {
            fiber::scope(|s| {
                let entry = world.ledger.fiber(Some(me));
                s.spawn(move || {
                    let me = entry.start();
                    let _waits = Waits(1);
                    me.op("park for ever", fiber::park);
                });
            });
        }),
        5 => me.op("nested for ever", || {
            block_on(async { block_on(std::future::pending::<()>()) });
        }),
        _ => {
            let listener = sisal::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
            let _ = me.op("accept for ever", || listener.accept());
        }
    }
    unreachable!("a wait without an end has ended");
}

/// A child that is cancelled at some time, from here, a thread or a task.
fn cancel(me: &Me, world: &Arc<World>, r: &mut Random, depth: u32) {
    let child = if r.one_in(2) {
        child(world, r, depth)
    } else {
        let (inner, kind, waits) = (Arc::clone(world), r.below(7), r.below(8));
        spawn(world, false, move |me| {
            let _waits = Waits(waits);
            for_ever(me, &inner, kind);
        })
    };
    pause(me, r);
    let (inner, handle) = (Arc::clone(world), child);
    let child = match r.below(3) {
        0 => {
            handle.cancel(world);
            handle
        }
        1 => me.op("cancel by a thread", || {
            unblock(|| {
                handle.cancel(&inner);
                handle
            })
        }),
        _ => {
            let task = tokio::spawn(async move {
                handle.cancel(&inner);
                handle
            });
            me.op("cancel by a task", || block_on(task))
                .expect("it does not panic")
        }
    };
    child.join(me, world);
}

/// Many at once, some of which never ran.
fn cancel_many(me: &Me, world: &Arc<World>, r: &mut Random) {
    let all: Vec<_> = (0..r.below(20))
        .map(|_| {
            let (inner, kind) = (Arc::clone(world), r.below(7));
            spawn(world, false, move |me| for_ever(me, &inner, kind))
        })
        .collect();
    if r.one_in(2) {
        pause(me, r);
    }
    for child in &all {
        child.cancel(world);
    }
    for child in all {
        child.join(me, world);
    }
}

/// Whatever comes, cut short. In a fiber whose scopes' children may end cancelled.
fn timeout(me: &Me, world: &Arc<World>, r: &mut Random, depth: u32) {
    let (inner, mut own) = (Arc::clone(world), r.fork());
    let child = spawn(world, false, move |me| {
        inner.ledger.may_cancel(me.index);
        let limit = own.pause();
        let ended = sisal::timeout(limit, || {
            let _held = me.ledger.value();
            let _waits = Waits(own.below(8));
            if own.one_in(4) {
                for_ever(me, &inner, own.below(7));
            }
            let deeper = own.pause();
            if own.one_in(3) {
                let _ = sisal::timeout(deeper, || pause(me, &mut own));
            }
            world::work(me, &inner, &mut own, depth - 1);
        });
        me.ledger.did(if ended.is_ok() {
            "timeout, in time"
        } else {
            "timeout, passed"
        });
    });
    let index = child.index;
    let whole = child.join(me, world);
    world.ledger.check(whole || world.is_closing(), || {
        format!("the timeout of #{index} went beyond it")
    });
}

fn shield(me: &Me, world: &Arc<World>, r: &mut Random, depth: u32) {
    let (inner, mut own) = (Arc::clone(world), r.fork());
    let child = spawn(world, false, move |me| {
        let before = me.ledger.value();
        fiber::shield(|| {
            pause(me, &mut own);
            small(me, &inner, &mut own);
            child(&inner, &mut own, depth - 1).join(me, &inner);
        });
        me.ledger.did("shield");
        drop(before);
        fiber::yield_now();
    });
    if r.one_in(2) {
        pause(me, r);
        child.cancel(world);
    }
    child.join(me, world);
}

/// A borrowing body as a fiber of the default runtime.
fn run(me: &Me, world: &Arc<World>, r: &mut Random) {
    let (lent, long) = (me.ledger.value(), r.pause());
    let got = me.op("run elsewhere", || {
        sisal::run(|| {
            fiber::sleep(long);
            lent.index
        })
    });
    world
        .ledger
        .check(got == lent.index, || "another result".into());
}
