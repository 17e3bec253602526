//! A backtrace in few lines: from a function of the host, across compiled code, to the worker's thread.

use std::path::Path;

/// The frames of the calling fiber and of the worker below it, innermost first: Sisal's, this program's, and those that
/// nobody has a name for.
pub(crate) fn from_here() -> Vec<String> {
    let mut lines = Vec::new();
    backtrace::trace(|frame| {
        let mut has_name = false;
        backtrace::resolve_frame(frame, |symbol| {
            if let Some(name) = symbol.name() {
                has_name = true;
                lines.extend(of_interest(&format!("{name:#}"), symbol.filename()));
            }
        });
        if !has_name && !frame.ip().is_null() {
            lines.push(format!("compiled code at {:p}", frame.ip()));
        }
        true
    });
    lines.dedup();
    lines
}

/// The functions that tell the story, not those of std: by their files, since the names of inlined ones have no paths in
/// optimised programs. The trampoline between two stacks has no file.
fn of_interest(name: &str, file: Option<&Path>) -> Option<String> {
    let Some(path) = file.and_then(Path::to_str) else {
        return name.contains("trampoline").then(|| name.to_owned());
    };
    let sources = ["examples/src/", "runtime/src/", "switch-asm/src/"];
    let (_, place) = sources.iter().find_map(|source| path.split_once(source))?;
    (place != "jit/stack.rs").then(|| format!("{name} in {place}"))
}
