//! Writes response heads, and whole responses that need no file.
//!
//! Knows nothing of sockets: everything goes into a buffer that the connection sends in one write.

use std::fmt::Display;
use std::io::Write;

use super::date::HttpDate;

/// The statuses this server answers with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 200,
    PartialContent = 206,
    MovedPermanently = 301,
    NotModified = 304,
    BadRequest = 400,
    Forbidden = 403,
    NotFound = 404,
    MethodNotAllowed = 405,
    RequestTimeout = 408,
    PreconditionFailed = 412,
    ContentTooLarge = 413,
    UriTooLong = 414,
    RangeNotSatisfiable = 416,
    ExpectationFailed = 417,
    HeadersTooLarge = 431,
    InternalError = 500,
    NotImplemented = 501,
    Unavailable = 503,
    VersionNotSupported = 505,
}

impl Status {
    pub(crate) fn code(self) -> u16 {
        self as u16
    }

    fn reason(self) -> &'static str {
        match self {
            Status::Ok => "OK",
            Status::PartialContent => "Partial Content",
            Status::MovedPermanently => "Moved Permanently",
            Status::NotModified => "Not Modified",
            Status::BadRequest => "Bad Request",
            Status::Forbidden => "Forbidden",
            Status::NotFound => "Not Found",
            Status::MethodNotAllowed => "Method Not Allowed",
            Status::RequestTimeout => "Request Timeout",
            Status::PreconditionFailed => "Precondition Failed",
            Status::ContentTooLarge => "Content Too Large",
            Status::UriTooLong => "URI Too Long",
            Status::RangeNotSatisfiable => "Range Not Satisfiable",
            Status::ExpectationFailed => "Expectation Failed",
            Status::HeadersTooLarge => "Request Header Fields Too Large",
            Status::InternalError => "Internal Server Error",
            Status::NotImplemented => "Not Implemented",
            Status::Unavailable => "Service Unavailable",
            Status::VersionNotSupported => "HTTP Version Not Supported",
        }
    }
}

/// Why a request gets no file. `why` is sent to the client as the body, so it never names a path of
/// this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) status: Status,
    pub(crate) why: &'static str,
}

impl Refusal {
    pub(crate) fn new(status: Status, why: &'static str) -> Refusal {
        Refusal { status, why }
    }
}

/// What becomes of the connection after a response, as far as the client must be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum After {
    Close,
    /// HTTP/1.1, where keeping the connection needs no word.
    Keep,
    /// HTTP/1.0, where it does.
    KeepAloud,
}

/// A response head being written; `end` finishes it.
#[derive(Debug)]
pub(crate) struct ResponseHead<'a> {
    out: &'a mut Vec<u8>,
}

impl<'a> ResponseHead<'a> {
    pub(crate) fn new(
        out: &'a mut Vec<u8>,
        status: Status,
        after: After,
        now: HttpDate,
    ) -> ResponseHead<'a> {
        let mut head = ResponseHead { out };
        head.line(format_args!(
            "HTTP/1.1 {} {}",
            status.code(),
            status.reason()
        ));
        head.field("Date", now);
        match after {
            After::Close => head.field("Connection", "close"),
            After::KeepAloud => head.field("Connection", "keep-alive"),
            After::Keep => {}
        }
        head
    }

    pub(crate) fn field(&mut self, name: &str, value: impl Display) {
        self.line(format_args!("{name}: {value}"));
    }

    pub(crate) fn end(self) {
        self.out.extend_from_slice(b"\r\n");
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a Vec cannot fail.
        let _ = write!(self.out, "{line}\r\n");
    }
}

/// Writes a whole response with a line of text as its body; returns the length of the body sent.
pub(crate) fn plain(
    out: &mut Vec<u8>,
    refusal: Refusal,
    after: After,
    with_body: bool,
    extra: &[(&str, &str)],
) -> u64 {
    let Refusal { status, why } = refusal;
    let mut head = ResponseHead::new(out, status, after, HttpDate::now());
    for (name, value) in extra {
        head.field(name, value);
    }
    if status == Status::MethodNotAllowed {
        head.field("Allow", "GET, HEAD");
    }
    let body = format!("{} {}: {why}\n", status.code(), status.reason());
    head.field("Content-Type", "text/plain; charset=utf-8");
    head.field("Content-Length", body.len());
    head.end();
    if !with_body {
        return 0;
    }
    out.extend_from_slice(body.as_bytes());
    body.len() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_a_whole_response() {
        let mut out = Vec::new();
        let refusal = Refusal::new(Status::MethodNotAllowed, "read only");
        assert_eq!(plain(&mut out, refusal, After::Close, true, &[]), 34);
        let text = String::from_utf8(out).unwrap();
        assert!(
            text.starts_with("HTTP/1.1 405 Method Not Allowed\r\nDate: "),
            "{text}"
        );
        assert!(text.contains("\r\nConnection: close\r\n"), "{text}");
        assert!(text.contains("\r\nAllow: GET, HEAD\r\n"), "{text}");
        assert!(
            text.ends_with("\r\nContent-Length: 34\r\n\r\n405 Method Not Allowed: read only\n"),
            "{text}"
        );
    }

    #[test]
    fn an_answer_to_head_keeps_the_length_and_drops_the_body() {
        let mut out = Vec::new();
        let refusal = Refusal::new(Status::NotFound, "no such file");
        assert_eq!(plain(&mut out, refusal, After::KeepAloud, false, &[]), 0);
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains("\r\nConnection: keep-alive\r\n"), "{text}");
        assert!(text.ends_with("Content-Length: 28\r\n\r\n"), "{text}");
    }
}
