//! What a runtime says of itself: figures at one moment.
//!
//! Plain data. Who counts: `sched/stats.rs`, `stack_pool/usage.rs`.

use std::panic::Location;

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
    /// The stacks of its fibers.
    pub stacks: StackMetrics,
}

/// A runtime's stacks: see [`Metrics::stacks`].
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct StackMetrics {
    /// Mappings of many stacks each. They come when stacks are needed, and go when fibers have ended.
    pub slabs: usize,
    /// Stacks that fibers have, and those that workers keep at hand for the next.
    pub taken: usize,
    /// Stacks given out so far that held no memory: never used before, or given back in the meantime. If this
    /// goes on growing, bursts of fibers come and go.
    pub cold: usize,
    /// How deep fibers went, by the place that spawned them; ordered by place.
    pub usage: Vec<StackUsage>,
}

/// How deep the fibers that were spawned at one place went: see [`StackMetrics::usage`].
///
/// Some of them are measured: the first few, then one in 2,048. Depths are bytes of stack in whole pages,
/// exact for the fibers that were measured; of the others nothing is known, so one of them may have gone deeper.
///
/// ```
/// use sisal::fiber;
///
/// # fn main() -> std::io::Result<()> {
/// let runtime = sisal::Runtime::builder().workers(1).build()?;
/// let line = runtime.run(|| {
///     let line = line!() + 1;
///     fiber::spawn(|| std::hint::black_box([1_u8; 50_000]).len()).join().unwrap();
///     line
/// });
/// let usage = runtime.metrics().stacks.usage;
/// let place = usage.iter().find(|usage| usage.location.line() == line).unwrap();
/// assert_eq!((place.ended, place.samples), (1, 1));
/// assert!(place.deepest > 50_000);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct StackUsage {
    /// Where they were spawned.
    pub location: &'static Location<'static>,
    /// How many have run and ended.
    pub ended: u64,
    /// How many of those were measured.
    pub samples: u64,
    /// Half of the samples went no deeper. Like `most`, rounded up to a power of two of pages, and not more
    /// than `deepest`.
    pub typical: usize,
    /// 95 of 100 samples went no deeper.
    pub most: usize,
    /// The deepest sample.
    pub deepest: usize,
}

impl StackUsage {
    pub(crate) fn new(location: &'static Location<'static>) -> StackUsage {
        StackUsage {
            location,
            ended: 0,
            samples: 0,
            typical: 0,
            most: 0,
            deepest: 0,
        }
    }
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
    /// Fibers that only this worker may run, ready to go on or made by `spawn_local`, when its last turn
    /// ended.
    pub ready: u64,
    /// Fibers that wait here for their first run, and that others may take.
    pub fresh: u64,
    /// The worker sleeps, and nobody has called it yet. Of a total: all do.
    pub asleep: bool,
    /// Turns: how often the worker ran fibers until none was left or timers and I/O were due.
    pub turns: u64,
    /// Switches to fibers in turns that are over.
    pub switches: u64,
    /// Turns that ended in sleep: nothing to run, and the worker waited in its reactor.
    pub sleeps: u64,
    /// Sleeps with a timer, because there were fresh fibers that workers with fewer bound ones should start.
    pub watches: u64,
    /// Sleeps that another thread ended, because it had work for this worker. The others were ended by
    /// I/O or a timer.
    pub woken: u64,
    /// Sleeps of other workers that this one ended. Each is one write to an eventfd.
    pub wakes: u64,
    /// Times the worker looked a little longer before it would sleep, because it had been called soon after it last slept.
    pub spins: u64,
    /// Those that found nothing. The others saved a sleep.
    pub vain_spins: u64,
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
            asleep: true,
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
                asleep,
                turns,
                switches,
                sleeps,
                watches,
                woken,
                wakes,
                spins,
                vain_spins,
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
            total.asleep &= asleep;
            total.turns += turns;
            total.switches += switches;
            total.sleeps += sleeps;
            total.watches += watches;
            total.woken += woken;
            total.wakes += wakes;
            total.spins += spins;
            total.vain_spins += vain_spins;
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
