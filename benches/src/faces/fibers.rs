//! The face of what is written in the blocking style: std's threads and those that are shaped like them.

use std::time::Duration;

/// Everything that the rows ask of such a peer. What waits is always inlined, as if the row called the peer
/// itself: a return more is a return that the processor does not expect (decision 0002). What a fiber computes is a `u64`: a sum that can be checked.
pub(crate) trait Fibers: 'static {
    /// Nobody gets many turns while another waits for its first: true of one queue, not of the kernel.
    const TAKES_TURNS: bool;

    type Runtime: 'static;
    type Handle: Send + 'static;
    /// Whom to unpark.
    type Fiber: Clone + Send + Sync + 'static;
    type Sender: Clone + Send + 'static;
    type Receiver: Send + 'static;
    type Mutex: Send + Sync + 'static;

    /// A runtime with so many workers and nothing else changed.
    fn runtime(workers: usize) -> Self::Runtime;
    /// Runs `f` as a fiber and waits for it, from a plain thread.
    fn run<T: Send + 'static>(runtime: &Self::Runtime, f: impl FnOnce() -> T + Send + 'static)
    -> T;
    /// Spawns from a plain thread.
    fn spawn_outside(
        runtime: &Self::Runtime,
        f: impl FnOnce() -> u64 + Send + 'static,
    ) -> Self::Handle;

    fn spawn(f: impl FnOnce() -> u64 + Send + 'static) -> Self::Handle;
    fn join(handle: Self::Handle) -> u64;
    fn fiber(handle: &Self::Handle) -> Self::Fiber;

    fn current() -> Self::Fiber;
    fn yield_now();
    fn sleep(time: Duration);
    fn park();
    fn unpark(fiber: &Self::Fiber);

    /// A channel with room for so many messages, or for any number if the peer has only that.
    fn channel(room: usize) -> (Self::Sender, Self::Receiver);
    fn send(tx: &Self::Sender, message: u64);
    /// `None` when every sender is gone.
    fn recv(rx: &Self::Receiver) -> Option<u64>;

    fn mutex() -> Self::Mutex;
    /// Adds one under the lock and says what is there then; `then` runs before the lock is given back.
    fn add(mutex: &Self::Mutex, then: impl FnOnce()) -> u64;
}
