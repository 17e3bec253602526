//! A quick run fills every row for every peer. How fast anybody was is not asked: a test machine is busy.

use std::io;
use std::path::PathBuf;

use sisal_benches::loopback::{self, Protocol};
use sisal_benches::{Options, Report, Row, names, run};

fn quick(all: bool) -> Options {
    Options {
        all,
        quick: true,
        rounds: Some(2),
        program: Some(PathBuf::from(env!("CARGO_BIN_EXE_sisal-benches"))),
        ..Default::default()
    }
}

fn check(row: &Row) {
    for missing in &row.missing {
        // A machine may have too few processors, or no compiler; a peer that failed is a mistake here.
        let absent = missing.peer == "everybody" || missing.why.contains("get it by");
        assert!(absent, "{}, {}: {}", row.name, missing.peer, missing.why);
        println!("skipped: {}: {}", row.name, missing.why);
    }
    assert!(row.rounds > 0 || row.figures.is_empty(), "{row:?}");
    assert!(row.figures.len() >= 2 || !row.missing.is_empty(), "{row:?}");
    for figure in &row.figures {
        for spread in [figure.value, figure.ratio] {
            for value in [
                spread.min,
                spread.lower,
                spread.median,
                spread.upper,
                spread.max,
            ] {
                assert!(value.is_finite() && value > 0.0, "{}: {figure:?}", row.name);
            }
        }
        assert!(figure.operations > 0, "{}: {figure:?}", row.name);
    }
}

#[test]
fn the_short_table_is_full() {
    let mut lines = Vec::new();
    let report = run(&quick(false), &mut |line| lines.push(line.to_owned()));
    let of_rows: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(of_rows, SHORT);
    assert_eq!(lines.len(), SHORT.len(), "a line per row: {lines:?}");
    report.rows.iter().for_each(check);
    let table = report.short_table();
    for name in SHORT {
        assert!(table.contains(name), "no {name:?} in\n{table}");
    }
}

const SHORT: [&str; 7] = [
    "resume+suspend pair",
    "yield_now, 100 fibers",
    "yield_now, 10,000 fibers",
    "spawn+join, batches of 1,000",
    "park+unpark hand-off",
    "channel ping-pong",
    "Mutex lock+unlock",
];

#[test]
fn all_rows_are_full() {
    let options = quick(true);
    let report = run(&options, &mut |_| {});
    let of_rows: Vec<&str> = report.rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(of_rows, names(&options));
    assert!(of_rows.len() >= 30, "{of_rows:?}");
    report.rows.iter().for_each(check);
    let row = report
        .rows
        .iter()
        .find(|row| row.name == "channel ping-pong");
    let row = row.expect("it is a row");
    for (peer, header) in [("Go", "Go "), ("boost.fiber", "boost ")] {
        let named = |name: &String| name.starts_with(header);
        let done = row.figures.iter().any(|figure| figure.peer == peer);
        assert_eq!(done, report.machine.crates.iter().any(named), "{row:?}");
        let missing = row.missing.iter().any(|missing| missing.peer == peer);
        assert_ne!(done, missing, "{row:?}");
    }
    let peers: usize = report.rows.iter().map(|row| row.figures.len()).sum();
    println!("{} rows, {peers} figures", of_rows.len());

    let again = Report::from_json(&report.json()).expect("it reads what it wrote");
    assert_eq!(again.rows.len(), report.rows.len());
    assert!(report.markdown().contains("wake all of 10,000"));
    assert!(report.page().contains("wake all of 10,000"));
}

#[test]
fn rows_are_chosen_by_a_part_of_their_names() {
    let options = Options {
        only: Some("yield_now".to_owned()),
        ..quick(true)
    };
    let chosen = names(&options);
    assert_eq!(chosen.len(), 6, "{chosen:?}");
    assert!(chosen.iter().all(|name| name.contains("yield_now")));
}

#[test]
fn servers_are_full() {
    // Five figures of time for two numbers of connections, and two counts for one: counts take long, so of one protocol.
    let (echo, http) = (Protocol::Echo, Protocol::Http);
    check_servers(12, loopback::rows(echo, &quick(true), &mut |_| {}));
    check_servers(10, loopback::times(http, &quick(true), &mut |_| {}));
}

fn check_servers(count: usize, rows: io::Result<Vec<Row>>) {
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => return println!("skipped: {error}"),
    };
    assert_eq!(rows.len(), count, "{rows:?}");
    for row in &rows {
        if row.unit == "ns" {
            assert!(row.missing.is_empty(), "{row:?}");
        }
        match row.missing.first() {
            // strace and valgrind may not be here.
            Some(missing) => println!("skipped: {}: {}", row.name, missing.why),
            None => check(row),
        }
    }
}

/// Not an empty table.
#[test]
fn a_name_that_no_row_has_is_an_error() {
    for all in [&["all"][..], &[]] {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_sisal-benches"));
        let ended = command.args(all).args(["--only", "no such row"]).output();
        let ended = ended.expect("the program can be started");
        assert!(!ended.status.success() && ended.stdout.is_empty());
        let said = String::from_utf8_lossy(&ended.stderr);
        assert!(
            said.contains("no row has `no such row` in its name"),
            "{said}"
        );
    }
}
