//! Fibers, threads and async tasks over channels and a semaphore, with cancels and deadlines: every message is
//! counted once, as received, refused or dropped with its sender; every permit comes back.
//!
//! A failure prints the seed. `SISAL_STRESS_SEED` repeats it (the schedule is the machine's, so it may take
//! some runs); `SISAL_STRESS_OPS` sets the number of messages of each party.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::Duration;

use common::{Count, runtime, watchdog};
use sisal::fiber::{JoinHandle, spawn, yield_now};
use sisal::sync::mpmc::{
    Receiver, RecvTimeoutError, SendTimeoutError, Sender, TrySendError, channel, sync_channel,
};
use sisal::sync::{Semaphore, oneshot};

/// xorshift64* (S. Vigna, "An experimental exploration of Marsaglia's xorshift generators", 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % n
    }

    fn fork(&mut self) -> Random {
        self.below(2);
        Random(self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }
}

fn number(variable: &str, default: impl FnOnce() -> u64) -> u64 {
    let given = std::env::var(variable).ok();
    given.map_or_else(default, |given| given.parse().expect("a number"))
}

fn seed() -> u64 {
    let seed = number("SISAL_STRESS_SEED", || {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
        now.unwrap().as_nanos() as u64 | 1
    });
    println!("SISAL_STRESS_SEED={seed}");
    seed
}

const UNSEEN: u8 = 0;
const RECEIVED: u8 = 1;
const DROPPED: u8 = 2;

/// What became of each message.
struct Ledger(Vec<AtomicU8>);

struct Message {
    number: usize,
    ledger: Arc<Ledger>,
    received: bool,
}

impl Message {
    fn receive(mut self) {
        self.received = true;
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        let end = if self.received { RECEIVED } else { DROPPED };
        let before = self.ledger.0[self.number].swap(end, Ordering::SeqCst);
        assert_eq!(before, UNSEEN, "message {} ended twice", self.number);
    }
}

/// Sends the messages of one party, in all ways in turn. `lossy`: some are given up.
fn send(
    tx: &Sender<Message>,
    ledger: &Arc<Ledger>,
    range: std::ops::Range<usize>,
    random: &mut Random,
    lossy: bool,
) {
    for number in range {
        let mut message = Message {
            number,
            ledger: ledger.clone(),
            received: false,
        };
        loop {
            let timeout = Duration::from_micros(random.below(300));
            let back = match random.below(if lossy { 4 } else { 3 }) {
                0 => tx.send(message).map_err(|e| e.0),
                1 => tx.send_timeout(message, timeout).map_err(|e| match e {
                    SendTimeoutError::Timeout(m) | SendTimeoutError::Disconnected(m) => m,
                }),
                2 => tx.try_send(message).map_err(|e| match e {
                    TrySendError::Full(m) | TrySendError::Disconnected(m) => m,
                }),
                // Sent, or dropped in the unwind.
                _ => {
                    _ = sisal::timeout(timeout, || tx.send(message));
                    break;
                }
            };
            match back {
                Ok(()) => break,
                Err(back) => message = back,
            }
            yield_now();
        }
    }
}

/// Receives until the senders are gone. `lossy`: cuts its own waits short.
fn receive(rx: &Receiver<Message>, random: &mut Random, lossy: bool) -> usize {
    let mut count = 0;
    loop {
        let timeout = Duration::from_micros(random.below(300));
        let received = match random.below(if lossy { 3 } else { 2 }) {
            0 => rx.recv().map_err(|_| RecvTimeoutError::Disconnected),
            1 => rx.recv_timeout(timeout),
            _ => match sisal::timeout(timeout, || rx.recv()) {
                Ok(received) => received.map_err(|_| RecvTimeoutError::Disconnected),
                Err(_) => Err(RecvTimeoutError::Timeout),
            },
        };
        match received {
            Ok(message) => {
                message.receive();
                count += 1;
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return count,
        }
    }
}

fn round(random: &mut Random, each: usize) {
    const PARTIES: usize = 6;
    let ledger = Arc::new(Ledger(
        (0..PARTIES * each).map(|_| AtomicU8::new(UNSEEN)).collect(),
    ));
    let (tx, rx) = match random.below(4) {
        0 => channel(),
        n => sync_channel(n as usize - 1),
    };
    let runtime = runtime(2);
    let part = move |n: usize| n * each..(n + 1) * each;
    let mut fibers: Vec<JoinHandle<usize>> = Vec::new();
    let mut threads = Vec::new();
    for n in 0..3 {
        let (tx, ledger, mut forked) = (tx.clone(), ledger.clone(), random.fork());
        fibers.push(runtime.spawn(move || {
            send(&tx, &ledger, part(n), &mut forked, true);
            0
        }));
        let (rx, mut forked) = (rx.clone(), random.fork());
        fibers.push(runtime.spawn(move || receive(&rx, &mut forked, true)));
    }
    let (tx_thread, ledger_thread, mut forked) = (tx.clone(), ledger.clone(), random.fork());
    threads.push(thread::spawn(move || {
        send(&tx_thread, &ledger_thread, part(3), &mut forked, false);
        0
    }));
    let (rx_thread, mut forked) = (rx.clone(), random.fork());
    threads.push(thread::spawn(move || {
        receive(&rx_thread, &mut forked, false)
    }));
    // A task sends and then receives; its waits are dropped now and then.
    let (task_tx, task_rx, task_ledger, mut forked) =
        (tx.clone(), rx.clone(), ledger.clone(), random.fork());
    let task = runtime.run(move || {
        tokio::spawn(async move {
            for number in part(4) {
                let message = Message {
                    number,
                    ledger: task_ledger.clone(),
                    received: false,
                };
                let wait = Duration::from_micros(500 + forked.below(1000));
                _ = tokio::time::timeout(wait, task_tx.send_async(message)).await;
            }
            drop(task_tx);
            let mut count = 0;
            loop {
                let wait = Duration::from_micros(500 + forked.below(1000));
                match tokio::time::timeout(wait, task_rx.recv_async()).await {
                    Ok(Ok(message)) => {
                        message.receive();
                        count += 1;
                    }
                    Ok(Err(_)) => return count,
                    Err(_) => {}
                }
            }
        })
    });
    // One that is cancelled somewhere.
    let (cancelled_tx, cancelled_ledger) = (tx.clone(), ledger.clone());
    let cancelled = runtime.spawn(move || {
        for number in part(5) {
            let ledger = cancelled_ledger.clone();
            let message = Message {
                number,
                ledger,
                received: false,
            };
            _ = cancelled_tx.send(message);
        }
    });
    let cancelled_receiver = {
        let rx = rx.clone();
        runtime.spawn(move || rx.iter().for_each(Message::receive))
    };
    drop((tx, rx));
    (0..random.below(2000)).for_each(|_| thread::yield_now());
    cancelled_receiver.cancel();
    cancelled.cancel();
    _ = cancelled.join();
    _ = cancelled_receiver.join();
    let counted: usize = fibers
        .into_iter()
        .map(|fiber| fiber.join().unwrap())
        .sum::<usize>()
        + threads
            .into_iter()
            .map(|thread| thread.join().unwrap())
            .sum::<usize>()
        + sisal::block_on(task).unwrap();
    drop(runtime);
    let ended = |end| {
        ledger
            .0
            .iter()
            .filter(|state| state.load(Ordering::SeqCst) == end)
            .count()
    };
    assert!(ended(RECEIVED) >= counted, "a message was received twice");
    // A thread gives nothing up.
    for state in &ledger.0[part(3)] {
        assert_eq!(state.load(Ordering::SeqCst), RECEIVED, "a message was lost");
    }
    // What the cancelled sender did not come to was never made.
    for state in &ledger.0[..5 * each] {
        assert_ne!(state.load(Ordering::SeqCst), UNSEEN, "a message is nowhere");
    }
}

#[test]
fn every_message_ends_once() {
    let _watchdog = watchdog(300);
    let mut random = Random(seed());
    let each = number("SISAL_STRESS_OPS", || 500) as usize;
    for _ in 0..6 {
        round(&mut random, each);
    }
}

#[test]
fn every_permit_comes_back() {
    const PERMITS: usize = 3;
    let _watchdog = watchdog(300);
    let mut random = Random(seed());
    let each = number("SISAL_STRESS_OPS", || 1000);
    let semaphore = Arc::new(Semaphore::new(PERMITS));
    let got = Count::new();
    let runtime = runtime(2);
    let work = |mut random: Random, fiber: bool| {
        let (semaphore, got) = (semaphore.clone(), got.clone());
        move || {
            for _ in 0..each {
                let n = random.below(PERMITS as u64 + 1) as usize;
                let timeout = Duration::from_micros(random.below(300));
                let permit = match random.below(if fiber { 4 } else { 3 }) {
                    0 => semaphore.acquire_many(n).ok(),
                    1 => semaphore.acquire_many_timeout(n, timeout).ok(),
                    2 => semaphore.try_acquire_many(n).ok(),
                    _ => match sisal::timeout(timeout, || semaphore.acquire_many(n)) {
                        Ok(permit) => permit.ok(),
                        Err(_) => None,
                    },
                };
                if permit.is_some() {
                    got.add();
                }
                if random.below(3) == 0 {
                    yield_now();
                }
            }
        }
    };
    let fibers: Vec<_> = (0..6)
        .map(|_| runtime.spawn(work(random.fork(), true)))
        .collect();
    let threads: Vec<_> = (0..2)
        .map(|_| thread::spawn(work(random.fork(), false)))
        .collect();
    // These may have a permit, wait for one, or be served just then.
    for _ in 0..each {
        let semaphore = semaphore.clone();
        let victim = runtime.spawn(move || {
            let _permit = semaphore.acquire().unwrap();
            yield_now();
        });
        (0..random.below(20)).for_each(|_| thread::yield_now());
        victim.cancel();
        _ = victim.join();
    }
    fibers.into_iter().for_each(|fiber| fiber.join().unwrap());
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
    assert!(got.get() > 0);
    assert_eq!(semaphore.available_permits(), PERMITS);
}

/// Requests with an answer each, some of which nobody waits for any more.
#[test]
fn every_request_is_answered() {
    let _watchdog = watchdog(300);
    let mut random = Random(seed());
    let each = number("SISAL_STRESS_OPS", || 500);
    runtime(2).run(|| {
        let (requests, served) = sync_channel::<(u64, oneshot::Sender<u64>)>(2);
        let servers: Vec<_> = (0..2)
            .map(|_| {
                let served = served.clone();
                spawn(move || served.iter().for_each(|(n, answer)| _ = answer.send(n + 1)))
            })
            .collect();
        let clients: Vec<_> = (0..4)
            .map(|_| {
                let (requests, mut random) = (requests.clone(), random.fork());
                spawn(move || {
                    for n in 0..each {
                        let (answer, answered) = oneshot::channel();
                        requests.send((n, answer)).unwrap();
                        let timeout = Duration::from_micros(random.below(100));
                        match random.below(3) {
                            0 => assert_eq!(answered.recv(), Ok(n + 1)),
                            1 => {
                                let answer = match answered.recv_timeout(timeout) {
                                    Err(oneshot::RecvTimeoutError::Timeout(late)) => {
                                        late.recv().unwrap()
                                    }
                                    answer => answer.unwrap(),
                                };
                                assert_eq!(answer, n + 1);
                            }
                            _ => drop(answered),
                        }
                    }
                })
            })
            .collect();
        drop((requests, served));
        clients
            .into_iter()
            .for_each(|client| client.join().unwrap());
        servers
            .into_iter()
            .for_each(|server| server.join().unwrap());
    });
}
