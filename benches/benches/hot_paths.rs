//! The hot paths under criterion, for work on one of them: `cargo bench -p sisal-benches -- PART`. The bodies are those of
//! the rows, so a path here is the row of that name.
//!
//! Criterion runs one side after the other, in one process. Who is faster than whom, and by how much, is for `sisal-benches
//! all` to say, which alternates; this compares a path with what it was before (`--save-baseline`, `--baseline`).

use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use sisal_benches::Body;

const SWITCHES: &[&str] = &["switch-asm", "corosensei"];
const FIBERS: &[&str] = &["sisal", "tokio current_thread"];

const PATHS: [(&str, &[&str]); 12] = [
    ("resume+suspend pair", SWITCHES),
    ("create+run+drop", SWITCHES),
    ("create+run+drop, kept stack", SWITCHES),
    ("on_stack", SWITCHES),
    ("block_on(ready)", FIBERS),
    ("yield_now, 2 fibers", FIBERS),
    ("yield_now, 100 fibers", FIBERS),
    ("spawn+join, one by one", FIBERS),
    ("spawn+join, batches of 1,000", FIBERS),
    ("park+unpark hand-off", FIBERS),
    ("channel ping-pong", FIBERS),
    ("Mutex lock+unlock, in a fiber", FIBERS),
];

fn hot_paths(criterion: &mut Criterion) {
    for (row, peers) in PATHS {
        let mut group = criterion.benchmark_group(row);
        for peer in peers {
            // Criterion calls for every sample; a side is made once, and only if it is asked for.
            let mut body: Option<Body> = None;
            group.bench_function(*peer, |bencher| {
                let body =
                    body.get_or_insert_with(|| Body::new(row, peer).expect("a row and its peer"));
                let each = body.operations();
                bencher.iter_custom(|units| body.run(units) / u32::try_from(each).expect("few"));
            });
        }
        group.finish();
    }
}

criterion_group! {
    name = paths;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(3));
    targets = hot_paths
}
criterion_main!(paths);
