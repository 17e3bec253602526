//! may: stackful coroutines that move between the threads of one scheduler per process.

use std::time::Duration;

use ::may::sync::{Mutex, mpsc};
use ::may::{coroutine, go};

use super::Fibers;

pub(crate) enum May {}

impl Fibers for May {
    const TAKES_TURNS: bool = true;

    type Runtime = ();
    type Handle = coroutine::JoinHandle<u64>;
    type Fiber = coroutine::Coroutine;
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type Mutex = Mutex<u64>;

    /// The scheduler starts with the first coroutine. It would pin its workers from the first processor on; the side's
    /// process is pinned already.
    fn runtime(workers: usize) {
        ::may::config().set_workers(workers).set_worker_pin(false);
    }

    fn run<T: Send + 'static>((): &(), f: impl FnOnce() -> T + Send + 'static) -> T {
        go!(f).join().expect("a coroutine of the bench ends")
    }

    #[inline]
    fn spawn_outside((): &(), f: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        go!(f)
    }

    // `go!` hides an unsafe call: what runs in there must not use thread-locals across a wait, nor much stack. The rows
    // do neither.
    #[inline]
    fn spawn(f: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle {
        go!(f)
    }

    #[inline(always)]
    fn join(handle: Self::Handle) -> u64 {
        handle.join().expect("a coroutine of the bench ends")
    }

    #[inline]
    fn fiber(handle: &Self::Handle) -> coroutine::Coroutine {
        handle.coroutine().clone()
    }

    #[inline]
    fn current() -> coroutine::Coroutine {
        coroutine::current()
    }

    #[inline(always)]
    fn yield_now() {
        coroutine::yield_now();
    }

    #[inline(always)]
    fn sleep(time: Duration) {
        coroutine::sleep(time);
    }

    #[inline(always)]
    fn park() {
        coroutine::park();
    }

    #[inline]
    fn unpark(coroutine: &coroutine::Coroutine) {
        coroutine.unpark();
    }

    /// It has only channels without a bound.
    fn channel(_room: usize) -> (Self::Sender, Self::Receiver) {
        mpsc::channel()
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
