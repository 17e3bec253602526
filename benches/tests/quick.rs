//! A quick run fills every row. How fast anybody was is not asked: a test machine is busy.

use sisal_benches::{Options, run};

const ROWS: [&str; 7] = [
    "resume+suspend pair",
    "yield_now, 100 fibers",
    "yield_now, 10,000 fibers",
    "spawn+join, batches of 1,000",
    "channel ping-pong",
    "park+unpark hand-off",
    "Mutex lock+unlock",
];

#[test]
fn a_quick_run_fills_every_row() {
    let mut lines = Vec::new();
    let report = run(&Options { quick: true }, &mut |line| {
        lines.push(line.to_owned())
    });

    let names: Vec<&str> = report.rows.iter().map(|row| row.name).collect();
    assert_eq!(names, ROWS);
    assert_eq!(lines.len(), ROWS.len(), "a line per row: {lines:?}");
    for row in &report.rows {
        let spread = row.ratio_spread;
        for value in [
            row.ours_ns,
            row.peer_ns,
            row.ratio,
            spread.min,
            spread.lower,
            spread.median,
            spread.upper,
            spread.max,
        ] {
            assert!(value.is_finite() && value > 0.0, "{row:?}");
        }
        assert!(row.operations > 0 && row.rounds > 0, "{row:?}");
    }

    let table = report.table();
    for name in ROWS {
        assert!(table.contains(name), "no {name:?} in\n{table}");
    }
}
