//! Request heads: httparse's borrowed view turned into the few facts this server acts on.
//!
//! Knows nothing of sockets and judges only syntax; what the fields mean together is `framing`'s
//! business.

use std::mem::MaybeUninit;

use super::respond::{Refusal, Status};

/// More header lines than this are answered with 431.
const MAX_HEADERS: usize = 100;

/// The header fields the server looks at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Field {
    Connection,
    ContentLength,
    Expect,
    Host,
    IfMatch,
    IfModifiedSince,
    IfNoneMatch,
    IfRange,
    IfUnmodifiedSince,
    Range,
    TransferEncoding,
}

const FIELDS: [(&str, Field); 11] = [
    ("connection", Field::Connection),
    ("content-length", Field::ContentLength),
    ("expect", Field::Expect),
    ("host", Field::Host),
    ("if-match", Field::IfMatch),
    ("if-modified-since", Field::IfModifiedSince),
    ("if-none-match", Field::IfNoneMatch),
    ("if-range", Field::IfRange),
    ("if-unmodified-since", Field::IfUnmodifiedSince),
    ("range", Field::Range),
    ("transfer-encoding", Field::TransferEncoding),
];

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    Get,
    Head,
    /// Known to HTTP, not allowed here.
    Other(&'static str),
    Unknown,
}

const OTHER_METHODS: [&str; 7] = [
    "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT",
];

impl Method {
    fn parse(name: &str) -> Method {
        match name {
            "GET" => Method::Get,
            "HEAD" => Method::Head,
            _ => OTHER_METHODS
                .into_iter()
                .find(|known| *known == name)
                .map_or(Method::Unknown, Method::Other),
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Method::Get => "GET",
            Method::Head => "HEAD",
            Method::Other(name) => name,
            Method::Unknown => "?",
        }
    }
}

/// A syntactically sound request head.
#[derive(Clone, Debug)]
pub(crate) struct Head {
    pub(crate) method: Method,
    pub(crate) target: String,
    /// HTTP/1.1, not 1.0.
    pub(crate) modern: bool,
    fields: Vec<(Field, String)>,
}

impl Head {
    /// Reads a head from the front of `bytes` and says how long it is; `None` if its end is not
    /// there yet.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<(Head, usize)>, Refusal> {
        let mut headers = [const { MaybeUninit::uninit() }; MAX_HEADERS];
        let mut raw = httparse::Request::new(&mut []);
        match raw.parse_with_uninit_headers(bytes, &mut headers) {
            Ok(httparse::Status::Partial) => Ok(None),
            Ok(httparse::Status::Complete(len)) => Ok(Some((Head::own(&raw), len))),
            Err(error) => Err(refusal(error, bytes)),
        }
    }

    fn own(raw: &httparse::Request<'_, '_>) -> Head {
        let mut fields = Vec::with_capacity(4);
        for header in raw.headers.iter() {
            let known = FIELDS
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(header.name));
            if let Some((_, field)) = known {
                // Lossy is safe: a replacement character is valid in none of these fields.
                fields.push((
                    *field,
                    String::from_utf8_lossy(header.value).trim().to_owned(),
                ));
            }
        }
        Head {
            method: Method::parse(raw.method.unwrap_or_default()),
            target: raw.path.unwrap_or_default().to_owned(),
            modern: raw.version == Some(1),
            fields,
        }
    }

    /// Every line of this name, in order.
    pub(crate) fn all(&self, field: Field) -> impl Iterator<Item = &str> {
        self.fields
            .iter()
            .filter(move |(name, _)| *name == field)
            .map(|(_, value)| value.as_str())
    }

    /// The value if there is exactly one line of this name.
    pub(crate) fn one(&self, field: Field) -> Option<&str> {
        let mut lines = self.all(field);
        let first = lines.next();
        if lines.next().is_some() { None } else { first }
    }

    /// The members of a comma-separated list that may span several lines.
    pub(crate) fn list(&self, field: Field) -> impl Iterator<Item = &str> {
        self.all(field)
            .flat_map(|line| line.split(','))
            .map(str::trim)
    }

    /// Whether the client wants the connection kept.
    pub(crate) fn keep_alive(&self) -> bool {
        let says = |word: &str| {
            self.list(Field::Connection)
                .any(|token| token.eq_ignore_ascii_case(word))
        };
        !says("close") && (self.modern || says("keep-alive"))
    }
}

fn refusal(error: httparse::Error, bytes: &[u8]) -> Refusal {
    match error {
        httparse::Error::TooManyHeaders => {
            Refusal::new(Status::HeadersTooLarge, "too many header lines")
        }
        httparse::Error::Version if names_another_version(bytes) => Refusal::new(
            Status::VersionNotSupported,
            "this server speaks HTTP/1.0 and HTTP/1.1",
        ),
        _ => Refusal::new(Status::BadRequest, "the request head is malformed"),
    }
}

/// Whether the request line ends like `HTTP/2.0`, so that the trouble is the version and not the
/// syntax.
fn names_another_version(bytes: &[u8]) -> bool {
    let start = bytes.iter().position(|b| !b"\r\n".contains(b)).unwrap_or(0);
    let line = bytes[start..]
        .split(|&b| b == b'\n')
        .next()
        .unwrap_or_default();
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let word = line.rsplit(|&b| b == b' ').next().unwrap_or_default();
    let version = word.strip_prefix(b"HTTP/").unwrap_or_default();
    let ours = matches!(version, b"1.0" | b"1.1");
    !ours
        && matches!(version, [major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(text: &str) -> Head {
        let (head, len) = Head::parse(text.as_bytes()).unwrap().unwrap();
        assert_eq!(len, text.len());
        head
    }

    fn status(text: &str) -> u16 {
        Head::parse(text.as_bytes()).unwrap_err().status.code()
    }

    #[test]
    fn facts_of_a_request() {
        let head = head("GET /a?b HTTP/1.1\r\nHost: x\r\nrange:  bytes=1-2 \r\nX-Else: y\r\n\r\n");
        assert_eq!(head.method, Method::Get);
        assert_eq!(head.target, "/a?b");
        assert!(head.modern);
        assert_eq!(head.one(Field::Range), Some("bytes=1-2"));
        assert_eq!(head.one(Field::IfRange), None);
    }

    #[test]
    fn repeated_lines_are_not_one() {
        let head = head(
            "GET / HTTP/1.1\r\nRange: a\r\nRange: b\r\nConnection: x, y\r\nConnection: z\r\n\r\n",
        );
        assert_eq!(head.one(Field::Range), None);
        assert_eq!(
            head.list(Field::Connection).collect::<Vec<_>>(),
            ["x", "y", "z"]
        );
    }

    #[test]
    fn who_keeps_the_connection() {
        assert!(head("GET / HTTP/1.1\r\n\r\n").keep_alive());
        assert!(!head("GET / HTTP/1.1\r\nConnection: x, Close\r\n\r\n").keep_alive());
        assert!(!head("GET / HTTP/1.0\r\n\r\n").keep_alive());
        assert!(head("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n").keep_alive());
        assert!(!head("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n").keep_alive());
    }

    #[test]
    fn unfinished_heads_are_no_error() {
        let text = "GET / HTTP/1.1\r\nHost: x\r\n\r\n";
        for len in 0..text.len() {
            assert!(
                Head::parse(&text.as_bytes()[..len]).unwrap().is_none(),
                "{len}"
            );
        }
    }

    #[test]
    fn malformed_heads() {
        assert_eq!(status("GARBAGE\r\n\r\n"), 400);
        assert_eq!(status("GET /\r\n\r\n"), 400);
        assert_eq!(status("GET /  HTTP/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / FOO/1.1\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/2.0\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTP/0.9\r\n\r\n"), 505);
        assert_eq!(status("GET / HTTP/1.1\r\nA : b\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nA: b\r\n c\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\nA: b\0c\r\n\r\n"), 400);
        assert_eq!(status("GET / HTTP/1.1\r\n: b\r\n\r\n"), 400);
        let many = "A: b\r\n".repeat(MAX_HEADERS + 1);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{many}\r\n")), 431);
    }
}
