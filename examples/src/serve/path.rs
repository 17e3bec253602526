//! From a request target to a path below the root.
//!
//! Knows nothing of the file system. Dot segments are resolved here, by text, so that no `..` ever
//! reaches `open`; symbolic links are the business of `files`.

use std::ffi::OsStr;
use std::fmt::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::respond::{Refusal, Status};

/// A decoded path: segments joined by `/`, none of them empty, `.` or `..`, no NUL; empty for the
/// root itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SitePath {
    relative: Vec<u8>,
    /// The target ended in a slash (or a dot segment), so only a directory will do.
    directory: bool,
    query: Option<String>,
}

impl SitePath {
    /// Reads origin-form (`/a?b`) and absolute-form (`http://host/a?b`) targets.
    pub(crate) fn parse(target: &str) -> Result<SitePath, Refusal> {
        let target = origin_form(target)?;
        if target.contains('#') {
            return Err(bad("the target has a fragment"));
        }
        let (path, query) = match target.split_once('?') {
            Some((path, query)) => (path, Some(query.to_owned())),
            None => (target, None),
        };
        let mut relative = Vec::with_capacity(path.len());
        let mut directory = true;
        for segment in path.split('/').skip(1) {
            let start = relative.len();
            if start > 0 {
                relative.push(b'/');
            }
            let name = relative.len();
            decode(segment, &mut relative)?;
            directory = false;
            match &relative[name..] {
                b"" | b"." => {
                    relative.truncate(start);
                    directory = true;
                }
                b".." => {
                    relative.truncate(start);
                    let Some(parent) = pop(&relative) else {
                        return Err(bad("the path leaves the root"));
                    };
                    relative.truncate(parent);
                    directory = true;
                }
                _ => {}
            }
        }
        Ok(SitePath {
            relative,
            directory,
            query,
        })
    }

    pub(crate) fn wants_directory(&self) -> bool {
        self.directory
    }

    /// Where to open it, relative to the root.
    pub(crate) fn relative(&self) -> &Path {
        match self.relative.as_slice() {
            b"" => Path::new("."),
            path => Path::new(OsStr::from_bytes(path)),
        }
    }

    /// The index page of this directory.
    pub(crate) fn index(&self) -> Vec<u8> {
        let mut index = self.relative.clone();
        if !index.is_empty() {
            index.push(b'/');
        }
        index.extend_from_slice(b"index.html");
        index
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.relative
    }

    /// The same place with a final slash, escaped anew: a name like `//evil.example` or one with a
    /// line break cannot become a redirect to another host or a header of its own.
    pub(crate) fn as_directory_url(&self) -> String {
        let mut url = String::with_capacity(self.relative.len() + 2);
        url.push('/');
        for &byte in &self.relative {
            match byte {
                b'/' | b'-' | b'.' | b'_' | b'~' => url.push(char::from(byte)),
                _ if byte.is_ascii_alphanumeric() => url.push(char::from(byte)),
                // Writing to a String cannot fail.
                _ => drop(write!(url, "%{byte:02X}")),
            }
        }
        if url.len() > 1 {
            url.push('/');
        }
        if let Some(query) = &self.query {
            url.push('?');
            url.extend(query.chars().filter(char::is_ascii_graphic));
        }
        url
    }
}

fn bad(why: &'static str) -> Refusal {
    Refusal::new(Status::BadRequest, why)
}

fn origin_form(target: &str) -> Result<&str, Refusal> {
    if target.starts_with('/') {
        return Ok(target);
    }
    let (scheme, rest) = target
        .split_once("://")
        .ok_or_else(|| bad("the target is neither a path nor a URL"))?;
    if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
        return Err(bad("the target is not an http URL"));
    }
    match rest.find(['/', '?']) {
        Some(0) => Err(bad("the target names no host")),
        Some(at) if rest.as_bytes()[at] == b'/' => Ok(&rest[at..]),
        _ if rest.is_empty() => Err(bad("the target names no host")),
        // `http://host` and `http://host?query` mean the root; a query cannot matter to a file.
        _ => Ok("/"),
    }
}

/// Where the last segment of a path begins (with its slash); `None` at the root.
fn pop(path: &[u8]) -> Option<usize> {
    if path.is_empty() {
        return None;
    }
    Some(path.iter().rposition(|&b| b == b'/').unwrap_or(0))
}

/// Appends the decoded segment. What no file here can be called, or what another layer might read
/// as a separator, is refused.
fn decode(segment: &str, out: &mut Vec<u8>) -> Result<(), Refusal> {
    let mut bytes = segment.bytes();
    while let Some(byte) = bytes.next() {
        let byte = match byte {
            b'%' => {
                let high = bytes.next().and_then(hex);
                let low = bytes.next().and_then(hex);
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(bad("the path has a bad percent escape"));
                };
                high << 4 | low
            }
            byte => byte,
        };
        match byte {
            0 => return Err(bad("the path has a NUL")),
            b'/' => return Err(bad("the path has an encoded slash")),
            b'\\' => return Err(bad("the path has a backslash")),
            byte => out.push(byte),
        }
    }
    Ok(())
}

fn hex(digit: u8) -> Option<u8> {
    // A hex digit is below 16.
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(target: &str) -> Result<(String, bool), &'static str> {
        match SitePath::parse(target) {
            Ok(path) => Ok((String::from_utf8(path.relative).unwrap(), path.directory)),
            Err(refusal) => {
                assert_eq!(refusal.status, Status::BadRequest);
                Err(refusal.why)
            }
        }
    }

    fn ok(text: &str, directory: bool) -> Result<(String, bool), &'static str> {
        Ok((text.to_owned(), directory))
    }

    #[test]
    fn plain_paths() {
        assert_eq!(path("/"), ok("", true));
        assert_eq!(path("/a"), ok("a", false));
        assert_eq!(path("/a/b.c"), ok("a/b.c", false));
        assert_eq!(path("/a/"), ok("a", true));
        assert_eq!(path("/a?x=/../y"), ok("a", false));
        assert_eq!(path("/a%20b%2e%63"), ok("a b.c", false));
        assert_eq!(path("/%C3%A9"), ok("é", false));
    }

    #[test]
    fn absolute_form() {
        assert_eq!(path("http://host/a"), ok("a", false));
        assert_eq!(path("HTTP://host:80/a/"), ok("a", true));
        assert_eq!(path("http://host"), ok("", true));
        assert_eq!(path("http://host?q"), ok("", true));
        for bad in [
            "*",
            "a",
            "ftp://host/a",
            "http://",
            "http:///a",
            "",
            "host:80",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn dot_segments_stay_inside() {
        assert_eq!(path("/a/../b"), ok("b", false));
        assert_eq!(path("/a/./b/.."), ok("a", true));
        assert_eq!(path("/a/b/%2e%2E/c"), ok("a/c", false));
        assert_eq!(path("/a/.."), ok("", true));
        assert_eq!(path("//a///b"), ok("a/b", false));
        assert_eq!(path("/..."), ok("...", false));
        assert_eq!(path("/..a/b.."), ok("..a/b..", false));
    }

    #[test]
    fn no_way_out() {
        for bad in [
            "/..",
            "/../a",
            "/a/../../b",
            "/%2e%2e/a",
            "/.%2e/a",
            "/a/%2e%2e/%2e%2e/b",
            "/..%2fa",
            "/a%2Fb",
            "/..\\a",
            "/..%5ca",
            "/%00",
            "/a%00.html",
            "/%",
            "/%2",
            "/%zz",
            "/%+1",
            "/a#b",
        ] {
            assert!(path(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn redirects_stay_on_this_host() {
        let url = |target| SitePath::parse(target).unwrap().as_directory_url();
        assert_eq!(url("//evil.example"), "/evil.example/");
        assert_eq!(url("/a%0d%0aX:%20y"), "/a%0D%0AX%3A%20y/");
        assert_eq!(url("/a/b?c=d"), "/a/b/?c=d");
        assert_eq!(url("/"), "/");
    }
}
