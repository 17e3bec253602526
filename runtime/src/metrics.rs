//! What a runtime says of itself: figures at one moment.
//!
//! Plain data. Who counts: `sched/stats.rs`.

/// What a runtime did so far, and has now: see [`Runtime::metrics`](crate::Runtime::metrics).
///
/// Every worker counts for itself, without ordering, and the snapshot reads one figure after the other:
/// in a busy runtime two figures are not of the same instant. In an idle one they are exact.
///
/// ```
/// # fn main() -> std::io::Result<()> {
/// let runtime = sisal::Runtime::builder().workers(2).build()?;
/// runtime.run(|| sisal::spawn(|| ()).join().unwrap());
/// let metrics = runtime.metrics();
/// assert_eq!(metrics.workers.len(), 2);
/// assert_eq!(metrics.total().spawned, 2);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Metrics {
    /// What each worker did.
    pub workers: Vec<WorkerMetrics>,
    /// What threads that are no workers of this runtime did to it.
    pub outside: OutsideMetrics,
    /// Fresh fibers in the queue that every worker takes from: spawned from outside, or by a worker
    /// that has more than its share.
    pub injected: usize,
}

/// What one worker did so far, and has now: see [`Metrics::workers`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct WorkerMetrics {
    /// Fibers that fibers and async tasks of this worker spawned.
    pub spawned: u64,
    /// Fibers that ended on this worker.
    pub ended: u64,
    /// Fibers that have started on this worker and have not ended.
    pub bound: u64,
    /// Fibers of this worker that were ready to go on when its last turn ended.
    pub ready: u64,
    /// Fibers that wait here for their first run, and that others may take.
    pub fresh: u64,
    /// Turns: how often the worker ran fibers until none was left or timers and I/O were due.
    pub turns: u64,
    /// Switches to fibers in turns that are over.
    pub switches: u64,
    /// Turns that ended in sleep: nothing to run, and the worker waited in its reactor.
    pub sleeps: u64,
    /// Sleeps that another thread ended, because it had work for this worker. The others were ended by
    /// I/O or a timer.
    pub woken: u64,
    /// Sleeps of other workers that this one ended. Each is one write to an eventfd.
    pub wakes: u64,
    /// Looks at all the other workers for a fresh fiber to steal.
    pub searches: u64,
    /// Searches that found some.
    pub steals: u64,
    /// Fibers that came with them.
    pub stolen: u64,
    /// Fibers taken from the queue that every worker takes from.
    pub injector_pops: u64,
    /// Fibers taken from this worker's inbox, where other threads put those that they wake.
    pub inbox_pops: u64,
}

/// What threads that are no workers of the runtime did to it: see [`Metrics::outside`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutsideMetrics {
    /// Fibers that they spawned.
    pub spawned: u64,
    /// Of these, fibers that ended at once because the runtime was closed.
    pub ended: u64,
    /// Sleeps of workers that they ended. Each is one write to an eventfd.
    pub wakes: u64,
}

impl Metrics {
    /// Sums over the workers. What came from outside is in `spawned`, `ended` and `wakes`.
    pub fn total(&self) -> WorkerMetrics {
        let mut total = WorkerMetrics {
            spawned: self.outside.spawned,
            ended: self.outside.ended,
            wakes: self.outside.wakes,
            ..WorkerMetrics::default()
        };
        for worker in &self.workers {
            // All fields by name: none that is added is forgotten here.
            let WorkerMetrics {
                spawned,
                ended,
                bound,
                ready,
                fresh,
                turns,
                switches,
                sleeps,
                woken,
                wakes,
                searches,
                steals,
                stolen,
                injector_pops,
                inbox_pops,
            } = *worker;
            total.spawned += spawned;
            total.ended += ended;
            total.bound += bound;
            total.ready += ready;
            total.fresh += fresh;
            total.turns += turns;
            total.switches += switches;
            total.sleeps += sleeps;
            total.woken += woken;
            total.wakes += wakes;
            total.searches += searches;
            total.steals += steals;
            total.stolen += stolen;
            total.injector_pops += injector_pops;
            total.inbox_pops += inbox_pops;
        }
        total
    }

    /// Fibers that have been spawned and have not ended.
    pub fn live(&self) -> u64 {
        let total = self.total();
        total.spawned.saturating_sub(total.ended)
    }
}
