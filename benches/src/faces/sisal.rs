//! Our side.

use std::time::Duration;

use ::sisal::sync::{Mutex, mpsc};
use ::sisal::{Runtime, fiber};

use super::Fibers;

pub(crate) enum Sisal {}

impl Fibers for Sisal {
    const TAKES_TURNS: bool = true;

    type Runtime = Runtime;
    type Handle = fiber::JoinHandle<u64>;
    type Fiber = fiber::Fiber;
    type Sender = mpsc::SyncSender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type Mutex = Mutex<u64>;

    fn runtime(workers: usize) -> Runtime {
        Runtime::builder()
            .workers(workers)
            .build()
            .expect("the system has threads left")
    }

    fn run<T: Send + 'static>(runtime: &Runtime, f: impl FnOnce() -> T + Send + 'static) -> T {
        runtime.run(f)
    }

    #[inline]
    fn spawn_outside(runtime: &Runtime, f: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        runtime.spawn(f)
    }

    #[inline]
    fn spawn(f: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        fiber::spawn(f)
    }

    #[inline(always)]
    fn join(handle: Self::Handle) -> u64 {
        handle.join().expect("a fiber of the bench ends")
    }

    #[inline]
    fn fiber(handle: &Self::Handle) -> fiber::Fiber {
        handle.fiber().clone()
    }

    #[inline]
    fn current() -> fiber::Fiber {
        fiber::current()
    }

    #[inline(always)]
    fn yield_now() {
        fiber::yield_now();
    }

    #[inline(always)]
    fn sleep(time: Duration) {
        fiber::sleep(time);
    }

    #[inline(always)]
    fn park() {
        fiber::park();
    }

    #[inline]
    fn unpark(fiber: &fiber::Fiber) {
        fiber.unpark();
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
