//! Sisal's channels: messages are received once, in all ways, or lost with somebody who gave them up.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sisal::sync::mpmc::{SendTimeoutError, TrySendError};
use sisal::sync::{mpmc, mpsc, oneshot};
use sisal::{block_on, fiber, timeout};

use crate::ledger::{Me, Value};
use crate::operations::{Child, pause, spawn};
use crate::random::Random;
use crate::world::World;

/// Sends one message. `lossy`: it may be given up.
fn send(me: &Me, tx: &mpmc::Sender<Value>, r: &mut Random, lossy: bool, mut message: Value) {
    loop {
        let limit = r.pause();
        let back = match r.below(if lossy { 5 } else { 3 }) {
            0 => {
                // The receivers may have unwound.
                let _ = me.op("send", || tx.send(message));
                return;
            }
            1 => match me.op("send_timeout", || tx.send_timeout(message, limit)) {
                Err(SendTimeoutError::Timeout(back)) => back,
                _ => return,
            },
            2 => match tx.try_send(message) {
                Err(TrySendError::Full(back)) => back,
                _ => return,
            },
            3 => {
                let _ = me.op("send in a timeout", || timeout(limit, || tx.send(message)));
                return;
            }
            _ => {
                let sent = async { tokio::time::timeout(limit, tx.send_async(message)).await };
                let _ = me.op("send_async with a limit", || block_on(sent));
                return;
            }
        };
        message = back;
        me.op("yield_now", fiber::yield_now);
    }
}

/// Receives until the senders are gone, now like this and now like that.
fn receive(me: &Me, rx: &mpmc::Receiver<Value>, r: &mut Random, received: &AtomicU64) {
    let mut stream = sisal::io::iter(rx.clone());
    loop {
        let limit = r.pause();
        // `Some(None)` is the end.
        let got = match r.below(6) {
            0 => Some(me.op("recv", || rx.recv().ok())),
            1 => match me.op("recv_timeout", || rx.recv_timeout(limit)) {
                Err(mpmc::RecvTimeoutError::Timeout) => None,
                got => Some(got.ok()),
            },
            2 => {
                let got = me.op("recv in a timeout", || timeout(limit, || rx.recv()));
                got.ok().map(Result::ok)
            }
            3 => {
                let got = async { tokio::time::timeout(limit, rx.recv_async()).await };
                let got = me.op("recv_async with a limit", || block_on(got));
                got.ok().map(Result::ok)
            }
            4 => me.op("stream with a limit", || {
                timeout(limit, || stream.next()).ok()
            }),
            _ => match rx.try_recv() {
                Err(mpmc::TryRecvError::Empty) => {
                    me.op("yield_now", fiber::yield_now);
                    None
                }
                got => Some(got.ok()),
            },
        };
        match got {
            Some(Some(message)) => {
                message.receive();
                received.fetch_add(1, Ordering::SeqCst);
            }
            Some(None) => return,
            None => {}
        }
    }
}

/// Several producers and receivers, fibers and an async task.
pub(crate) fn many(me: &Me, world: &Arc<World>, r: &mut Random) {
    let (tx, rx) = match r.below(5) {
        0 => mpmc::channel(),
        n => mpmc::sync_channel(n as usize - 1),
    };
    let (producers, each, lossy) = (1 + r.below(3), r.below(12), r.one_in(2));
    let received = Arc::new(AtomicU64::new(0));
    let mut children: Vec<Child> = (0..producers)
        .map(|_| {
            let (tx, mut r, world) = (tx.clone(), r.fork(), Arc::clone(world));
            spawn(&Arc::clone(&world), false, move |me| {
                for _ in 0..each {
                    send(me, &tx, &mut r, lossy, world.ledger.value().send());
                    if r.one_in(3) {
                        pause(me, &mut r);
                    }
                }
            })
        })
        .collect();
    drop(tx);
    for _ in 0..r.below(3) {
        let (rx, mut r, received) = (rx.clone(), r.fork(), Arc::clone(&received));
        children.push(spawn(world, false, move |me| {
            receive(me, &rx, &mut r, &received);
        }));
    }
    // One that waits as a stream now, and never looks again.
    let mut paused = sisal::io::iter(rx.clone());
    if r.one_in(2) {
        let limit = r.pause();
        if let Ok(Some(message)) = timeout(limit, || paused.next()) {
            message.receive();
            received.fetch_add(1, Ordering::SeqCst);
        }
    }
    let task = r.one_in(3).then(|| {
        let (rx, received) = (rx.clone(), Arc::clone(&received));
        tokio::spawn(async move {
            while let Ok(message) = rx.recv_async().await {
                message.receive();
                received.fetch_add(1, Ordering::SeqCst);
            }
        })
    });
    receive(me, &rx, r, &received);
    let mut whole = true;
    for child in children {
        whole &= child.join(me, world);
    }
    if let Some(task) = task {
        whole &= me.op("join of a task", || block_on(task)).is_ok();
    }
    let got = received.load(Ordering::SeqCst);
    let right = match whole && !lossy {
        true => got == producers * each,
        false => got <= producers * each,
    };
    world.ledger.check(right, || {
        format!("{got} messages of {producers} times {each} came, lossy {lossy}")
    });
    drop(paused);
}

/// The same with one receiver, over `mpsc`.
pub(crate) fn one(me: &Me, world: &Arc<World>, r: &mut Random) {
    let (tx, rx) = mpsc::sync_channel(r.below(4) as usize);
    let (producers, each) = (1 + r.below(3), r.below(12));
    let children: Vec<_> = (0..producers)
        .map(|_| {
            let (tx, mut r, world) = (tx.clone(), r.fork(), Arc::clone(world));
            spawn(&Arc::clone(&world), false, move |me| {
                for _ in 0..each {
                    // The receiver may have unwound.
                    let _ = me.op("mpsc send", || tx.send(world.ledger.value().send()));
                    if r.one_in(3) {
                        pause(me, &mut r);
                    }
                }
            })
        })
        .collect();
    drop(tx);
    let mut received = 0;
    loop {
        let limit = r.pause();
        let got = match r.below(3) {
            0 => me.op("mpsc recv", || rx.recv()),
            1 => match me.op("mpsc recv_timeout", || rx.recv_timeout(limit)) {
                Err(mpsc::RecvTimeoutError::Timeout) => continue,
                got => got.map_err(|_| mpsc::RecvError),
            },
            _ => match me.op("mpsc recv in a timeout", || timeout(limit, || rx.recv())) {
                Ok(got) => got,
                Err(_) => continue,
            },
        };
        let Ok(message) = got else { break };
        message.receive();
        received += 1;
    }
    let mut whole = true;
    for child in children {
        whole &= child.join(me, world);
    }
    world
        .ledger
        .check(!whole || received == producers * each, || {
            format!("{received} messages of {producers} times {each} came")
        });
}

/// One message, or none, to somebody who asks again and again, or gives up.
pub(crate) fn answer(me: &Me, world: &Arc<World>, r: &mut Random) {
    let (tx, mut rx) = oneshot::channel();
    let silent = r.one_in(4);
    let child = {
        let (mut r, world) = (r.fork(), Arc::clone(world));
        spawn(&Arc::clone(&world), false, move |me| {
            pause(me, &mut r);
            if !silent {
                // Who asked may have gone.
                let _ = tx.send(world.ledger.value().send());
            }
        })
    };
    let patient = !r.one_in(4);
    let got = loop {
        let limit = r.pause();
        match r.below(3) {
            0 => match me.op("oneshot recv_timeout", || rx.recv_timeout(limit)) {
                Err(oneshot::RecvTimeoutError::Timeout(back)) => rx = back,
                got => break got.ok(),
            },
            1 => {
                let got = me.op("oneshot in a timeout", || {
                    timeout(limit, || block_on(&mut rx))
                });
                if let Ok(got) = got {
                    break got.ok();
                }
            }
            _ => match rx.try_recv() {
                Err(oneshot::TryRecvError::Empty(back)) => {
                    rx = back;
                    me.op("yield_now", fiber::yield_now);
                }
                got => break got.ok(),
            },
        }
        if !patient {
            drop(rx);
            break None;
        }
    };
    let came = got.is_some();
    if let Some(message) = got {
        message.receive();
    }
    let whole = child.join(me, world);
    let right = !whole || !patient || came != silent;
    world.ledger.check(right, || {
        format!("an answer: {came}, though silent: {silent}")
    });
}
