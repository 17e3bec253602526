//! The answer to a sound GET or HEAD: which file, which part of it, which headers.
//!
//! `answer` opens, inspects and reads, so it runs in one `unblock` call. A small file is complete
//! after it; of a large one the first chunk is there and the rest follows chunk by chunk.

use std::io;

use super::conditional::{Validators, Verdict};
use super::date::HttpDate;
use super::files::{self, Entry, File, Root};
use super::head::{Field, Head, Method};
use super::mime;
use super::path::SitePath;
use super::range::{self, Selection};
use super::respond::{self, After, Refusal, ResponseHead, Status};

/// How much of a file is read at a time, and so the buffer a busy connection holds.
pub(crate) const CHUNK: u64 = 128 * 1024;

/// An answer whose beginning lies in the output buffer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: Status,
    /// How many of the bytes in the buffer are body.
    pub(crate) body: u64,
    pub(crate) rest: Option<Rest>,
}

/// What of a file is still to be sent.
#[derive(Debug)]
pub(crate) struct Rest {
    file: File,
    at: u64,
    end: u64,
}

pub(crate) fn answer(
    root: &Root,
    head: &Head,
    path: &SitePath,
    after: After,
    out: &mut Vec<u8>,
) -> Answer {
    let start = out.len();
    let refusal = match find(root, path) {
        Ok(Found::File(file, name)) => match send(file, &name, head, after, out) {
            Ok(answer) => return answer,
            Err(error) => {
                tracing::error!(name = %files::path(&name).display(), %error, "cannot read");
                out.truncate(start);
                Refusal::new(Status::InternalError, "the file could not be read")
            }
        },
        Ok(Found::Redirect(url)) => {
            let moved = Refusal::new(Status::MovedPermanently, "this is a directory");
            return refuse(moved, head, after, out, &[("Location", &url)]);
        }
        Err(refusal) => refusal,
    };
    refuse(refusal, head, after, out, &[])
}

/// A response without a file, for when the request is at fault.
pub(crate) fn refuse(
    refusal: Refusal,
    head: &Head,
    after: After,
    out: &mut Vec<u8>,
    extra: &[(&str, &str)],
) -> Answer {
    let with_body = head.method != Method::Head;
    Answer {
        status: refusal.status,
        body: respond::plain(out, refusal, after, with_body, extra),
        rest: None,
    }
}

impl Rest {
    /// Appends the next chunk; false if that was the last one.
    pub(crate) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<bool> {
        let len = CHUNK.min(self.end - self.at);
        self.file.read_exact_at(self.at, len as usize, out)?;
        self.at += len;
        Ok(self.at < self.end)
    }
}

enum Found {
    /// With the name that decides its content type.
    File(File, Vec<u8>),
    Redirect(String),
}

fn find(root: &Root, path: &SitePath) -> Result<Found, Refusal> {
    let missing = Refusal::new(Status::NotFound, "no such file");
    if path.wants_directory() {
        let index = path.index();
        return match root.get(files::path(&index))? {
            Entry::File(file) => Ok(Found::File(file, index)),
            Entry::Directory => Err(missing),
        };
    }
    match root.get(path.relative())? {
        Entry::File(file) => Ok(Found::File(file, path.bytes().to_vec())),
        Entry::Directory => Ok(Found::Redirect(path.as_directory_url())),
    }
}

fn send(
    file: File,
    name: &[u8],
    head: &Head,
    after: After,
    out: &mut Vec<u8>,
) -> io::Result<Answer> {
    let validators = Validators::new(file.len, file.modified, file.modified_nanos);
    match validators.judge(head) {
        Verdict::Proceed => {}
        Verdict::NotModified => {
            let now = HttpDate::now();
            let mut response = ResponseHead::new(out, Status::NotModified, after, now);
            write_validators(&mut response, &validators, now);
            response.end();
            return Ok(Answer {
                status: Status::NotModified,
                body: 0,
                rest: None,
            });
        }
        Verdict::Failed => {
            let failed = Refusal::new(
                Status::PreconditionFailed,
                "the file is not the version asked for",
            );
            return Ok(refuse(failed, head, after, out, &[]));
        }
    }
    let (status, start, end) = match selection(head, &validators, file.len) {
        Selection::Whole => (Status::Ok, 0, file.len),
        Selection::Part { start, end } => (Status::PartialContent, start, end),
        Selection::Unsatisfiable => {
            let outside = Refusal::new(Status::RangeNotSatisfiable, "no such bytes in the file");
            let range = format!("bytes */{}", file.len);
            return Ok(refuse(
                outside,
                head,
                after,
                out,
                &[("Content-Range", &range)],
            ));
        }
    };
    let now = HttpDate::now();
    let mut response = ResponseHead::new(out, status, after, now);
    write_validators(&mut response, &validators, now);
    response.field("Accept-Ranges", "bytes");
    if status == Status::PartialContent {
        response.field(
            "Content-Range",
            format_args!("bytes {start}-{}/{}", end - 1, file.len),
        );
    }
    response.field("Content-Type", mime::of(name));
    response.field("Content-Length", end - start);
    response.end();
    let mut answer = Answer {
        status,
        body: 0,
        rest: None,
    };
    if head.method == Method::Get && end > start {
        let mut rest = Rest {
            file,
            at: start,
            end,
        };
        let more = rest.read(out)?;
        answer.body = rest.at - start;
        answer.rest = more.then_some(rest);
    }
    Ok(answer)
}

/// `Range` means something for GET only (RFC 9110, 14.2), and only if it is sent once.
fn selection(head: &Head, validators: &Validators, len: u64) -> Selection {
    match head.one(Field::Range) {
        Some(range) if head.method == Method::Get && validators.allow_range(head) => {
            range::select(range, len)
        }
        _ => Selection::Whole,
    }
}

fn write_validators(response: &mut ResponseHead<'_>, validators: &Validators, now: HttpDate) {
    // A file from the future was changed now, as far as HTTP is concerned (RFC 9110, 8.8.2.1).
    response.field("Last-Modified", validators.modified.min(now));
    response.field("ETag", &validators.etag);
}
