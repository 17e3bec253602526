//! The walls of the design, checked on the sources as text: which module may know which, where tokio,
//! the switch, thread-locals, statics and `catch_unwind` may appear, how long a file may be, that
//! orderings name their partners, and that links in the documents lead somewhere.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Lines of a file, at most; over `LONG` it is named.
const WALL: usize = 600;
const LONG: usize = 400;

/// What each module of the runtime may import from the crate. `fiber` is below `sched`: never the
/// other way round.
const EDGES: &[(&str, &[&str])] = &[
    ("shim", &[]),
    ("error", &["fiber"]),
    ("driver", &[]),
    ("current", &["driver", "fiber"]),
    ("fiber", &["current", "error", "shim"]),
    ("park", &["current", "fiber", "time"]),
    ("block_on", &["current", "fiber", "park", "shim", "time"]),
    ("join", &["block_on", "current", "error", "fiber", "park"]),
    ("time", &["block_on", "current"]),
    ("stack_pool", &[]),
    (
        "sched",
        &[
            "block_on",
            "current",
            "driver",
            "error",
            "fiber",
            "shim",
            "stack_pool",
            "time",
        ],
    ),
    ("net", &["block_on", "current", "shim", "time"]),
    (
        "handle",
        &[
            "current", "driver", "fiber", "join", "runtime", "sched", "scope",
        ],
    ),
    (
        "scope",
        &[
            "current", "error", "fiber", "handle", "join", "park", "shim",
        ],
    ),
    (
        "spawn",
        &["current", "fiber", "handle", "join", "scope", "stack_pool"],
    ),
    ("unblock", &["current", "handle", "park", "shim"]),
    ("builder", &["driver", "runtime", "sched", "stack_pool"]),
    (
        "runtime",
        &[
            "builder", "current", "driver", "handle", "join", "sched", "time",
        ],
    ),
    ("root", &["runtime"]),
];

/// A word of the code, and the files or folders that may have it.
const PLACES: &[(&str, &[&str])] = &[
    // `builder.rs`: the signature of `Builder::tokio`.
    (
        "tokio::",
        &["driver/", "net/", "time/", "unblock.rs", "builder.rs"],
    ),
    ("switch_asm::", &["fiber/", "stack_pool.rs"]),
    ("thread_local!", &["current.rs"]),
    // `id.rs`: the process's counter of ids, which no protocol uses.
    ("std::sync::atomic", &["shim.rs", "fiber/id.rs"]),
    ("loom::", &["shim.rs"]),
    (
        "catch_unwind(",
        &[
            "fiber/body.rs",
            "scope.rs",
            "unblock.rs",
            "driver/reactor.rs",
        ],
    ),
    // The default runtime, the counter of ids, two tables of functions.
    (
        "static ",
        &["runtime.rs", "fiber/id.rs", "park/waker.rs", "current.rs"],
    ),
];

struct Source {
    /// Relative to the crate's `src`.
    path: String,
    text: String,
}

impl Source {
    fn module(&self) -> &str {
        let first = self.path.split('/').next().unwrap_or(&self.path);
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Lines of code with their numbers: no comments, no strings worth speaking of.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        self.text.lines().enumerate().filter_map(|(n, line)| {
            let code = line.split("//").next().unwrap_or("");
            (!code.trim().is_empty()).then_some((n + 1, code))
        })
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Files below `folder` with this ending; build output and hidden folders are passed over.
fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "target" && !name.starts_with('.') {
                found.extend(files(&path, ending));
            }
        } else if name.ends_with(ending) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn sources_of(folder: &Path) -> Vec<Source> {
    files(folder, ".rs")
        .into_iter()
        .map(|path| Source {
            text: fs::read_to_string(&path).unwrap(),
            path: path
                .strip_prefix(folder)
                .unwrap()
                .to_string_lossy()
                .into_owned(),
        })
        .collect()
}

/// The runtime's own sources; models are tests.
fn runtime() -> Vec<Source> {
    let mut sources = sources_of(&root().join("runtime/src"));
    sources.retain(|source| !source.path.contains("loom_"));
    assert!(sources.len() >= 40, "only {} files", sources.len());
    sources
}

fn edges(sources: &[Source]) -> (usize, Vec<String>) {
    let allowed: BTreeMap<_, _> = EDGES.iter().copied().collect();
    let (mut seen, mut bad) = (0, Vec::new());
    for source in sources {
        if source.path == "lib.rs" {
            continue;
        }
        let module = source.module();
        let Some(allowed) = allowed.get(module) else {
            bad.push(format!("{}: `{module}` is not in the table", source.path));
            continue;
        };
        for (line, code) in source.code() {
            // The facade shows what lives beside its folder.
            if source.path == "fiber/mod.rs" && code.trim_start().starts_with("pub use crate::") {
                continue;
            }
            for after in code.split("crate::").skip(1) {
                let name = after
                    .split(|c: char| !c.is_alphanumeric() && c != '_')
                    .next();
                let name = name.unwrap_or("");
                if name.is_empty() || name == module {
                    continue;
                }
                seen += 1;
                if !allowed.contains(&name) {
                    bad.push(format!("{}:{line}: {module} -> {name}", source.path));
                }
            }
        }
    }
    (seen, bad)
}

fn places(sources: &[Source]) -> (usize, Vec<String>) {
    let (mut seen, mut bad) = (0, Vec::new());
    for source in sources {
        for (line, code) in source.code() {
            for (word, allowed) in PLACES {
                if !code.replace("'static ", "").contains(word) {
                    continue;
                }
                seen += 1;
                if !allowed.iter().any(|place| source.path.starts_with(place)) {
                    bad.push(format!("{}:{line}: `{word}`", source.path));
                }
            }
        }
    }
    (seen, bad)
}

/// Orderings above `Relaxed` without a comment close by.
fn orderings(sources: &[Source]) -> (usize, Vec<String>) {
    const ABOVE: [&str; 5] = ["Acquire", "Release", "AcqRel", "SeqCst", "fence("];
    const NEAR: usize = 8;
    let (mut seen, mut bad) = (0, Vec::new());
    for source in sources {
        let lines: Vec<_> = source.text.lines().collect();
        for (line, code) in source.code() {
            if !ABOVE.iter().any(|word| code.contains(word)) || code.contains("use ") {
                continue;
            }
            seen += 1;
            let near = &lines[line.saturating_sub(NEAR)..line];
            if !near.iter().any(|line| line.contains("//")) {
                bad.push(format!("{}:{line}: {}", source.path, code.trim()));
            }
        }
    }
    (seen, bad)
}

#[test]
fn modules_know_only_what_is_below_them() {
    let (seen, bad) = edges(&runtime());
    assert!(seen >= 80, "only {seen} imports seen");
    assert!(bad.is_empty(), "{bad:#?}");

    let sample = |path: &str, text: &str| Source {
        path: path.into(),
        text: text.into(),
    };
    let up = sample("fiber/record.rs", "use crate::sched::Shared;");
    assert_eq!(edges(&[up]).1.len(), 1);
    let inline = sample("park/token.rs", "    crate::net::wait();");
    assert_eq!(edges(&[inline]).1.len(), 1);
    let facade = sample("fiber/mod.rs", "pub use crate::spawn::spawn;");
    assert_eq!(edges(&[facade]).1.len(), 0);
    let new = sample("novel.rs", "");
    assert_eq!(edges(&[new]).1.len(), 1);
}

#[test]
fn each_thing_has_its_place() {
    let (seen, bad) = places(&runtime());
    assert!(seen >= 30, "only {seen} places seen");
    assert!(bad.is_empty(), "{bad:#?}");

    let sample = Source {
        path: "park/token.rs".into(),
        text: "use tokio::time;\nstatic X: u8 = 0; // tokio::\nfn f(x: &'static str) {}".into(),
    };
    assert_eq!(places(&[sample]).1.len(), 2);
}

#[test]
fn orderings_name_their_partners() {
    let (seen, bad) = orderings(&runtime());
    assert!(seen >= 30, "only {seen} orderings seen");
    assert!(bad.is_empty(), "{bad:#?}");

    let sample = Source {
        path: "x.rs".into(),
        text: "fn f() {\n\n\n\n\n\n\n\n\n    a.load(Acquire);\n}".into(),
    };
    assert_eq!(orderings(&[sample]).1.len(), 1);
}

#[test]
fn files_are_short_and_finished() {
    const UNFINISHED: [&str; 5] = ["todo!(", "unimplemented!(", "FIXME", "XXX", "HACK"];
    let mut seen = 0;
    for path in files(&root(), ".rs") {
        let text = fs::read_to_string(&path).unwrap();
        seen += 1;
        let lines = text.lines().count();
        if lines > LONG {
            println!("{}: {lines} lines", path.display());
        }
        // Tests of one behaviour may be many.
        let tests = path.components().any(|part| part.as_os_str() == "tests");
        assert!(lines <= WALL || tests, "{}: {lines} lines", path.display());
        if !path.ends_with("tests/structure.rs") {
            for word in UNFINISHED {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
        }
    }
    assert!(seen >= 120, "only {seen} files seen");
}

/// What a document's heading is called in a link.
fn anchor(heading: &str) -> String {
    let heading = heading.trim_start_matches('#').trim().to_lowercase();
    let kept = heading
        .chars()
        .filter(|c| c.is_alphanumeric() || " -_".contains(*c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

fn anchors(text: &str) -> Vec<String> {
    text.lines()
        .filter(|line| line.starts_with('#'))
        .map(anchor)
        .collect()
}

/// Targets of `[text](target)`.
fn links(text: &str) -> Vec<&str> {
    let after = text.split("](").skip(1);
    after.filter_map(|rest| rest.split(')').next()).collect()
}

#[test]
fn links_in_documents_lead_somewhere() {
    let mut seen = 0;
    for path in files(&root(), ".md") {
        let text = fs::read_to_string(&path).unwrap();
        for link in links(&text) {
            if link.contains("://") {
                continue;
            }
            seen += 1;
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file {
                "" => path.clone(),
                file => path.parent().unwrap().join(file),
            };
            assert!(target.exists(), "{}: {link}", path.display());
            if !heading.is_empty() {
                let headings = anchors(&fs::read_to_string(&target).unwrap());
                assert!(
                    headings.iter().any(|h| h == heading),
                    "{}: {link}",
                    path.display()
                );
            }
        }
    }
    assert!(seen >= 8, "only {seen} links seen");
    assert_eq!(links("a [b](c.md#d) e"), ["c.md#d"]);
    assert_eq!(anchors("## What panics, and why"), ["what-panics-and-why"]);
}
