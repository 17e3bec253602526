//! tokio, both flavours, as `#[tokio::main]` makes them.

use std::future::Future;
use std::marker::PhantomData;
use std::time::Duration;

use ::tokio::runtime::{Builder, Runtime};
use ::tokio::sync::{Mutex, Notify, mpsc};
use ::tokio::task::{self, JoinHandle};

use super::Tasks;

/// The `current_thread` flavour: tasks run on the thread that blocks on one.
pub(crate) type Current = Tokio<CurrentThread>;
/// The `multi_thread` flavour.
pub(crate) type Multi = Tokio<MultiThread>;

pub(crate) struct Tokio<F>(PhantomData<F>);

pub(crate) trait Flavour: 'static {
    const TAKES_TURNS: bool;

    fn builder(workers: usize) -> Builder;
}

pub(crate) enum CurrentThread {}

impl Flavour for CurrentThread {
    const TAKES_TURNS: bool = true;

    fn builder(_workers: usize) -> Builder {
        Builder::new_current_thread()
    }
}

pub(crate) enum MultiThread {}

impl Flavour for MultiThread {
    // What does not fit into a worker's queue waits until it looks into that of all, now and then.
    const TAKES_TURNS: bool = false;

    fn builder(workers: usize) -> Builder {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(workers);
        builder
    }
}

impl<F: Flavour> Tasks for Tokio<F> {
    const TAKES_TURNS: bool = F::TAKES_TURNS;

    type Runtime = Runtime;
    type Handle = JoinHandle<u64>;
    type Notify = Notify;
    type Sender = mpsc::Sender<u64>;
    type Receiver = mpsc::Receiver<u64>;
    type Mutex = Mutex<u64>;

    fn runtime(workers: usize) -> Runtime {
        let runtime = F::builder(workers).enable_all().build();
        runtime.expect("the system has threads and descriptors left")
    }

    fn run<T: Send + 'static>(
        runtime: &Runtime,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T {
        let task = async { task::spawn(future).await.expect("a task of the bench ends") };
        runtime.block_on(task)
    }

    #[inline]
    fn block_on(runtime: &Runtime, future: impl Future<Output = u64>) -> u64 {
        runtime.block_on(future)
    }

    #[inline]
    fn spawn_outside(
        runtime: &Runtime,
        future: impl Future<Output = u64> + Send + 'static,
    ) -> Self::Handle {
        runtime.spawn(future)
    }

    #[inline]
    fn spawn(future: impl Future<Output = u64> + Send + 'static) -> Self::Handle {
        task::spawn(future)
    }

    #[inline]
    async fn join(handle: Self::Handle) -> u64 {
        handle.await.expect("a task of the bench ends")
    }

    #[inline]
    fn yield_now() -> impl Future<Output = ()> + Send {
        task::yield_now()
    }

    #[inline]
    fn sleep(time: Duration) -> impl Future<Output = ()> + Send {
        ::tokio::time::sleep(time)
    }

    fn notify() -> Notify {
        Notify::new()
    }

    #[inline]
    fn notified(notify: &Notify) -> impl Future<Output = ()> + Send {
        notify.notified()
    }

    #[inline]
    fn notify_one(notify: &Notify) {
        notify.notify_one();
    }

    fn channel(room: usize) -> (Self::Sender, Self::Receiver) {
        mpsc::channel(room)
    }

    #[inline]
    async fn send(tx: &Self::Sender, message: u64) {
        tx.send(message).await.expect("the receiver listens");
    }

    #[inline]
    fn recv(rx: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send {
        rx.recv()
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
