//! std's threads: what all of this replaces.

use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::Duration;

use super::Fibers;

pub(crate) enum Threads {}

impl Fibers for Threads {
    // The kernel shares out time, not turns.
    const TAKES_TURNS: bool = false;

    type Runtime = ();
    type Handle = thread::JoinHandle<u64>;
    type Fiber = thread::Thread;
    type Sender = mpsc::SyncSender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type Mutex = Mutex<u64>;

    /// The kernel has as many workers as the process may use processors.
    fn runtime(_workers: usize) {}

    fn run<T: Send + 'static>((): &(), f: impl FnOnce() -> T + Send + 'static) -> T {
        f()
    }

    fn spawn_outside((): &(), f: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        thread::spawn(f)
    }

    fn spawn(f: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        thread::spawn(f)
    }

    fn join(handle: Self::Handle) -> u64 {
        handle.join().expect("a thread of the bench ends")
    }

    fn fiber(handle: &Self::Handle) -> thread::Thread {
        handle.thread().clone()
    }

    fn current() -> thread::Thread {
        thread::current()
    }

    #[inline(always)]
    fn yield_now() {
        thread::yield_now();
    }

    #[inline(always)]
    fn sleep(time: Duration) {
        thread::sleep(time);
    }

    #[inline(always)]
    fn park() {
        thread::park();
    }

    #[inline]
    fn unpark(thread: &thread::Thread) {
        thread.unpark();
    }

    fn channel(room: usize) -> (Self::Sender, Self::Receiver) {
        mpsc::sync_channel(room)
    }

    #[inline(always)]
    fn send(tx: &Self::Sender, message: u64) {
        tx.send(message).expect("the receiver listens");
    }

    #[inline(always)]
    fn recv(rx: &Self::Receiver) -> Option<u64> {
        rx.recv().ok()
    }

    fn mutex() -> Mutex<u64> {
        Mutex::new(0)
    }

    #[inline]
    fn add(mutex: &Mutex<u64>, then: impl FnOnce()) -> u64 {
        let mut count = mutex.lock().expect("nobody panics");
        *count += 1;
        then();
        *count
    }
}
