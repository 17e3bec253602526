//! The `Range` header (RFC 9110, 14): which bytes of a file a request asks for.
//!
//! Knows nothing of files. One range is honoured; several are answered with the whole file, which
//! the RFC allows.

/// What a `Range` header means for a file of a known length.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Selection {
    /// No range, or one that is to be ignored.
    Whole,
    /// Bytes `start..end`, never empty, within the file.
    Part { start: u64, end: u64 },
    /// A well-formed range with no byte in the file.
    Unsatisfiable,
}

pub(crate) fn select(header: &str, len: u64) -> Selection {
    let Some((unit, spec)) = header.split_once('=') else {
        return Selection::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || spec.contains(',') {
        return Selection::Whole;
    }
    let Some((first, last)) = spec.trim().split_once('-') else {
        return Selection::Whole;
    };
    match (number(first), number(last)) {
        (Number::Absent, Number::Value(suffix)) => match suffix.min(len) {
            0 => Selection::Unsatisfiable,
            suffix => Selection::Part {
                start: len - suffix,
                end: len,
            },
        },
        (Number::Value(start), last) => {
            let last = match last {
                Number::Absent => u64::MAX,
                Number::Value(last) if last >= start => last,
                _ => return Selection::Whole,
            };
            if start >= len {
                return Selection::Unsatisfiable;
            }
            Selection::Part {
                start,
                end: last.saturating_add(1).min(len),
            }
        }
        _ => Selection::Whole,
    }
}

enum Number {
    Absent,
    Value(u64),
    Malformed,
}

fn number(text: &str) -> Number {
    if text.is_empty() {
        return Number::Absent;
    }
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Number::Malformed;
    }
    // Only too many digits can fail here, and that is merely far beyond the end.
    Number::Value(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part(start: u64, end: u64) -> Selection {
        Selection::Part { start, end }
    }

    #[test]
    fn closed_open_and_suffix() {
        assert_eq!(select("bytes=0-0", 10), part(0, 1));
        assert_eq!(select("bytes=2-5", 10), part(2, 6));
        assert_eq!(select("bytes=2-500", 10), part(2, 10));
        assert_eq!(select("bytes=2-", 10), part(2, 10));
        assert_eq!(select("bytes=-3", 10), part(7, 10));
        assert_eq!(select("bytes=-300", 10), part(0, 10));
        assert_eq!(select("BYTES=1-1", 10), part(1, 2));
        assert_eq!(select("bytes=0-99999999999999999999999", 10), part(0, 10));
    }

    #[test]
    fn nothing_to_send() {
        for header in [
            "bytes=10-",
            "bytes=10-20",
            "bytes=-0",
            "bytes=99999999999999999999999-",
        ] {
            assert_eq!(select(header, 10), Selection::Unsatisfiable, "{header}");
        }
        assert_eq!(select("bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(select("bytes=-5", 0), Selection::Unsatisfiable);
    }

    #[test]
    fn ignored() {
        for header in [
            "",
            "bytes",
            "bytes=",
            "bytes=-",
            "bytes=5-2",
            "bytes=a-b",
            "bytes=+1-2",
            "bytes=--2",
            "bytes=1-2-3",
            "bytes=0-1,3-4",
            "lines=0-1",
        ] {
            assert_eq!(select(header, 10), Selection::Whole, "{header}");
        }
    }
}
