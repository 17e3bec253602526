//! Rules for every line: state that is not hidden, orderings that say why, files that can be read.

use super::source::{Source, has_word};

/// `static` items: file, name, why it is not in a `Runtime`.
pub(crate) const STATICS: &[(&str, &str, &str)] = &[
    ("current.rs", "CURRENT", "the one thread-local"),
    (
        "fiber/id.rs",
        "NEXT",
        "ids are unique in the process, as std's thread ids",
    ),
    (
        "local_key.rs",
        "__SISAL_OF_THE_THREAD",
        "the expansion of `fiber_local!`, in its user's crate",
    ),
    (
        "park/waker.rs",
        "POLL_AGAIN",
        "a table of functions, never written",
    ),
    (
        "park/waker.rs",
        "PLAIN",
        "a table of functions, never written",
    ),
    (
        "park/waker.rs",
        "IN_FRAME",
        "a table of functions, never written",
    ),
    (
        "park/waker.rs",
        "EXPIRE",
        "a table of functions, never written",
    ),
    (
        "overflow/handler.rs",
        "INSTALLED",
        "a process has one handler for a signal",
    ),
    (
        "overflow/kill.rs",
        "KEEP_START",
        "a name of the linker's, whose address is what counts",
    ),
    (
        "overflow/kill.rs",
        "KEEP_STOP",
        "a name of the linker's, whose address is what counts",
    ),
    (
        "overflow/kill.rs",
        "LEND_START",
        "a name of the linker's, whose address is what counts",
    ),
    (
        "overflow/kill.rs",
        "LEND_STOP",
        "a name of the linker's, whose address is what counts",
    ),
    (
        "stall/signal.rs",
        "PREVIOUS",
        "what a signal did before the process had our handler",
    ),
    (
        "stall/signal.rs",
        "INSTALLED",
        "a process has one handler for a signal",
    ),
    (
        "runtime.rs",
        "DEFAULT",
        "the default runtime, started at first use",
    ),
];

/// Where an unwind is stopped: file, why there.
pub(crate) const CATCHES: &[(&str, &str)] = &[
    (
        "fiber/body.rs",
        "a fiber's first frame, and users' code that its end calls",
    ),
    (
        "fiber/may_unwind.rs",
        "`caught`, for those who let an unwind go on, or end it, in a fiber",
    ),
    (
        "driver/reactor.rs",
        "a panic of a turn is carried out of tokio's `block_on`",
    ),
    (
        "stall/watchdog.rs",
        "a subscriber's panic does not end the watch",
    ),
    (
        "sync/wakers.rs",
        "a waker's panic goes on when the others were called",
    ),
    (
        "io/offload.rs",
        "a panic of a lent reader or writer is carried to its owner",
    ),
    (
        "unblock.rs",
        "a panic of the closure is carried to the caller",
    ),
];

/// Where atomics come from: file, why.
pub(crate) const ATOMICS: &[(&str, &str)] = &[
    ("shim.rs", "the door"),
    (
        "fiber/id.rs",
        "loom's cannot be in a `static`; the counter orders nothing",
    ),
];

const ORDERED: [&str; 4] = ["Acquire", "Release", "AcqRel", "SeqCst"];

/// A comment is near if it ends at most so many lines above, or stands on the line.
const NEAR: usize = 5;

pub(crate) const PRINT_OVER: usize = 400;
pub(crate) const FAIL_OVER: usize = 600;

/// Word, and what to say instead, for code and comments of the runtime.
pub(crate) const BANNED: &[(&str, &str)] = &[
    ("context switch", "switch"),
    ("green thread", "fiber"),
    ("green-thread", "fiber"),
    ("greenlet", "fiber"),
];

/// What stands for work that was not done.
const UNFINISHED: [&str; 5] = ["todo!", "unimplemented!", "FIXME", "XXX", "TODO"];

/// Items of a list that a line of the sources has (`count`), and lines that the list does not name.
type Found = (usize, Vec<String>);

/// Each line that has `word` must be in a listed file, and each listed file must have one.
pub(crate) fn check_listed(sources: &[Source], word: &str, listed: &[&str]) -> Found {
    let (mut count, mut wrong) = (0, Vec::new());
    let mut unused: Vec<&str> = listed.to_vec();
    for source in sources.iter().filter(|source| !source.is_model()) {
        for (line, code) in source.code() {
            if !has_word(code, word) {
                continue;
            }
            unused.retain(|file| *file != source.name);
            match listed.contains(&source.name.as_str()) {
                true => count += 1,
                false => wrong.push(format!(
                    "{}:{line}: `{word}` does not belong here",
                    source.name
                )),
            }
        }
    }
    for file in unused {
        wrong.push(format!("{file} is listed for `{word}`, and has none"));
    }
    (count, wrong)
}

/// The name of the `static` item that a line declares.
fn declared_static(code: &str) -> Option<&str> {
    let at = code
        .match_indices("static ")
        .map(|(at, _)| at)
        .find(|&at| {
            let before = code[..at].trim_end();
            !code[..at].ends_with('\'')
                && (before.is_empty()
                    || before.ends_with(['{', '}', ')', ';'])
                    || before.ends_with("pub"))
        })?;
    let name = code[at + "static ".len()..].split(':').next()?;
    Some(name.trim())
}

pub(crate) fn check_statics(sources: &[Source], listed: &[(&str, &str, &str)]) -> Found {
    let (mut seen, mut wrong) = (Vec::new(), Vec::new());
    for source in sources.iter().filter(|source| !source.is_model()) {
        for (line, code) in source.code() {
            let Some(name) = declared_static(code) else {
                continue;
            };
            match listed
                .iter()
                .find(|(file, item, _)| (*file, *item) == (&source.name, name))
            {
                Some(item) => seen.push(*item),
                None => wrong.push(format!(
                    "{}:{line}: `static {name}` is hidden state",
                    source.name
                )),
            }
        }
    }
    for item in listed.iter().filter(|item| !seen.contains(item)) {
        wrong.push(format!(
            "{}: `static {}` is listed, and is not there",
            item.0, item.1
        ));
    }
    (seen.len(), wrong)
}

/// Every ordering above Relaxed has a comment near it.
pub(crate) fn check_orderings(sources: &[Source]) -> Found {
    let (mut count, mut wrong) = (0, Vec::new());
    for source in sources {
        for (line, code) in source.code() {
            let imports = code.trim_start().starts_with("use ") || code.contains(" use ");
            if imports || !ORDERED.iter().any(|ordering| has_word(code, ordering)) {
                continue;
            }
            let near = &source.lines[line.saturating_sub(1 + NEAR)..line];
            match near.iter().any(|line| !line.comment.trim().is_empty()) {
                true => count += 1,
                false => wrong.push(format!(
                    "{}:{line}: an ordering without a reason",
                    source.name
                )),
            }
        }
    }
    (count, wrong)
}

/// A function in a section of `overflow::kill` ends with `stays()`: else its last call may become a jump, and its frame
/// is not found. `except`: files whose functions do not end with a call that matters.
pub(crate) fn check_frames_stay(sources: &[Source], except: &[&str]) -> Found {
    let (mut count, mut wrong) = (0, Vec::new());
    for source in sources {
        if except.contains(&source.name.as_str()) {
            continue;
        }
        let marked = |(_, code): &(usize, &str)| has_word(code, "link_section");
        for (line, code) in source.code().filter(marked) {
            let end = format!("{}}}", &code[..code.len() - code.trim_start().len()]);
            let body = &source.lines[line..];
            let mut body = body.iter().take_while(|line| line.code.trim_end() != end);
            match body.any(|line| line.code.contains("stays()")) {
                true => count += 1,
                false => wrong.push(format!(
                    "{}:{line}: a frame that need not stay",
                    source.name
                )),
            }
        }
    }
    (count, wrong)
}

pub(crate) fn check_unfinished(sources: &[Source]) -> Found {
    let (mut count, mut wrong) = (0, Vec::new());
    for source in sources {
        for (at, line) in source.lines.iter().enumerate() {
            count += 1;
            for word in UNFINISHED {
                if has_word(&line.code, word) || has_word(&line.comment, word) {
                    wrong.push(format!("{}:{}: {word}", source.name, at + 1));
                }
            }
        }
    }
    (count, wrong)
}

/// `except`: the first line of this file, which says to newcomers what a fiber is.
pub(crate) fn check_words(sources: &[Source], banned: &[(&str, &str)], except: &str) -> Found {
    let (mut count, mut wrong) = (0, Vec::new());
    for source in sources {
        for (at, line) in source.lines.iter().enumerate() {
            if source.name == except && at == 0 {
                continue;
            }
            count += 1;
            let text = format!("{} {}", line.code, line.comment).to_lowercase();
            for (word, instead) in banned {
                if text.contains(word) {
                    let place = format!("{}:{}", source.name, at + 1);
                    wrong.push(format!("{place}: \"{word}\": say \"{instead}\""));
                }
            }
        }
    }
    (count, wrong)
}

pub(crate) fn check_size(
    source: &Source,
    print: usize,
    fail: usize,
) -> Result<Option<String>, String> {
    let lines = source.lines.len().saturating_sub(1);
    let said = format!("{}: {lines} lines", source.name);
    match lines {
        n if n > fail => Err(format!("{said}: a file over {fail} is two files")),
        n if n > print => Ok(Some(said)),
        _ => Ok(None),
    }
}

/// Folders' tables of contents hold no logic: no function of more than fifteen lines in `mod.rs` or `lib.rs`.
pub(crate) fn check_contents(sources: &[Source]) -> Found {
    const MOST: usize = 15;
    let (mut count, mut wrong) = (0, Vec::new());
    for source in sources {
        if !(source.name == "lib.rs" || source.name.ends_with("mod.rs")) {
            continue;
        }
        count += 1;
        let code = source.joined_code();
        for (at, _) in code
            .match_indices("fn ")
            .filter(|(at, _)| has_word(&code[*at..], "fn"))
        {
            if code[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_') {
                continue;
            }
            let Some(open) = code[at..].find(['{', ';']).map(|n| at + n) else {
                continue;
            };
            if code[open..].starts_with(';') {
                continue;
            }
            let mut depth = 0;
            let body = code[open..].find(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth == 0
            });
            let body = &code[open..open + body.unwrap_or(0)];
            let (line, lines) = (
                code[..at].matches('\n').count() + 1,
                body.lines().count().saturating_sub(1),
            );
            if lines > MOST {
                wrong.push(format!(
                    "{}:{line}: a function of {lines} lines",
                    source.name
                ));
            }
        }
    }
    (count, wrong)
}

#[test]
fn a_stray_name_is_found() {
    let sources = [
        Source::new("current.rs", "thread_local! {\n"),
        Source::new("net/source.rs", "// thread_local!\nthread_local! {\n"),
    ];
    let (count, wrong) = check_listed(&sources, "thread_local!", &["current.rs"]);
    assert_eq!(count, 1);
    assert_eq!(
        wrong,
        ["net/source.rs:2: `thread_local!` does not belong here"]
    );
    let (_, wrong) = check_listed(&sources[..1], "thread_local!", &["current.rs", "gone.rs"]);
    assert_eq!(wrong.len(), 1);
}

#[test]
fn a_static_is_found() {
    let text = "static A: u8 = 1;\nfn f(x: &'static str) -> &'static B {\n    pub(crate) static C: u8 = 2;\n\
                thread_local! { static D: u8 = 3; }\n// static E\nstatic mut F: u8 = 4;\n";
    let sources = [Source::new("a.rs", text)];
    let (count, wrong) = check_statics(&sources, &[("a.rs", "A", "")]);
    assert_eq!(count, 1);
    assert_eq!(wrong.len(), 3, "{wrong:?}");
    assert!(wrong[2].contains("mut F"));
    let (_, wrong) = check_statics(&sources[..0], &[("a.rs", "A", "")]);
    assert_eq!(wrong, ["a.rs: `static A` is listed, and is not there"]);
}

#[test]
fn an_ordering_without_a_comment_is_found() {
    let good =
        "// Pairs with g.\nlet a = x\n    .load(Ordering::Acquire);\nx.load(Ordering::Relaxed);\n";
    let bad = format!("{good}\n\n\n\nx.store(1, Ordering::Release);\n");
    assert_eq!(check_orderings(&[Source::new("a.rs", good)]), (1, vec![]));
    let (count, wrong) = check_orderings(&[Source::new("a.rs", &bad)]);
    assert_eq!((count, wrong.len()), (1, 1), "{wrong:?}");
    let words = Source::new("a.rs", "use x::Release;\nlet releaser = AcquireNot;\n");
    assert_eq!(check_orderings(&[words]), (0, vec![]));
}

#[test]
fn a_frame_that_need_not_stay_is_found() {
    let good = "#[link_section = \"k\"]\nfn a() {\n    if b() {\n    }\n    stays();\n}\n";
    let bad =
        format!("{good}#[link_section = \"k\"]\nfn c() {{\n    b()\n}}\nfn d() {{ stays() }}\n");
    let bad = Source::new("a.rs", &bad);
    let (count, wrong) = check_frames_stay(std::slice::from_ref(&bad), &[]);
    assert_eq!((count, wrong.len()), (1, 1), "{wrong:?}");
    assert_eq!(check_frames_stay(&[bad], &["a.rs"]), (0, vec![]));
}

#[test]
fn unfinished_work_and_banned_words_are_found() {
    let bad = Source::new(
        "a.rs",
        "todo!();\n// FIXME later\nlet mut todos = 1; // a Green Thread\n",
    );
    assert_eq!(check_unfinished(std::slice::from_ref(&bad)).1.len(), 2);
    let bad = [
        bad,
        Source::new("lib.rs", "//! Green threads.\n//! green threads\n"),
    ];
    let (count, wrong) = check_words(&bad, BANNED, "lib.rs");
    assert_eq!((count, wrong.len()), (6, 2), "{wrong:?}");
}

#[test]
fn a_long_file_and_a_long_function_are_found() {
    let file = |lines| Source::new("a.rs", &"x();\n".repeat(lines));
    assert_eq!(check_size(&file(4), 4, 8), Ok(None));
    assert!(matches!(check_size(&file(5), 4, 8), Ok(Some(_))));
    assert!(check_size(&file(9), 4, 8).is_err());
    let body = |lines| format!("fn f() {{\n{}}}\nfn g();\n", "    x();\n".repeat(lines));
    let sources = [
        Source::new("a/mod.rs", &body(15)),
        Source::new("b/mod.rs", &body(16)),
    ];
    let (count, wrong) = check_contents(&sources);
    assert_eq!(
        (count, wrong),
        (2, vec!["b/mod.rs:1: a function of 16 lines".to_owned()])
    );
}
