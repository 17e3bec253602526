//! A backtrace in few lines: from a function of the host, across compiled code, to the worker's thread.

/// The frames of the calling fiber and of the worker below it, innermost first: Sisal's, this program's, and those that
/// nobody has a name for.
pub(crate) fn from_here() -> Vec<String> {
    let mut lines = Vec::new();
    backtrace::trace(|frame| {
        let mut has_name = false;
        backtrace::resolve_frame(frame, |symbol| {
            has_name |= symbol.name().is_some();
            lines.extend(
                symbol
                    .name()
                    .and_then(|name| of_interest(&format!("{name:#}"))),
            );
        });
        if !has_name && !frame.ip().is_null() {
            lines.push(format!("compiled code at {:p}", frame.ip()));
        }
        true
    });
    lines.dedup();
    lines
}

/// The functions that tell the story, not those of std.
fn of_interest(name: &str) -> Option<String> {
    let ours = name.starts_with("sisal") || name.starts_with("switch_asm");
    (ours && !name.contains("stack::from_here")).then(|| name.to_owned())
}
