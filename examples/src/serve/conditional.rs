//! Conditional requests (RFC 9110, 13): what a client already has, compared with what the file is
//! now.
//!
//! Knows nothing of files but their length and time of change.

use super::date::HttpDate;
use super::head::{Field, Head};

/// What tells one version of a file from another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Validators {
    pub(crate) modified: HttpDate,
    /// With its quotes.
    pub(crate) etag: String,
}

/// What the preconditions of a request ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    Proceed,
    NotModified,
    Failed,
}

impl Validators {
    /// From the length and the time of change in seconds and nanoseconds.
    pub(crate) fn new(len: u64, secs: i64, nanos: u64) -> Validators {
        Validators {
            modified: HttpDate::from_secs(secs),
            etag: format!("\"{len:x}-{secs:x}-{nanos:x}\""),
        }
    }

    /// In the order of RFC 9110, 13.2.2: a tag outweighs a date.
    pub(crate) fn judge(&self, head: &Head) -> Verdict {
        let date = |field| head.one(field).and_then(HttpDate::parse);
        if head.all(Field::IfMatch).next().is_some() {
            if !self.matches(head, Field::IfMatch, false) {
                return Verdict::Failed;
            }
        } else if date(Field::IfUnmodifiedSince).is_some_and(|then| self.modified > then) {
            return Verdict::Failed;
        }
        if head.all(Field::IfNoneMatch).next().is_some() {
            if self.matches(head, Field::IfNoneMatch, true) {
                return Verdict::NotModified;
            }
        } else if date(Field::IfModifiedSince).is_some_and(|then| self.modified <= then) {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// Whether a `Range` may be honoured: without `If-Range` always, with it only for the very same
    /// version.
    pub(crate) fn allow_range(&self, head: &Head) -> bool {
        if head.all(Field::IfRange).next().is_none() {
            return true;
        }
        head.one(Field::IfRange).is_some_and(|value| {
            value == self.etag || HttpDate::parse(value) == Some(self.modified)
        })
    }

    /// Our tags contain no comma, so cutting a foreign tag in two can make no false match.
    fn matches(&self, head: &Head, field: Field, weak: bool) -> bool {
        head.list(field).any(|tag| {
            let tag = if weak {
                tag.strip_prefix("W/").unwrap_or(tag)
            } else {
                tag
            };
            tag == "*" || tag == self.etag
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
    const SAME: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
    const AFTER: &str = "Sun, 06 Nov 1994 08:49:38 GMT";

    fn file() -> Validators {
        Validators::new(10, 784_111_777, 5)
    }

    fn head(lines: &[String]) -> Head {
        let text = format!("GET / HTTP/1.1\r\n{}\r\n", lines.concat());
        Head::parse(text.as_bytes()).unwrap().unwrap().0
    }

    fn judge(lines: &[(&str, &str)]) -> Verdict {
        let lines: Vec<String> = lines.iter().map(|(n, v)| format!("{n}: {v}\r\n")).collect();
        file().judge(&head(&lines))
    }

    #[test]
    fn by_date() {
        assert_eq!(judge(&[]), Verdict::Proceed);
        assert_eq!(judge(&[("If-Modified-Since", BEFORE)]), Verdict::Proceed);
        assert_eq!(judge(&[("If-Modified-Since", SAME)]), Verdict::NotModified);
        assert_eq!(judge(&[("If-Modified-Since", AFTER)]), Verdict::NotModified);
        assert_eq!(judge(&[("If-Modified-Since", "soon")]), Verdict::Proceed);
        assert_eq!(judge(&[("If-Unmodified-Since", BEFORE)]), Verdict::Failed);
        assert_eq!(judge(&[("If-Unmodified-Since", SAME)]), Verdict::Proceed);
    }

    #[test]
    fn by_tag() {
        let tag = file().etag;
        let weak = format!("W/{tag}");
        let several = format!("\"x\", {tag}");
        assert_eq!(judge(&[("If-None-Match", &tag)]), Verdict::NotModified);
        assert_eq!(judge(&[("If-None-Match", &weak)]), Verdict::NotModified);
        assert_eq!(judge(&[("If-None-Match", &several)]), Verdict::NotModified);
        assert_eq!(judge(&[("If-None-Match", "*")]), Verdict::NotModified);
        assert_eq!(
            judge(&[("If-None-Match", "\"x\""), ("If-Modified-Since", AFTER)]),
            Verdict::Proceed
        );
        assert_eq!(judge(&[("If-Match", &tag)]), Verdict::Proceed);
        assert_eq!(judge(&[("If-Match", &weak)]), Verdict::Failed);
        assert_eq!(judge(&[("If-Match", "\"x\"")]), Verdict::Failed);
    }

    #[test]
    fn ranges_of_the_same_version_only() {
        let allow = |value: &str| file().allow_range(&head(&[format!("If-Range: {value}\r\n")]));
        assert!(file().allow_range(&head(&[])));
        assert!(allow(&file().etag));
        assert!(allow(SAME));
        assert!(!allow(BEFORE));
        assert!(!allow(AFTER));
        assert!(!allow("\"x\""));
        assert!(!allow(&format!("W/{}", file().etag)));
    }
}
