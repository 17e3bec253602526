//! A runtime, the fibers that start in it, and its end, in one of several ways.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sisal::{Handle, Runtime};

use crate::ledger::{Ledger, Me};
use crate::locks::Locks;
use crate::operations::{Child, act, child};
use crate::random::Random;
use crate::traffic;

/// Permits of each world's semaphore.
const PERMITS: usize = 3;

pub(crate) struct World {
    pub(crate) ledger: Arc<Ledger>,
    pub(crate) handle: Handle,
    /// Somebody else's async runtime.
    pub(crate) foreign: tokio::runtime::Handle,
    /// Its semaphore, which is whole again at the end.
    pub(crate) semaphore: Arc<tokio::sync::Semaphore>,
    /// Those of Sisal's, which are free again at the end.
    pub(crate) locks: Locks,
    /// Where bytes come back from.
    pub(crate) echo: SocketAddr,
    /// From here on fibers may end cancelled, and sockets fail.
    closing: AtomicBool,
    outer: Option<Arc<World>>,
}

impl World {
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst) || self.outer.as_ref().is_some_and(|w| w.is_closing())
    }
}

/// Before the runtime goes, also when its owner unwinds.
struct Close(Arc<World>);

impl Drop for Close {
    fn drop(&mut self) {
        self.0.closing.store(true, Ordering::SeqCst);
    }
}

fn build(r: &mut Random) -> Runtime {
    let builder = Runtime::builder()
        .workers(1 + r.below(3) as usize)
        .event_interval([1, 7, 61, 1000][r.below(4) as usize]);
    builder.build().expect("threads and descriptors are left")
}

/// A runtime of its own for a fiber of another one, with some work in it.
pub(crate) fn nested(me: &Me, outer: &Arc<World>, r: &mut Random) {
    let runtime = build(r);
    let world = Arc::new(World {
        ledger: Arc::clone(&outer.ledger),
        handle: runtime.handle().clone(),
        foreign: outer.foreign.clone(),
        semaphore: Arc::new(tokio::sync::Semaphore::new(PERMITS)),
        locks: Locks::new(),
        echo: outer.echo,
        closing: AtomicBool::new(false),
        outer: Some(Arc::clone(outer)),
    });
    // Goes before `runtime`.
    let close = Close(Arc::clone(&world));
    let children: Vec<_> = (0..1 + r.below(4)).map(|_| child(&world, r, 1)).collect();
    if r.one_in(2) {
        for child in children {
            child.join(me, &world);
        }
        me.op("drop of an idle runtime", || {
            drop(close);
            drop(runtime);
        });
    } else {
        me.op("sleep", || sisal::fiber::sleep(r.pause()));
        me.op("drop of a busy runtime", || {
            drop(close);
            drop(runtime);
        });
        for child in children {
            world.ledger.check(child.is_finished(), || {
                "a fiber outlives its runtime".into()
            });
            child.join(me, &world);
        }
    }
    settled(&world);
}

fn settled(world: &World) {
    world.locks.settled(&world.ledger);
    let permits = world.semaphore.available_permits();
    world.ledger.check(permits == PERMITS, || {
        format!("{permits} permits are left of {PERMITS}: a waiter was left")
    });
}

/// One round: a runtime with traffic for about so long, and its end.
pub(crate) fn round(
    ledger: &Arc<Ledger>,
    foreign: &tokio::runtime::Handle,
    r: &mut Random,
    length: Duration,
) {
    let runtime = build(r);
    let (echo, listener) = traffic::listen(&runtime);
    let world = Arc::new(World {
        ledger: Arc::clone(ledger),
        handle: runtime.handle().clone(),
        foreign: foreign.clone(),
        semaphore: Arc::new(tokio::sync::Semaphore::new(PERMITS)),
        locks: Locks::new(),
        echo,
        closing: AtomicBool::new(false),
        outer: None,
    });
    let server = traffic::serve(&world, listener);
    let begun = std::time::Instant::now();
    let mut roots: Vec<Child> = Vec::new();
    while begun.elapsed() < length && ledger.has_room() {
        for _ in 0..1 + r.below(6) {
            let root = match r.below(4) {
                // From an async task of somebody else's.
                0 => {
                    let (world, mut r) = (Arc::clone(&world), r.fork());
                    let task = async move { child(&world, &mut r, 3) };
                    let (give, take) = std::sync::mpsc::channel();
                    foreign.spawn(async move {
                        // The receiver waits.
                        let _ = give.send(task.await);
                    });
                    take.recv().expect("the task ends")
                }
                _ => child(&world, r, 3),
            };
            roots.push(root);
        }
        // Not more at once than can be told apart in a dump.
        if roots.len() > 60 {
            let mut left = Vec::new();
            for root in roots {
                match root.is_finished() {
                    true => root.join_on_thread(&world),
                    false => left.push(root),
                }
            }
            roots = left;
        }
        std::thread::sleep(r.pause());
    }
    match r.below(5) {
        0 => {
            for root in std::mem::take(&mut roots) {
                root.join_on_thread(&world);
            }
            settle_server(&world, server);
            drop(Close(Arc::clone(&world)));
            drop(runtime);
        }
        1 => {
            drop(Close(Arc::clone(&world)));
            let (world, sleep) = (Arc::clone(&world), r.pause());
            let task = foreign.spawn(async move {
                tokio::time::sleep(sleep).await;
                drop(runtime);
                drop(world);
            });
            wait_for(&task, ledger);
        }
        2 => {
            drop(Close(Arc::clone(&world)));
            std::thread::scope(|s| {
                s.spawn(|| drop(runtime));
            });
        }
        3 => {
            drop(Close(Arc::clone(&world)));
            // In a fiber of the default runtime.
            sisal::run(|| drop(runtime));
        }
        _ => {
            drop(Close(Arc::clone(&world)));
            let ended = runtime.shutdown_timeout(Duration::from_secs(60));
            ledger.check(ended.is_ok(), || format!("{ended:?}"));
        }
    }
    for root in roots {
        ledger.check(root.is_finished(), || "a fiber outlives its runtime".into());
        root.join_on_thread(&world);
    }
    settled(&world);
}

fn wait_for<T>(task: &tokio::task::JoinHandle<T>, ledger: &Ledger) {
    while !task.is_finished() {
        std::thread::sleep(Duration::from_millis(1));
    }
    // It counts as progress.
    ledger.did("drop in a foreign task");
}

fn settle_server(world: &World, server: Child) {
    server.cancel(world);
    let ended = server.into_handle().join();
    world
        .ledger
        .check(ended.is_err_and(|error| error.is_cancelled()), || {
            "the server was not cancelled".into()
        });
}

/// Some work for the fiber that calls it.
pub(crate) fn work(me: &Me, world: &Arc<World>, r: &mut Random, depth: u32) {
    for _ in 0..1 + r.below(5) {
        act(me, world, r, depth);
    }
}
