//! smol: an `async-executor`, run by as many threads as there are workers.

use std::future::{self, Future};
use std::thread;
use std::time::Duration;

use ::smol::channel;
use ::smol::lock::{Mutex, Semaphore};
use ::smol::{Executor, Task, Timer};

use super::Tasks;

/// Where tasks are spawned from anywhere, as `smol::spawn` does. Its own executor would choose the number of threads.
static EXECUTOR: Executor<'static> = Executor::new();

pub(crate) enum Smol {}

impl Tasks for Smol {
    const TAKES_TURNS: bool = true;

    /// Whether the thread that blocks runs tasks too; there are other threads for it if not.
    type Runtime = bool;
    type Handle = Task<u64>;
    type Notify = Semaphore;
    type Sender = channel::Sender<u64>;
    type Receiver = channel::Receiver<u64>;
    type Mutex = Mutex<u64>;

    /// One worker is the thread that blocks. More are threads of their own, as smol's documentation has it.
    fn runtime(workers: usize) -> bool {
        workers == 1 || Self::apart(workers)
    }

    fn apart(workers: usize) -> bool {
        for _ in 0..workers {
            thread::spawn(|| ::smol::block_on(EXECUTOR.run(future::pending::<()>())));
        }
        false
    }

    fn run<T: Send + 'static>(
        blocker_runs: &bool,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let task = EXECUTOR.spawn(future);
        if *blocker_runs {
            ::smol::block_on(EXECUTOR.run(task))
        } else {
            ::smol::block_on(task)
        }
    }

    #[inline]
    fn block_on(_: &bool, future: impl Future<Output = u64>) -> u64 {
        ::smol::block_on(future)
    }

    #[inline]
    fn spawn_outside(_: &bool, future: impl Future<Output = u64> + Send + 'static) -> Self::Handle {
        EXECUTOR.spawn(future)
    }

    #[inline]
    fn spawn(future: impl Future<Output = u64> + Send + 'static) -> Self::Handle {
        EXECUTOR.spawn(future)
    }

    #[inline]
    fn join(handle: Self::Handle) -> impl Future<Output = u64> + Send {
        handle
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> + Send {
        ::smol::future::yield_now()
    }

    #[inline]
    async fn sleep(time: Duration) {
        Timer::after(time).await;
    }

    fn notify() -> Semaphore {
        Semaphore::new(0)
    }

    #[inline]
    async fn notified(notify: &Semaphore) {
        notify.acquire().await.forget();
    }

    #[inline]
    fn notify_one(notify: &Semaphore) {
        notify.add_permits(1);
    }

    fn channel(room: usize) -> (Self::Sender, Self::Receiver) {
        channel::bounded(room)
    }

    #[inline]
    async fn send(tx: &Self::Sender, message: u64) {
        tx.send(message).await.expect("the receiver listens");
    }

    #[inline]
    async fn recv(rx: &mut Self::Receiver) -> Option<u64> {
        rx.recv().await.ok()
    }

    fn mutex() -> Mutex<u64> {
        Mutex::new(0)
    }

    #[inline]
    async fn add(mutex: &Mutex<u64>, then: impl Future<Output = ()> + Send) -> u64 {
        let mut count = mutex.lock().await;
        *count += 1;
        then.await;
        *count
    }
}
