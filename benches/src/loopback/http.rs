//! HTTP/1.1: servers that answer every request with the same text, as their documentation writes them. One worker each.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::mpsc::Sender;
use std::time::{Duration, SystemTime};

use super::server::Serve;

const BODY: &str = "Hello, World!";

pub(super) const REQUEST: &[u8] =
    b"GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: sisal-benches\r\nAccept: */*\r\n\r\n";

const BUFFER: usize = 4096;

const HEADERS: usize = 16;

pub(super) const SERVERS: &[(&str, Serve)] =
    &[("sisal", sisal), ("hyper", hyper), ("may_minihttp", may)];

/// The status, the length and the text; what else the head says is the server's business.
pub(super) fn is_answered(received: &[u8]) -> io::Result<bool> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut response = httparse::Response::new(&mut headers);
    let length = match response.parse(received).map_err(io::Error::other)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(false),
    };
    let body = &received[length..];
    let promised = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .map(|header| header.value);
    if response.code != Some(200) || promised != Some(b"13") || !BODY.as_bytes().starts_with(body) {
        return Err(io::Error::other("that was not asked for"));
    }
    Ok(body.len() == BODY.len())
}

fn sisal(bound: &Sender<SocketAddr>) -> io::Result<()> {
    use sisal::net::TcpListener;

    let runtime = sisal::Runtime::builder().workers(1).build()?;
    let bound = bound.clone();
    runtime.run(move || {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let _ = bound.send(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept()?;
            stream.set_nodelay(true)?;
            sisal::spawn(move || {
                // A client that leaves or talks nonsense is hung up on.
                let _ = converse(stream);
            });
        }
    })
}

/// Answers what comes, until the client has had enough.
fn converse(mut stream: impl Read + Write) -> io::Result<()> {
    let mut input = [0; BUFFER];
    let mut filled = 0;
    let mut output = Vec::with_capacity(256);
    let mut date = Date::now();
    loop {
        // Nothing is read into no room: a head that is too long ends the connection.
        match stream.read(&mut input[filled..])? {
            0 => return Ok(()),
            read => filled += read,
        }
        let (mut used, mut kept) = (0, true);
        while kept && let Some((length, keep)) = request(&input[used..filled])? {
            used += length;
            kept = keep;
            date.refresh();
            answer(&mut output, &date, keep);
        }
        stream.write_all(&output)?;
        output.clear();
        if !kept {
            return Ok(());
        }
        input.copy_within(used..filled, 0);
        filled -= used;
    }
}

/// The length of the request at the front, if all of it is there, and whether its connection is to be kept.
fn request(bytes: &[u8]) -> io::Result<Option<(usize, bool)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let length = match request.parse(bytes).map_err(io::Error::other)? {
        httparse::Status::Complete(length) => length,
        httparse::Status::Partial => return Ok(None),
    };
    let mut keep = request.version == Some(1);
    for header in request.headers.iter() {
        let is = |name| header.name.eq_ignore_ascii_case(name);
        if is("connection") {
            keep &= !header.value.eq_ignore_ascii_case(b"close");
        } else if is("transfer-encoding") || (is("content-length") && header.value != b"0") {
            return Err(io::Error::other("a body is not wanted"));
        }
    }
    Ok(Some((length, keep)))
}

fn answer(output: &mut Vec<u8>, date: &Date, keep: bool) {
    output.extend_from_slice(b"HTTP/1.1 200 OK\r\ndate: ");
    output.extend_from_slice(date.text.as_bytes());
    if !keep {
        output.extend_from_slice(b"\r\nconnection: close");
    }
    // Writing to a Vec cannot fail.
    let _ = write!(output, "\r\ncontent-length: {}\r\n\r\n{BODY}", BODY.len());
}

/// The date in words, which are found once in a second, as the other servers do.
struct Date {
    until: SystemTime,
    text: String,
}

impl Date {
    fn now() -> Date {
        let now = SystemTime::now();
        Date {
            until: now + Duration::from_secs(1),
            text: httpdate::fmt_http_date(now),
        }
    }

    fn refresh(&mut self) {
        if SystemTime::now() >= self.until {
            *self = Date::now();
        }
    }
}

/// As hyper's guide has it, with `hyper-util`'s adapter.
fn hyper(bound: &Sender<SocketAddr>) -> io::Result<()> {
    use std::convert::Infallible;

    use http_body_util::Full;
    use hyper::body::{Bytes, Incoming};
    use hyper::server::conn::http1;
    use hyper::service::service_fn;
    use hyper::{Request, Response};
    use hyper_util::rt::TokioIo;
    use tokio::net::TcpListener;

    async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
        Ok(Response::new(Full::new(Bytes::from_static(
            BODY.as_bytes(),
        ))))
    }

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let _ = bound.send(listener.local_addr()?);
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let io = TokioIo::new(stream);
            tokio::spawn(async move {
                let served = http1::Builder::new().serve_connection(io, service_fn(hello));
                let _ = served.await;
            });
        }
    })
}

fn may(bound: &Sender<SocketAddr>) -> io::Result<()> {
    use may_minihttp::{HttpServer, HttpService, Request, Response};

    #[derive(Clone)]
    struct Hello;

    impl HttpService for Hello {
        fn call(&mut self, _: Request<'_, '_, '_>, response: &mut Response<'_>) -> io::Result<()> {
            response.body(BODY);
            Ok(())
        }
    }

    may::config().set_workers(1).set_worker_pin(false);
    // It does not say which port it got: it is given one that was free a moment ago.
    let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let server = HttpServer(Hello).start(address)?;
    let _ = bound.send(address);
    let ended = server.join();
    ended.map_err(|_| io::Error::other("the server panicked"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out its bytes a few at a time and keeps what is written.
    struct Wire<'a> {
        sent: &'a [u8],
        at_once: usize,
        answered: Vec<u8>,
    }

    impl Read for &mut Wire<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            let most = self.at_once.min(to.len());
            (&mut self.sent).take(most as u64).read(to)
        }
    }

    impl Write for &mut Wire<'_> {
        fn write(&mut self, from: &[u8]) -> io::Result<usize> {
            self.answered.write(from)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn answers(sent: &[u8], at_once: usize) -> Vec<u8> {
        let mut wire = Wire {
            sent,
            at_once,
            answered: Vec::new(),
        };
        let _ = converse(&mut wire);
        wire.answered
    }

    #[test]
    fn our_answer_is_the_one_that_the_client_wants() {
        let answer = answers(REQUEST, 10);
        assert!(is_answered(&answer).unwrap());
        for cut in 1..answer.len() {
            assert!(!is_answered(&answer[..cut]).unwrap(), "{cut}");
        }
        is_answered(&[&answer[..], b"!"].concat()).unwrap_err();
        is_answered(b"HTTP/1.1 404 Not Found\r\ncontent-length: 13\r\n\r\nHello, World!")
            .unwrap_err();
        is_answered(b"HTTP/1.1 200 OK\r\n\r\nHello, World!").unwrap_err();
    }

    #[test]
    fn each_of_several_requests_is_answered_until_one_closes() {
        let one = answers(REQUEST, 4096).len();
        let closing = b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n";
        let sent = [REQUEST, REQUEST, closing, REQUEST].concat();
        for at_once in [1, 7, 4096] {
            let answered = answers(&sent, at_once);
            let last = one + "connection: close\r\n".len();
            assert_eq!(answered.len(), 2 * one + last, "{at_once}");
        }
    }

    #[test]
    fn nonsense_and_bodies_are_hung_up_on() {
        assert_eq!(answers(b"GARBAGE\r\n\r\n", 4096), b"");
        assert_eq!(
            answers(b"GET / HTTP/1.1\r\nContent-Length: 1\r\n\r\n!", 4096),
            b""
        );
        assert_eq!(answers(&[b'x'; 10_000], 4096), b"");
    }
}
