//! The face of async executors.

use std::future::Future;
use std::time::Duration;

/// Everything that the rows ask of such a peer. What a task computes is a `u64`: a sum that can be checked.
pub(crate) trait Tasks: 'static {
    /// Nobody gets many turns while another waits for its first.
    const TAKES_TURNS: bool;

    type Runtime: 'static;
    type Handle: Send + 'static;
    /// Keeps one permit, as a park token does.
    type Notify: Send + Sync + 'static;
    type Sender: Clone + Send + Sync + 'static;
    type Receiver: Send + 'static;
    type Mutex: Send + Sync + 'static;

    /// A runtime with so many workers and its drivers on, nothing else changed.
    fn runtime(workers: usize) -> Self::Runtime;
    /// The same for who stays outside: threads that run tasks while the caller does other things.
    fn apart(workers: usize) -> Self::Runtime {
        Self::runtime(workers)
    }
    /// Runs `future` as a task and waits for it, from a plain thread.
    fn run<T: Send + 'static>(
        runtime: &Self::Runtime,
        future: impl Future<Output = T> + Send + 'static,
    ) -> T;
    /// Runs `future` on this thread, as the peer's `block_on` does.
    fn block_on(runtime: &Self::Runtime, future: impl Future<Output = u64>) -> u64;
    /// Spawns from a plain thread.
    fn spawn_outside(
        runtime: &Self::Runtime,
        future: impl Future<Output = u64> + Send + 'static,
    ) -> Self::Handle;

    fn spawn(future: impl Future<Output = u64> + Send + 'static) -> Self::Handle;
    fn join(handle: Self::Handle) -> impl Future<Output = u64> + Send;

    fn yield_now() -> impl Future<Output = ()> + Send;
    fn sleep(time: Duration) -> impl Future<Output = ()> + Send;

    fn notify() -> Self::Notify;
    fn notified(notify: &Self::Notify) -> impl Future<Output = ()> + Send;
    fn notify_one(notify: &Self::Notify);

    fn channel(room: usize) -> (Self::Sender, Self::Receiver);
    fn send(tx: &Self::Sender, message: u64) -> impl Future<Output = ()> + Send;
    /// `None` when every sender is gone.
    fn recv(rx: &mut Self::Receiver) -> impl Future<Output = Option<u64>> + Send;

    fn mutex() -> Self::Mutex;
    /// Adds one under the lock and says what is there then; `then` runs before the lock is given back.
    fn add(
        mutex: &Self::Mutex,
        then: impl Future<Output = ()> + Send,
    ) -> impl Future<Output = u64> + Send;
}
