//! Rust source as text: code and comments apart, each with its line.
//!
//! A lexer for what the checks need, not for Rust: comments, strings and characters are told from code.

use std::fs;
use std::path::{Path, PathBuf};

/// A file, its name relative to the folder that was walked.
pub(crate) struct Source {
    pub(crate) name: String,
    pub(crate) lines: Vec<Line>,
}

/// A line, without what the other part of it is: strings are empty in `code`.
#[derive(Default)]
pub(crate) struct Line {
    pub(crate) code: String,
    pub(crate) comment: String,
}

#[derive(Clone, Copy)]
enum State {
    Code,
    LineComment,
    BlockComment(u32),
    /// `None`: with escapes. `Some(n)`: raw, ended by a quote and `n` hashes.
    Text(Option<usize>),
}

impl Source {
    pub(crate) fn new(name: &str, text: &str) -> Source {
        let (name, lines) = (name.to_owned(), split(text));
        Source { name, lines }
    }

    /// The part of the name before the first slash or the extension: the module.
    pub(crate) fn module(&self) -> &str {
        let first = self.name.split('/').next().unwrap_or_default();
        first.strip_suffix(".rs").unwrap_or(first)
    }

    /// Models and unit tests: they may see what they check, and loom.
    pub(crate) fn is_model(&self) -> bool {
        let file = self.name.rsplit('/').next().unwrap_or_default();
        file.starts_with("loom_") || file == "tests.rs"
    }

    /// Lines from 1, with their code.
    pub(crate) fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        let code = |(at, line)| (at + 1, Line::code(line));
        self.lines.iter().enumerate().map(code)
    }

    /// The code as one text, line by line.
    pub(crate) fn joined_code(&self) -> String {
        let mut text = String::new();
        for line in &self.lines {
            text.push_str(&line.code);
            text.push('\n');
        }
        text
    }
}

impl Line {
    fn code(&self) -> &str {
        &self.code
    }
}

fn split(text: &str) -> Vec<Line> {
    let chars: Vec<char> = text.chars().collect();
    let mut lines = vec![Line::default()];
    let mut state = State::Code;
    let mut at = 0;
    let starts = |at: usize, what: &str| {
        what.chars()
            .enumerate()
            .all(|(n, c)| chars.get(at + n) == Some(&c))
    };
    while at < chars.len() {
        let c = chars[at];
        if c == '\n' {
            if let State::LineComment = state {
                state = State::Code;
            }
            lines.push(Line::default());
            at += 1;
            continue;
        }
        let line = lines.last_mut().expect("there is a first line");
        match state {
            State::Code if starts(at, "//") => {
                state = State::LineComment;
                at += 2;
            }
            State::Code if starts(at, "/*") => {
                state = State::BlockComment(1);
                at += 2;
            }
            State::Code => {
                line.code.push(c);
                at += 1;
                if c == '"' {
                    state = State::Text(raw_hashes(&line.code));
                } else if c == '\'' {
                    // A character, and no lifetime, if a quote ends it.
                    let escaped = chars.get(at) == Some(&'\\');
                    let end = (at + 1..(at + 12).min(chars.len()))
                        .find(|&end| chars[end] == '\'' && !(escaped && end == at + 1));
                    if let Some(end) = end.filter(|&end| escaped || end == at + 1) {
                        line.code.push('\'');
                        at = end + 1;
                    }
                }
            }
            State::LineComment => {
                line.comment.push(c);
                at += 1;
            }
            State::BlockComment(depth) => {
                let (step, depth) = match () {
                    () if starts(at, "*/") => (2, depth - 1),
                    () if starts(at, "/*") => (2, depth + 1),
                    () => {
                        line.comment.push(c);
                        (1, depth)
                    }
                };
                at += step;
                state = match depth {
                    0 => State::Code,
                    depth => State::BlockComment(depth),
                };
            }
            State::Text(None) if c == '\\' => {
                // The escaped character is skipped, but a line's end counts.
                at += if chars.get(at + 1) == Some(&'\n') {
                    1
                } else {
                    2
                };
            }
            State::Text(raw) => {
                at += 1;
                let hashes = raw.unwrap_or(0);
                if c == '"' && (0..hashes).all(|n| chars.get(at + n) == Some(&'#')) {
                    line.code.push('"');
                    at += hashes;
                    state = State::Code;
                }
            }
        }
    }
    lines
}

/// Of the string whose opening quote ends `code`: how many hashes, if it is raw.
fn raw_hashes(code: &str) -> Option<usize> {
    let before = code.strip_suffix('"')?;
    let bare = before.trim_end_matches('#');
    let prefix = bare.strip_suffix('r')?;
    let prefix = prefix.strip_suffix(['b', 'c']).unwrap_or(prefix);
    let is_name = prefix.ends_with(|c: char| c.is_alphanumeric() || c == '_');
    (!is_name).then(|| before.len() - bare.len())
}

/// The repository's root.
pub(crate) fn root() -> PathBuf {
    let runtime = Path::new(env!("CARGO_MANIFEST_DIR"));
    runtime.parent().expect("it is a workspace").to_owned()
}

/// Every file below `folder` with that extension, outside of build folders; names relative to it.
pub(crate) fn files(folder: &Path, extension: &str) -> Vec<(String, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(next) = folders.pop() {
        for entry in fs::read_dir(&next).unwrap_or_else(|e| panic!("{}: {e}", next.display())) {
            let path = entry.expect("a folder can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|e| e == extension) {
                let text = fs::read_to_string(&path).expect("sources are UTF-8");
                let name = path.strip_prefix(folder).expect("it is below");
                found.push((name.to_string_lossy().replace('\\', "/"), text));
            }
        }
    }
    found.sort();
    found
}

/// Every Rust file below a folder of the repository.
pub(crate) fn sources(folder: &str) -> Vec<Source> {
    let files = files(&root().join(folder), "rs");
    files
        .iter()
        .map(|(name, text)| Source::new(name, text))
        .collect()
}

/// Whether `word` is in `code`, and not part of a longer name.
pub(crate) fn has_word(code: &str, word: &str) -> bool {
    let part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let (before, after) = (&code[..at], &code[at + word.len()..]);
        let longer_before = before.ends_with(part) && word.starts_with(part);
        let longer_after = after.starts_with(part) && word.ends_with(part);
        !longer_before && !longer_after
    })
}

#[test]
fn code_comments_and_strings_are_told_apart() {
    let text = "let a = \"// no \\\" comment\"; // yes\n/* one /* two */ still */ b('\"', '\\'', 'x');\n\
                r#\"raw \" // no\"#; 'life: loop {} // end\nlet s = \"two\\\nlines\"; c();\n";
    let source = Source::new("a.rs", text);
    let code: Vec<&str> = source.code().map(|(_, code)| code.trim()).collect();
    assert_eq!(
        code,
        [
            "let a = \"\";",
            "b('', '', '');",
            "r#\"\"; 'life: loop {}",
            "let s = \"",
            "\"; c();",
            ""
        ]
    );
    let comments: Vec<&str> = source.lines.iter().map(|l| l.comment.trim()).collect();
    assert_eq!(comments, ["yes", "one  two  still", "end", "", "", ""]);
}

#[test]
fn words_are_whole() {
    assert!(has_word("a static X", "static"));
    assert!(!has_word("a my_static X", "static "));
    assert!(!has_word("nonstatic X", "static"));
    assert!(has_word("thread_local! {", "thread_local!"));
}
