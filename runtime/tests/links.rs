//! What the documents point at is there: files, headings, and the headings that comments in the code cite.

#[allow(dead_code, reason = "shared with structure.rs")]
#[path = "structure/source.rs"]
mod source;

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use source::{files, root, sources};

/// A document without its fenced code, line by line, and its headings as GitHub names them.
struct Document {
    lines: Vec<String>,
    headings: Vec<String>,
    anchors: Vec<String>,
}

impl Document {
    fn new(text: &str) -> Document {
        let (mut lines, mut headings, mut fence) = (Vec::new(), Vec::new(), None);
        for line in text.lines() {
            let start = line.trim_start();
            let mark = ["```", "~~~"].into_iter().find(|m| start.starts_with(m));
            match (fence, mark) {
                (None, Some(mark)) => fence = Some(mark),
                (Some(open), Some(mark)) if open == mark => fence = None,
                (None, None) => {
                    if let Some(heading) = heading(line) {
                        headings.push(heading.to_owned());
                    }
                    lines.push(line.to_owned());
                    continue;
                }
                (Some(_), _) => {}
            }
            lines.push(String::new());
        }
        let mut seen = BTreeMap::new();
        let anchors = headings.iter().map(|h| anchor(h, &mut seen)).collect();
        Document {
            lines,
            headings,
            anchors,
        }
    }
}

fn heading(line: &str) -> Option<&str> {
    let text = line.trim_start_matches('#');
    let level = line.len() - text.len();
    ((1..=6).contains(&level) && text.starts_with(' ')).then(|| text.trim())
}

/// GitHub's name for a heading: lower case, only letters, digits, `-`, `_` and blanks, which become
/// dashes; a second one of the same name gets `-1`.
fn anchor(heading: &str, seen: &mut BTreeMap<String, usize>) -> String {
    let kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    let name: String = heading.to_lowercase().chars().filter(kept).collect();
    let name = name.replace(' ', "-");
    let times = seen.entry(name.clone()).or_insert(0);
    *times += 1;
    match *times {
        1 => name,
        n => format!("{name}-{}", n - 1),
    }
}

/// A line's parts outside of code spans, and the code spans.
fn spans(line: &str) -> (String, Vec<String>) {
    let (mut prose, mut code) = (String::new(), Vec::new());
    for (at, part) in line.split('`').enumerate() {
        match at % 2 {
            // What is left keeps its length's place: a link's text may be a code span.
            0 => prose.push_str(part),
            _ => {
                prose.push('`');
                code.push(part.to_owned());
            }
        }
    }
    (prose, code)
}

/// The destinations of a line's links, and of a reference that it defines.
fn links(prose: &str) -> Vec<&str> {
    let inline = prose.match_indices("](").filter_map(|(at, _)| {
        let rest = &prose[at + 2..];
        let end = rest.find([')', ' '])?;
        Some(&rest[..end])
    });
    let definition = prose
        .strip_prefix('[')
        .and_then(|rest| rest.split_once("]: "))
        .and_then(|(_, rest)| rest.split_whitespace().next());
    inline.chain(definition).collect()
}

fn is_elsewhere(link: &str) -> bool {
    ["http://", "https://", "mailto:"]
        .iter()
        .any(|scheme| link.starts_with(scheme))
}

/// `a/b/../c` as `a/c`; `None` above the root.
fn tidy(path: &Path) -> Option<PathBuf> {
    let mut tidied = PathBuf::new();
    for part in path.components() {
        match part {
            Component::ParentDir => tidied.pop().then_some(())?,
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
            Component::Normal(name) => tidied.push(name),
        }
    }
    Some(tidied)
}

/// Of one document, named by its path from the root: broken links. Counts the relative ones.
fn check_links(
    name: &str,
    documents: &BTreeMap<String, Document>,
    exists: &dyn Fn(&Path) -> bool,
) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    for (at, line) in documents[name].lines.iter().enumerate() {
        let prose = spans(line).0;
        for link in links(&prose).into_iter().filter(|link| !is_elsewhere(link)) {
            count += 1;
            let place = format!("{name}:{}: {link}", at + 1);
            let (file, heading) = link.split_once('#').unwrap_or((link, ""));
            let target = match file.strip_prefix('/') {
                _ if file.is_empty() => Some(PathBuf::from(name)),
                Some(from_root) => tidy(Path::new(from_root)),
                None => tidy(&folder.join(file)),
            };
            let Some(target) = target.filter(|target| exists(target)) else {
                wrong.push(format!("{place}: no such file"));
                continue;
            };
            let target = documents.get(&*target.to_string_lossy());
            let found = |document: &Document| document.anchors.iter().any(|a| a == heading);
            if !heading.is_empty() && !target.is_some_and(found) {
                wrong.push(format!("{place}: no such heading"));
            }
        }
    }
    (count, wrong)
}

/// Code spans that look like a file of the repository, with a folder in front or beside the document, and
/// are none. `bases`: folders that a document's names may be relative to.
fn check_names(
    name: &str,
    document: &Document,
    bases: &[&str],
    exists: &dyn Fn(&Path) -> bool,
) -> (usize, Vec<String>) {
    let (mut count, mut wrong) = (0, Vec::new());
    let folder = Path::new(name).parent().unwrap_or(Path::new(""));
    for (at, line) in document.lines.iter().enumerate() {
        for span in spans(line).1 {
            let is_name = span
                .chars()
                .all(|c| c.is_alphanumeric() || "/._-".contains(c));
            let is_file = [".rs", ".md", ".sh", ".py"]
                .iter()
                .any(|e| span.ends_with(e));
            if !(is_name && is_file)
                || span.starts_with(['.', '/', '_'])
                    && !span.starts_with("..")
                    && !span.starts_with(".ci/")
            {
                continue;
            }
            count += 1;
            let here = std::iter::once(folder.to_owned()).chain(bases.iter().map(PathBuf::from));
            if !here
                .filter_map(|base| tidy(&base.join(&span)))
                .any(|path| exists(&path))
            {
                wrong.push(format!("{name}:{}: `{span}`: no such file", at + 1));
            }
        }
    }
    (count, wrong)
}

/// The headings that a file's comments cite: `README.md ... "Heading"`, within a run of comment lines.
fn cited(source: &source::Source) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut run = String::new();
    for (at, line) in source.lines.iter().enumerate() {
        // The `!` or `/` of a doc comment.
        let comment = line.comment.trim_start_matches(['!', '/']).trim();
        if !comment.is_empty() {
            run.push_str(comment);
            run.push(' ');
            continue;
        }
        let text = std::mem::take(&mut run);
        let Some(start) = text.find("README.md") else {
            continue;
        };
        let sentence = text[start..].replacen("README.md", "", 1);
        let sentence = sentence.split(". ").next().unwrap_or_default();
        let quoted = sentence.split('"').skip(1).step_by(2);
        found.extend(quoted.map(|heading| (at, heading.to_owned())));
    }
    found
}

fn documents() -> BTreeMap<String, Document> {
    let files = files(&root(), "md");
    let parsed = |(name, text): (String, String)| (name, Document::new(&text));
    files.into_iter().map(parsed).collect()
}

fn exists(path: &Path) -> bool {
    root().join(path).exists()
}

#[track_caller]
fn report(what: &str, count: usize, wrong: &[String], least: usize) {
    println!("{what}: {count}");
    assert!(wrong.is_empty(), "{what}:\n  {}\n", wrong.join("\n  "));
    assert!(
        count >= least,
        "{what}: only {count} looked at, expected {least} or more"
    );
}

#[test]
fn links_lead_somewhere() {
    let documents = documents();
    let (mut count, mut wrong) = (0, Vec::new());
    for name in documents.keys() {
        let found = check_links(name, &documents, &exists);
        count += found.0;
        wrong.extend(found.1);
    }
    report("relative links", count, &wrong, 20);
}

#[test]
fn files_that_documents_name_are_there() {
    // docs/architecture.md names files of the runtime, docs/switching.md those of switch-asm.
    let bases = ["", "runtime/src", "switch-asm/src", "switch-asm"];
    let (mut count, mut wrong) = (0, Vec::new());
    for (name, document) in &documents() {
        let found = check_names(name, document, &bases, &exists);
        count += found.0;
        wrong.extend(found.1);
    }
    report("names of files", count, &wrong, 30);
}

#[test]
fn headings_that_comments_cite_are_there() {
    let readme = &documents()["runtime/src/sched/README.md"];
    let (mut count, mut wrong) = (0, Vec::new());
    for source in sources("runtime/src") {
        for (line, heading) in cited(&source) {
            count += 1;
            if !readme.headings.contains(&heading) {
                wrong.push(format!("runtime/src/{}:{line}: \"{heading}\"", source.name));
            }
        }
    }
    report("cited headings", count, &wrong, 5);
}

/// Every protocol with a model says where, and every file of models is named.
#[test]
fn every_file_of_models_is_named_by_its_protocol() {
    let documents = documents();
    let text = ["sched", "sync"]
        .map(|folder| &documents[format!("runtime/src/{folder}/README.md").as_str()])
        .map(|readme| readme.lines.join("\n"))
        .concat();
    let (mut count, mut wrong) = (0, Vec::new());
    for source in sources("runtime/src")
        .iter()
        .filter(|source| source.is_model() && !source.name.ends_with("tests.rs"))
    {
        let has_models = source.code().any(|(_, code)| code.trim() == "#[test]");
        let file = source.name.rsplit('/').next().unwrap_or_default();
        count += usize::from(has_models);
        if has_models && !text.contains(file) {
            wrong.push(format!("runtime/src/{} is in no README", source.name));
        }
    }
    report("files of models", count, &wrong, 4);
}

#[test]
fn a_broken_link_is_found() {
    let text = "# One\n## Two: `x`, & three\n## Two: `x`, & three\n\
        [a](#one) [b](b.md#two-x--three-1) [`c`](../c/d.rs) [e](https://e/f.md#g) [h](/a/a.md)\n\
        ```\n[no](no.md)\n# No\n```\n`[no](no.md)`\n\n[i]: b.md\n";
    let bad = "[a](c.md) [b](#three) [c](a.md#no) [d](../../../e.md)\n[e]: no.md 'title'\n";
    let mut documents = BTreeMap::new();
    for (name, text) in [("a/a.md", text), ("a/b.md", text), ("a/bad.md", bad)] {
        documents.insert(name.to_owned(), Document::new(text));
    }
    let exists = |path: &Path| {
        ["a/a.md", "a/b.md", "a/bad.md", "c/d.rs"].contains(&&*path.to_string_lossy())
    };
    assert_eq!(documents["a/a.md"].headings.len(), 3);
    assert_eq!(check_links("a/a.md", &documents, &exists), (5, vec![]));
    let (count, wrong) = check_links("a/bad.md", &documents, &exists);
    assert_eq!((count, wrong.len()), (5, 5), "{wrong:?}");
}

#[test]
fn a_missing_file_is_found() {
    let document =
        Document::new("`b.rs` `../x/b.rs` `src/b.rs` `no.rs` `x/no.md` `.rs` `a.b()` `*.rs`\n");
    let exists =
        |path: &Path| ["a/b.rs", "x/b.rs", "lib/src/b.rs"].contains(&&*path.to_string_lossy());
    let (count, wrong) = check_names("a/a.md", &document, &["lib"], &exists);
    assert_eq!((count, wrong.len()), (5, 2), "{wrong:?}");
}

#[test]
fn a_cited_heading_is_found() {
    let text = "//! See README.md of this folder, \"Sleep and\n//! wake\". Not \"this\".\nx();\n// README.md: nothing\n";
    let source = source::Source::new("a.rs", text);
    assert_eq!(cited(&source), [(2, "Sleep and wake".to_owned())]);
}
