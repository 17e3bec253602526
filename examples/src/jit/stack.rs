//! A backtrace in few lines: from a function of the host, across compiled code, to the worker's thread.

use std::ffi::c_void;

/// The frames of the calling fiber and of the worker below it, innermost first: Sisal's, this program's, and those that nobody has a name for.
pub(crate) fn from_here() -> Vec<String> {
    let mut lines = Vec::new();
    backtrace::trace(|frame| {
        let before = lines.len();
        backtrace::resolve_frame(frame, |symbol| {
            if let Some(name) = symbol.name() {
                lines.extend(of_interest(&format!("{name:#}")));
            } else if lines.len() == before {
                lines.push(unnamed(frame.ip()));
            }
        });
        if lines.len() == before && !has_symbol(frame) {
            lines.push(unnamed(frame.ip()));
        }
        true
    });
    lines.dedup();
    lines
}

fn has_symbol(frame: &backtrace::Frame) -> bool {
    let mut found = false;
    backtrace::resolve_frame(frame, |_| found = true);
    found
}

fn unnamed(ip: *mut c_void) -> String {
    format!("compiled code at {ip:p}")
}

/// The functions that tell the story, not those of std and closures' shims.
fn of_interest(name: &str) -> Option<String> {
    let ours = name.starts_with("sisal") || name.starts_with("switch_asm");
    (ours && !name.contains("stack::from_here")).then(|| name.to_owned())
}
