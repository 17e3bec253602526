//! User-space instructions of one operation, counted by callgrind: a figure that no other program disturbs.
//!
//! A side does `n` units in one process and twice as many in another; what they differ in is `n` units.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::rows::{self, Scale, Work};
use crate::side::Side;
use crate::{Figure, Row, Spread, pin};

/// The rows whose paths are counted, by the names that the committed figures have, and units to do.
const PATHS: [(&str, &str, u64); 6] = [
    ("yield", "yield_now, 2 fibers", 20_000),
    ("park+wake", "park+unpark hand-off", 20_000),
    ("spawn+join", "spawn+join, one by one", 10_000),
    ("channel ping-pong", "channel ping-pong", 10_000),
    ("mutex", "Mutex lock+unlock, in a fiber", 40_000),
    ("block_on(ready)", "block_on(ready)", 40_000),
];

/// Instructions of each path, by its name.
pub type Instructions = BTreeMap<String, f64>;

/// Counts our side of all paths with `program`, whose `side` command runs a side.
///
/// # Errors
///
/// If valgrind cannot be started, or counted nothing.
pub fn instructions(program: &Path, progress: &mut dyn FnMut(&str)) -> io::Result<Instructions> {
    let mut counted = Instructions::new();
    for (path, name, units) in PATHS {
        progress(path);
        let (work, peer) = (find(name), "sisal");
        counted.insert(path.to_owned(), count(program, work, peer, units)?);
    }
    Ok(counted)
}

/// The same as rows of a report, beside the peers that have the row.
///
/// # Errors
///
/// As [`instructions`].
pub fn instruction_rows(program: &Path, progress: &mut dyn FnMut(&str)) -> io::Result<Vec<Row>> {
    PATHS
        .iter()
        .map(|&(path, name, units)| {
            let work = find(name);
            progress(&format!("instructions of {path}"));
            let mut figures: Vec<Figure> = Vec::new();
            for &(peer, _) in work.sides.iter().filter(|(peer, _)| *peer != "std threads") {
                let each = count(program, work, peer, units)?;
                let ours = figures.first().map_or(each, |figure| figure.value.median);
                figures.push(Figure {
                    peer: peer.to_owned(),
                    value: Spread::of(&[each]),
                    ratio: Spread::of(&[ours / each]),
                    operations: units * (work.operations)(work.size),
                });
            }
            Ok(Row {
                name: format!("instructions: {path}"),
                group: "instructions".to_owned(),
                size: work.size,
                unit: "instructions".to_owned(),
                operation: work.operation.to_owned(),
                rounds: 1,
                note: Some(format!(
                    "in user space, by callgrind; the work of the row {name}"
                )),
                short: false,
                figures,
                missing: Vec::new(),
            })
        })
        .collect()
}

fn find(name: &str) -> &'static Work {
    let mut all = rows::ALL.iter().copied().flatten();
    all.find(|work| work.name == name)
        .expect("PATHS names rows")
}

/// Instructions of one operation.
fn count(program: &Path, work: &Work, peer: &str, units: u64) -> io::Result<f64> {
    let once = total(program, work, peer, units)?;
    let twice = total(program, work, peer, 2 * units)?;
    let operations = units * (work.operations)(work.size);
    Ok((twice as f64 - once as f64) / operations as f64)
}

/// Instructions of a process that does so many units.
fn total(program: &Path, work: &Work, peer: &str, units: u64) -> io::Result<u64> {
    let scale = Scale {
        size: work.size,
        workers: work.workers,
    };
    let allowed = pin::allowed();
    let cpus = pin::choose(&allowed, work.cpus).ok_or_else(|| io::Error::other("no processor"))?;
    let mut child = Command::new("valgrind")
        .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
        .arg(program)
        .arg("side")
        .args(Side::new(work.name, peer, scale, cpus).arguments())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()?;
    writeln!(child.stdin.take().expect("it was asked for"), "{units}")?;
    let output = child.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    let collected = collected(&said).filter(|_| output.status.success());
    collected.ok_or_else(|| io::Error::other(format!("{}: {said}", work.name)))
}

/// What callgrind says at its end: `==1== Collected : 1160884`.
pub(crate) fn collected(said: &str) -> Option<u64> {
    let (_, number) = said
        .lines()
        .find_map(|line| line.split_once("Collected : "))?;
    number.trim().parse().ok()
}

/// The paths side by side: what is committed, what was counted, and the change. The flag says whether none has grown by
/// more than `most` percent, and all are the same ones.
pub fn judge(committed: &Instructions, counted: &Instructions, most: f64) -> (String, bool) {
    let (mut lines, mut good) = (Vec::new(), true);
    for (path, now) in counted {
        let Some(before) = committed.get(path) else {
            good = false;
            lines.push([
                path.clone(),
                String::new(),
                format!("{now:.1}"),
                "NEW".into(),
            ]);
            continue;
        };
        let change = 100.0 * (now / before - 1.0);
        let grown = change > most;
        good &= !grown;
        lines.push([
            path.clone(),
            format!("{before:.1}"),
            format!("{now:.1}"),
            format!("{change:+.1} %{}", if grown { " GROWN" } else { "" }),
        ]);
    }
    for (path, before) in committed
        .iter()
        .filter(|(path, _)| !counted.contains_key(*path))
    {
        good = false;
        lines.push([
            path.clone(),
            format!("{before:.1}"),
            String::new(),
            "GONE".into(),
        ]);
    }
    let headings = ["path", "committed", "now", "change"];
    (crate::table::aligned(headings, &[1, 2, 3], &lines), good)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(paths: &[(&str, f64)]) -> Instructions {
        paths
            .iter()
            .map(|(path, count)| ((*path).to_owned(), *count))
            .collect()
    }

    #[test]
    fn growth_is_found_and_less_is_good() {
        let committed = of(&[("a", 100.0), ("b", 100.0)]);
        assert!(judge(&committed, &of(&[("a", 104.9), ("b", 50.0)]), 5.0).1);
        let (table, good) = judge(&committed, &of(&[("a", 105.2), ("b", 100.0)]), 5.0);
        assert!(!good);
        assert!(table.contains("+5.2 % GROWN"), "{table}");
    }

    #[test]
    fn new_and_lost_paths_are_not_passed_over() {
        let committed = of(&[("a", 100.0)]);
        assert!(!judge(&committed, &of(&[]), 5.0).1);
        assert!(!judge(&committed, &of(&[("a", 100.0), ("b", 1.0)]), 5.0).1);
    }

    #[test]
    fn the_count_is_found_in_what_callgrind_says() {
        let said = "==7== Events    : Ir\n==7== Collected : 1160884\n==7== \n==7== I   refs:      1,160,884\n";
        assert_eq!(collected(said), Some(1_160_884));
        assert_eq!(collected("valgrind: no such file"), None);
    }

    #[test]
    fn every_path_is_a_row_with_our_side_first() {
        for (_, name, _) in PATHS {
            assert_eq!(find(name).sides[0].0, "sisal");
        }
    }
}
