//! Who may know whom: the modules of the runtime, and the crates behind its seams.

use std::collections::BTreeSet;

use super::source::{Source, has_word};

/// From a module to what it may name by `crate::`. Edges point down: what a user calls, then what waits,
/// then what a fiber is; the scheduler beside that. An edge that nothing uses fails too.
pub(crate) const EDGES: &[(&str, &[&str])] = &[
    ("block_on", &["current", "fiber", "park", "shim", "time"]),
    ("cancel", &["current", "fiber"]),
    (
        "builder",
        &[
            "driver",
            "fiber",
            "overflow",
            "runtime",
            "sched",
            "stack_pool",
        ],
    ),
    ("current", &["driver", "fiber", "keep", "overflow", "stall"]),
    ("driver", &[]),
    ("error", &["fiber"]),
    ("fiber", &["current", "error", "keep", "prefetch", "shim"]),
    ("fs", &["unblock"]),
    (
        "handle",
        &[
            "current", "driver", "fiber", "join", "keep", "metrics", "runtime", "sched", "scope",
        ],
    ),
    (
        "io",
        &[
            "block_on", "current", "fiber", "handle", "keep", "net", "os", "park", "shim",
            "unblock",
        ],
    ),
    ("join", &["block_on", "current", "error", "fiber", "park"]),
    ("keep", &["shim"]),
    ("local_key", &["current", "fiber"]),
    ("metrics", &[]),
    (
        "net",
        &[
            "block_on", "current", "fiber", "handle", "keep", "park", "shim", "time",
        ],
    ),
    ("os", &["current", "fs", "net", "process", "time"]),
    ("overflow", &["current", "fiber", "walk"]),
    ("park", &["current", "fiber", "time"]),
    ("prefetch", &[]),
    ("process", &["current", "io", "unblock"]),
    ("root", &["runtime"]),
    (
        "runtime",
        &[
            "builder",
            "current",
            "driver",
            "error",
            "fiber",
            "handle",
            "join",
            "metrics",
            "overflow",
            "sched",
            "stall",
            "time",
            "unfinished",
        ],
    ),
    (
        "sched",
        &[
            "block_on",
            "current",
            "driver",
            "error",
            "fiber",
            "keep",
            "metrics",
            "overflow",
            "prefetch",
            "shim",
            "stack_pool",
            "stall",
            "unfinished",
        ],
    ),
    (
        "scope",
        &[
            "current", "error", "fiber", "handle", "join", "park", "shim",
        ],
    ),
    ("shim", &[]),
    (
        "spawn",
        &[
            "current",
            "fiber",
            "handle",
            "join",
            "runtime",
            "scope",
            "stack_pool",
        ],
    ),
    ("stack_pool", &["metrics", "prefetch", "shim"]),
    ("stall", &["current", "fiber", "shim", "walk"]),
    (
        "sync",
        &[
            "block_on", "current", "fiber", "keep", "park", "shim", "time",
        ],
    ),
    ("time", &["current", "fiber", "keep", "park"]),
    ("unblock", &["current", "handle", "park", "shim"]),
    ("unfinished", &["fiber"]),
    ("walk", &[]),
];

/// What the table must never come to say, whatever is added to it.
const NEVER: &[(&str, &[&str])] = &[
    // It declares the trait `Schedule`, which the scheduler implements.
    (
        "fiber",
        &[
            "sched", "net", "time", "park", "block_on", "handle", "runtime", "driver",
        ],
    ),
    ("park", &["sched", "net", "handle", "runtime", "driver"]),
    (
        "sched",
        &["net", "handle", "runtime", "scope", "join", "spawn"],
    ),
    ("overflow", &["sched", "handle", "runtime", "driver"]),
    ("stall", &["sched", "handle", "runtime", "driver"]),
    ("driver", &["sched", "fiber", "current", "net"]),
    ("current", &["sched", "runtime", "handle"]),
    ("net", &["sched", "driver"]),
    ("os", &["sched", "driver", "runtime"]),
    ("time", &["sched", "driver"]),
    ("sync", &["sched", "driver", "net"]),
];

/// A crate, and the files or folders that may name it, each with its reason where it is not the plain one.
pub(crate) const SEAMS: &[(&str, &[&str])] = &[
    (
        // Its reactor, sockets, timers and thread pool.
        "tokio",
        &[
            "driver/",
            "net/",
            "os/",
            "io/",
            "fs/",
            "process/",
            "time/",
            "unblock.rs",
            // `Builder::tokio` takes a `tokio::runtime::Handle`: the one foreign type in the public list.
            "builder.rs",
        ],
    ),
    (
        "switch_asm",
        &[
            "fiber/",
            "stack_pool/",
            "overflow/",
            "task/",
            // Its signal handler asks where the stack that it interrupted ends; the walk of the copy ends there.
            "stall/",
        ],
    ),
    // Walks of stacks, and the names of what was met there.
    ("framehop", &["walk.rs"]),
    ("backtrace", &["stall/"]),
    // Signals, and what is loaded; else rustix.
    ("libc", &["overflow/", "stall/", "walk.rs", "runtime.rs"]),
    // Behind `shim.rs`, and in the models.
    ("loom", &["shim.rs"]),
    ("crossbeam_deque", &["shim.rs"]),
];

/// The facade of `fiber` shows what lives beside it under std's names; it uses nothing of that.
fn is_facade(source: &Source, code: &str) -> bool {
    source.name == "fiber/mod.rs" && code.trim_start().starts_with("pub use crate::")
}

/// The modules that a file names by `crate::`, with the line of each.
fn named(source: &Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (line, code) in source.code() {
        if is_facade(source, code) {
            continue;
        }
        for (at, _) in code.match_indices("crate::") {
            let before = code[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == '$') {
                continue; // `other_crate::`, or a macro's `$crate::`, which its user's crate names
            }
            let rest = &code[at + "crate::".len()..];
            let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_'));
            found.push((line, rest[..end.unwrap_or(rest.len())].to_owned()));
        }
    }
    found
}

/// Names edges that the table does not have, and those of the table that nobody uses.
pub(crate) fn check_edges(sources: &[Source], table: &[(&str, &[&str])]) -> (usize, Vec<String>) {
    let (mut wrong, mut used) = (Vec::new(), BTreeSet::new());
    for source in sources {
        let from = source.module();
        if from == "lib" || source.is_model() {
            continue; // the public list; models see what they check
        }
        let Some((_, allowed)) = table.iter().find(|(module, _)| *module == from) else {
            wrong.push(format!(
                "{}: module `{from}` is not in the table",
                source.name
            ));
            continue;
        };
        for (line, to) in named(source) {
            if to.is_empty() {
                wrong.push(format!(
                    "{}:{line}: name one module after `crate::`",
                    source.name
                ));
            } else if to != from && !allowed.contains(&to.as_str()) {
                wrong.push(format!(
                    "{}:{line}: `{from}` must not know `{to}`",
                    source.name
                ));
            } else if to != from {
                used.insert((from.to_owned(), to));
            }
        }
    }
    for (from, allowed) in table {
        for to in *allowed {
            if !used.contains(&(from.to_string(), to.to_string())) {
                wrong.push(format!(
                    "the table allows `{from}` -> `{to}`, which nobody uses"
                ));
            }
        }
    }
    (used.len(), wrong)
}

/// The table against the rules that no change of it may break.
pub(crate) fn check_table(table: &[(&str, &[&str])]) -> Vec<String> {
    let mut wrong = Vec::new();
    for (from, never) in NEVER {
        let allowed = table.iter().find(|(module, _)| module == from);
        for to in allowed.map_or(&[][..], |(_, allowed)| *allowed) {
            if never.contains(to) {
                wrong.push(format!("`{from}` must never know `{to}`"));
            }
        }
    }
    wrong
}

/// Names of a crate outside of its seam. Counts those inside.
pub(crate) fn check_seams(sources: &[Source], seams: &[(&str, &[&str])]) -> (usize, Vec<String>) {
    let (mut inside, mut wrong) = (0, Vec::new());
    for (name, places) in seams {
        let path = format!("{name}::");
        for source in sources {
            let is_place = |place: &&str| match place.ends_with('/') {
                true => source.name.starts_with(place),
                false => source.name == *place,
            };
            let allowed = places.iter().any(is_place) || source.is_model();
            for (line, code) in source.code() {
                let uses = has_word(code, &path) || has_word(code, &format!("use {name} as"));
                match (uses, allowed) {
                    (false, _) => {}
                    (true, true) => inside += 1,
                    (true, false) => {
                        wrong.push(format!("{}:{line}: `{name}` is behind a seam", source.name));
                    }
                }
            }
        }
    }
    (inside, wrong)
}

#[test]
fn a_bad_edge_is_found() {
    let table: &[(&str, &[&str])] = &[("fiber", &["shim"]), ("shim", &[])];
    let good = [
        Source::new("fiber/state.rs", "use crate::shim::X; // crate::sched\n"),
        Source::new("fiber/mod.rs", "pub use crate::sched::Worker;\n"),
        Source::new("shim.rs", "use super::a;\n"),
    ];
    assert_eq!(check_edges(&good, table), (1, vec![]));
    let bad = [
        Source::new(
            "fiber/state.rs",
            "use crate::shim::X;\nfn f() { crate::sched::f() }\n",
        ),
        Source::new("fiber/mod.rs", "pub(crate) use crate::net::A;\n"),
        Source::new("shim.rs", "use crate::{a, b};\n"),
        Source::new("stray.rs", "\n"),
    ];
    let (_, wrong) = check_edges(&bad, table);
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    let (_, unused) = check_edges(&good, &[("fiber", &["shim", "net"]), ("shim", &[])]);
    assert_eq!(unused.len(), 1, "{unused:?}");
}

#[test]
fn a_bad_table_is_found() {
    assert!(check_table(EDGES).is_empty());
    assert_eq!(check_table(&[("fiber", &["shim", "sched"])]).len(), 1);
    assert_eq!(check_table(&[("park", &["net", "sched"])]).len(), 2);
}

#[test]
fn a_crate_outside_its_seam_is_found() {
    let seams: &[(&str, &[&str])] = &[("tokio", &["driver/", "builder.rs"])];
    let sources = [
        Source::new("driver/mod.rs", "use tokio::runtime::Handle;\n"),
        Source::new("fiber/state.rs", "use tokio::time; // tokio::\n"),
        Source::new("builder.rs", "fn f(h: tokio::runtime::Handle) {}\n"),
        Source::new(
            "spawn.rs",
            "let text = \"await `tokio::task` there\"; not_tokio::f();\n",
        ),
    ];
    let (inside, wrong) = check_seams(&sources, seams);
    assert_eq!(inside, 2);
    assert_eq!(wrong, ["fiber/state.rs:1: `tokio` is behind a seam"]);
}
