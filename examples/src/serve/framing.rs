//! Where a request ends, and whether its head may be believed (RFC 9112, 3.2 and 6).
//!
//! Two parties that see different ends of one request is how requests are smuggled; so whatever is
//! ambiguous is refused, and a refusal closes the connection.

use super::head::{Field, Head};
use super::respond::{Refusal, Status};

/// How the body of a request is delimited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Framing {
    Sized(u64),
    Chunked,
}

impl Framing {
    pub(crate) fn of(head: &Head) -> Result<Framing, Refusal> {
        check_host(head)?;
        let length = content_length(head)?;
        let codings: Vec<&str> = head.list(Field::TransferEncoding).collect();
        let Some(last) = codings.last() else {
            return Ok(Framing::Sized(length.unwrap_or(0)));
        };
        if length.is_some() {
            return Err(bad("both Content-Length and Transfer-Encoding"));
        }
        if !head.modern {
            return Err(bad("Transfer-Encoding in HTTP/1.0"));
        }
        if !last.eq_ignore_ascii_case("chunked") {
            return Err(bad("the body does not end with the chunked coding"));
        }
        if codings.len() > 1 {
            return Err(Refusal::new(
                Status::NotImplemented,
                "only the chunked transfer coding is understood",
            ));
        }
        Ok(Framing::Chunked)
    }

    pub(crate) fn is_empty(self) -> bool {
        self == Framing::Sized(0)
    }
}

/// Whether the client waits for `100 Continue` before it sends the body.
pub(crate) fn expects_continue(head: &Head) -> Result<bool, Refusal> {
    let mut expectations = head.list(Field::Expect).peekable();
    if !head.modern || expectations.peek().is_none() {
        return Ok(false);
    }
    if expectations.all(|word| word.eq_ignore_ascii_case("100-continue")) {
        return Ok(true);
    }
    Err(Refusal::new(
        Status::ExpectationFailed,
        "only 100-continue can be expected",
    ))
}

fn bad(why: &'static str) -> Refusal {
    Refusal::new(Status::BadRequest, why)
}

fn check_host(head: &Head) -> Result<(), Refusal> {
    let mut hosts = head.all(Field::Host);
    match (hosts.next(), hosts.next()) {
        (None, _) if head.modern => Err(bad("HTTP/1.1 needs a Host header")),
        (_, Some(_)) => Err(bad("more than one Host header")),
        (Some(host), None) if !is_host(host) => Err(bad("the Host header is malformed")),
        _ => Ok(()),
    }
}

fn is_host(host: &str) -> bool {
    host.bytes()
        .all(|b| b.is_ascii_alphanumeric() || b"-._~:[]%!$&'()*+;=".contains(&b))
}

/// Repeated equal lengths are one length; anything but plain digits is refused.
fn content_length(head: &Head) -> Result<Option<u64>, Refusal> {
    let mut length = None;
    for text in head.list(Field::ContentLength) {
        if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
            return Err(bad("Content-Length is not a number"));
        }
        // Only too many digits can fail here; such a body is over any limit.
        let value = text.parse().unwrap_or(u64::MAX);
        if length.is_some_and(|other| other != value) {
            return Err(bad("Content-Length is given twice and differs"));
        }
        length = Some(value);
    }
    Ok(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framing(lines: &str) -> Result<Framing, u16> {
        of(&format!("GET / HTTP/1.1\r\nHost: x\r\n{lines}\r\n"))
    }

    fn of(text: &str) -> Result<Framing, u16> {
        let (head, _) = Head::parse(text.as_bytes()).unwrap().unwrap();
        Framing::of(&head).map_err(|refusal| refusal.status.code())
    }

    #[test]
    fn lengths() {
        assert_eq!(framing(""), Ok(Framing::Sized(0)));
        assert_eq!(framing("Content-Length: 12\r\n"), Ok(Framing::Sized(12)));
        assert_eq!(
            framing("Content-Length: 12\r\nContent-Length: 12\r\n"),
            Ok(Framing::Sized(12))
        );
        assert_eq!(framing("Content-Length: 12, 13\r\n"), Err(400));
        assert_eq!(
            framing("Content-Length: 1\r\nContent-Length: 2\r\n"),
            Err(400)
        );
        for bad in ["+1", "-1", "1 2", "0x1", "", "1,", "\u{661}"] {
            assert_eq!(
                framing(&format!("Content-Length: {bad}\r\n")),
                Err(400),
                "{bad}"
            );
        }
        let huge = "9".repeat(30);
        assert_eq!(
            framing(&format!("Content-Length: {huge}\r\n")),
            Ok(Framing::Sized(u64::MAX))
        );
    }

    #[test]
    fn codings() {
        assert_eq!(
            framing("Transfer-Encoding: Chunked\r\n"),
            Ok(Framing::Chunked)
        );
        assert_eq!(framing("Transfer-Encoding: gzip, chunked\r\n"), Err(501));
        assert_eq!(framing("Transfer-Encoding: chunked, chunked\r\n"), Err(501));
        assert_eq!(
            framing("Transfer-Encoding: chunked, identity\r\n"),
            Err(400)
        );
        assert_eq!(framing("Transfer-Encoding: identity\r\n"), Err(400));
        assert_eq!(framing("Transfer-Encoding: xchunked\r\n"), Err(400));
        assert_eq!(framing("Transfer-Encoding:\r\n"), Err(400));
        assert_eq!(
            framing("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n"),
            Err(400)
        );
        assert_eq!(
            of("GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n"),
            Err(400)
        );
    }

    #[test]
    fn hosts() {
        assert_eq!(of("GET / HTTP/1.1\r\n\r\n"), Err(400));
        assert_eq!(of("GET / HTTP/1.0\r\n\r\n"), Ok(Framing::Sized(0)));
        assert_eq!(of("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), Err(400));
        assert_eq!(of("GET / HTTP/1.1\r\nHost:\r\n\r\n"), Ok(Framing::Sized(0)));
        assert_eq!(
            of("GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n"),
            Ok(Framing::Sized(0))
        );
        for bad in ["a b", "a/b", "a@b", "a,b", "\u{e9}"] {
            assert_eq!(
                of(&format!("GET / HTTP/1.1\r\nHost: {bad}\r\n\r\n")),
                Err(400),
                "{bad}"
            );
        }
    }

    #[test]
    fn expectations() {
        let expects = |text: &str| {
            let (head, _) = Head::parse(text.as_bytes()).unwrap().unwrap();
            expects_continue(&head).map_err(|refusal| refusal.status.code())
        };
        assert_eq!(expects("GET / HTTP/1.1\r\n\r\n"), Ok(false));
        assert_eq!(
            expects("GET / HTTP/1.1\r\nExpect: 100-Continue\r\n\r\n"),
            Ok(true)
        );
        assert_eq!(
            expects("GET / HTTP/1.0\r\nExpect: 100-continue\r\n\r\n"),
            Ok(false)
        );
        assert_eq!(expects("GET / HTTP/1.1\r\nExpect: tea\r\n\r\n"), Err(417));
    }
}
