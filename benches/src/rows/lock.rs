//! A mutex that nobody else wants: lock, change, unlock, on a plain thread.
//!
//! Both sides are the same tokens; ours has to know how a fiber would wait, and must not pay for it here.

use std::hint::black_box;
use std::time::Instant;

use super::{Side, Sides, Work};

pub(super) const WORK: Work = Work {
    name: "Mutex lock+unlock",
    peer: "std",
    operations_per_unit: 1,
    least_units: 100_000,
    note: Some("uncontended; poisoning is looked after on both sides"),
    sides: || Sides {
        ours: side!(sisal),
        peer: side!(std),
    },
};

macro_rules! side {
    ($origin:ident) => {{
        let mutex = $origin::sync::Mutex::new(0_u64);
        Box::new(move |rounds| {
            *mutex.lock().expect("nobody panics") = 0;
            let start = Instant::now();
            for _ in 0..rounds {
                *black_box(&mutex).lock().expect("nobody panics") += 1;
            }
            let took = start.elapsed();
            assert_eq!(
                *mutex.lock().expect("nobody panics"),
                rounds,
                "a round was skipped"
            );
            took
        }) as Side
    }};
}
use side;
