//! One connection, from its first byte to its last: plain blocking code, a loop over requests.
//!
//! Knows nothing of accepting or of signals; its registry entry tells it when the server stops.

use std::io::{self, Write};
use std::net::Shutdown;
use std::time::{Duration, Instant};

use super::access::Access;
use super::answer::{self, Answer};
use super::body::{Body, Trouble};
use super::framing::{self, Framing};
use super::head::{Head, Method};
use super::input::{Filled, Input};
use super::path::SitePath;
use super::registry::Registered;
use super::respond::{self, After, Refusal, Status};
use super::rt;
use super::server::Site;

/// A request head larger than this is answered with 431, or 414 if it is the target that fills it.
const MAX_HEAD: usize = 16 * 1024;

/// How long a closed connection is read from, so that the last response is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 1024 * 1024;

/// An output buffer larger than this is given back when the connection falls idle.
const KEPT_OUTPUT: usize = 4 * 1024;

/// Serves requests until either side has had enough. An error means that the client is gone.
pub(crate) fn serve(link: &Registered, site: &Site) -> io::Result<()> {
    let mut connection = Connection::new(link, site)?;
    loop {
        let keep = match connection.next_request()? {
            Next::Request(head) => connection.answer(&head)?,
            Next::Refused(refusal) => connection.refuse(refusal, None, Instant::now())?,
            Next::Nothing => return Ok(()),
        };
        if !keep {
            return connection.linger();
        }
    }
}

/// Tells a client that there are too many others.
pub(crate) fn turn_away(link: &Registered, site: &Site) -> io::Result<()> {
    let mut connection = Connection::new(link, site)?;
    let full = Refusal::new(Status::Unavailable, "too many connections");
    connection.refuse(full, None, Instant::now())?;
    connection.linger()
}

struct Connection<'a> {
    link: &'a Registered,
    site: &'a Site,
    input: Input,
    out: Vec<u8>,
}

enum Next {
    Request(Head),
    Refused(Refusal),
    Nothing,
}

impl<'a> Connection<'a> {
    fn new(link: &'a Registered, site: &'a Site) -> io::Result<Connection<'a>> {
        // A response is one write, or a few large ones: there is nothing to gather.
        link.stream.set_nodelay(true)?;
        link.stream
            .set_write_timeout(Some(site.limits.write_timeout))?;
        Ok(Connection {
            link,
            site,
            input: Input::default(),
            out: Vec::new(),
        })
    }

    fn next_request(&mut self) -> io::Result<Next> {
        if !self.wait_for_request()? {
            return Ok(Next::Nothing);
        }
        let deadline = Instant::now() + self.site.limits.header_timeout;
        let mut tried = 0;
        loop {
            // A head is only looked at again when a line of it has ended: a client that sends
            // single bytes must not make us parse each of them.
            let data = self.input.data();
            if tried == 0 || data[tried..].contains(&b'\n') {
                match Head::parse(data) {
                    Ok(Some((head, len))) => {
                        self.input.consume(len);
                        return Ok(Next::Request(head));
                    }
                    Ok(None) => tried = data.len(),
                    Err(refusal) => return Ok(Next::Refused(refusal)),
                }
            }
            if data.len() > MAX_HEAD {
                return Ok(Next::Refused(too_large(data)));
            }
            match self.input.fill_until(&self.link.stream, deadline)? {
                Filled::Bytes(_) => {}
                Filled::End => {
                    let cut = Refusal::new(Status::BadRequest, "the request head is incomplete");
                    return Ok(Next::Refused(cut));
                }
                Filled::TimedOut => {
                    let slow =
                        Refusal::new(Status::RequestTimeout, "the request head took too long");
                    return Ok(Next::Refused(slow));
                }
            }
        }
    }

    /// False if no request comes: the client has left or been idle for too long, or the server
    /// stops.
    fn wait_for_request(&mut self) -> io::Result<bool> {
        self.input.skip_blank_lines();
        if !self.input.data().is_empty() {
            return Ok(true);
        }
        if self.out.capacity() > KEPT_OUTPUT {
            self.out = Vec::new();
        }
        let idle = self.site.limits.idle_timeout;
        let mut deadline = None;
        loop {
            if !self.link.rest() {
                return Ok(false);
            }
            let filled = match deadline {
                // The usual case sets no timer of its own: the socket's timeout stays the same.
                None => self.input.fill(&self.link.stream, idle)?,
                Some(deadline) => self.input.fill_until(&self.link.stream, deadline)?,
            };
            if !matches!(filled, Filled::Bytes(_)) {
                return Ok(false);
            }
            self.input.skip_blank_lines();
            if !self.input.data().is_empty() {
                self.link.begin();
                return Ok(true);
            }
            deadline.get_or_insert_with(|| Instant::now() + idle);
        }
    }

    /// Answers one request; false if the connection ends with it.
    fn answer(&mut self, head: &Head) -> io::Result<bool> {
        let begun = Instant::now();
        let framing = match Framing::of(head) {
            Ok(framing) => framing,
            Err(refusal) => return self.refuse(refusal, Some(head), begun),
        };
        let awaits = match framing::expects_continue(head) {
            Ok(expects) => expects && !framing.is_empty(),
            Err(refusal) => return self.refuse(refusal, Some(head), begun),
        };
        let wanted = wanted(head);
        match wanted {
            // The body was to come only if we want it, and we do not: nobody knows whether it
            // comes.
            Err(refusal) if awaits => return self.refuse(refusal, Some(head), begun),
            _ => {}
        }
        match self.discard_body(framing, awaits) {
            Ok(()) => {}
            Err(Trouble::Refused(refusal)) => return self.refuse(refusal, Some(head), begun),
            Err(Trouble::Gone(error)) => return Err(error),
        }
        let after = match (head.keep_alive() && !self.link.is_stopping(), head.modern) {
            (false, _) => After::Close,
            (true, true) => After::Keep,
            (true, false) => After::KeepAloud,
        };
        self.out.clear();
        let out = &mut self.out;
        let answer = match wanted {
            Ok(path) => {
                let root = &self.site.root;
                rt::unblock(|| answer::answer(root, head, &path, after, out))
            }
            Err(refusal) => answer::refuse(refusal, head, after, out, &[]),
        };
        self.send(answer, Access::new(self.link.peer, Some(head), begun))?;
        Ok(after != After::Close)
    }

    fn discard_body(&mut self, framing: Framing, awaits: bool) -> Result<(), Trouble> {
        if framing.is_empty() {
            return Ok(());
        }
        let limit = self.site.limits.max_body;
        let fits = !matches!(framing, Framing::Sized(len) if len > limit);
        if awaits && fits && self.input.data().is_empty() {
            (&self.link.stream).write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
        }
        let body = Body {
            input: &mut self.input,
            stream: &self.link.stream,
            deadline: Instant::now() + self.site.limits.header_timeout,
            allowance: limit,
        };
        body.discard(framing)
    }

    /// Sends what lies in the output buffer, then the rest of the file.
    fn send(&mut self, answer: Answer, mut access: Access<'_>) -> io::Result<()> {
        access.status = Some(answer.status);
        (&self.link.stream).write_all(&self.out)?;
        access.bytes = answer.body;
        let mut rest = answer.rest;
        while let Some(mut file) = rest.take() {
            self.out.clear();
            let out = &mut self.out;
            let (file, more) = rt::unblock(move || {
                let more = file.read(out);
                (file, more)
            });
            let more = more.inspect_err(|error| {
                // The length is promised already: all that is left is to end the connection short
                // of it.
                tracing::warn!(peer = %self.link.peer, %error, "a file changed while it was sent");
            })?;
            (&self.link.stream).write_all(&self.out)?;
            access.bytes += self.out.len() as u64;
            rest = more.then_some(file);
        }
        access.complete = true;
        Ok(())
    }

    /// Answers what cannot be served and may have left the stream out of step: the connection ends.
    /// Always false.
    fn refuse(
        &mut self,
        refusal: Refusal,
        head: Option<&Head>,
        begun: Instant,
    ) -> io::Result<bool> {
        self.out.clear();
        let with_body = head.is_none_or(|head| head.method != Method::Head);
        let answer = Answer {
            status: refusal.status,
            body: respond::plain(&mut self.out, refusal, After::Close, with_body, &[]),
            rest: None,
        };
        self.send(answer, Access::new(self.link.peer, head, begun))?;
        Ok(false)
    }

    /// Closing a socket with unread bytes resets it, and a reset can overtake the response. So: say
    /// that nothing more comes, and read on for a moment until the client closes too.
    fn linger(&mut self) -> io::Result<()> {
        self.link.stream.shutdown(Shutdown::Write)?;
        let deadline = Instant::now() + LINGER;
        let mut bytes = self.input.data().len();
        loop {
            self.input.consume(self.input.data().len());
            match self.input.fill_until(&self.link.stream, deadline)? {
                Filled::Bytes(read) if bytes < LINGER_BYTES => bytes += read,
                _ => return Ok(()),
            }
        }
    }
}

/// The path a request asks for, if it asks for something that can be had.
fn wanted(head: &Head) -> Result<SitePath, Refusal> {
    match head.method {
        Method::Get | Method::Head => SitePath::parse(&head.target),
        Method::Other(_) => Err(Refusal::new(
            Status::MethodNotAllowed,
            "files can only be read here",
        )),
        Method::Unknown => Err(Refusal::new(Status::NotImplemented, "unknown method")),
    }
}

fn too_large(head: &[u8]) -> Refusal {
    if head.contains(&b'\n') {
        Refusal::new(Status::HeadersTooLarge, "the request head is too large")
    } else {
        Refusal::new(Status::UriTooLong, "the request target is too long")
    }
}
