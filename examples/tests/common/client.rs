use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::PATIENCE;

/// One connection, used request by request.
pub(crate) struct Client {
    stream: BufReader<TcpStream>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header that occurs at most once.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name);
        let first = values.next();
        assert!(values.next().is_none(), "{name} twice in {self:?}");
        first.map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }
}

impl Client {
    pub(crate) fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client {
            stream: BufReader::new(stream),
        }
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.stream.get_ref()
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.get_ref().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends, but does not mind if the server has heard enough.
    pub(crate) fn offer(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.get_ref().write_all(bytes.as_ref());
    }

    /// No more bytes from here; the server may still answer.
    pub(crate) fn finish(&mut self) {
        self.stream.get_ref().shutdown(Shutdown::Write).unwrap();
    }

    /// `GET` with more header lines, each ended by CRLF.
    pub(crate) fn get_with(&mut self, target: &str, lines: &str) -> Response {
        self.send(format!(
            "GET {target} HTTP/1.1\r\nHost: test\r\n{lines}\r\n"
        ));
        self.response()
    }

    pub(crate) fn get(&mut self, target: &str) -> Response {
        self.get_with(target, "")
    }

    pub(crate) fn head(&mut self, target: &str) -> Response {
        self.send(format!("HEAD {target} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.response_head()
    }

    pub(crate) fn response(&mut self) -> Response {
        let mut response = self.response_head();
        if response.status == 100 || response.status == 304 {
            return response;
        }
        let length = response
            .header("content-length")
            .expect("a length")
            .parse()
            .unwrap();
        response.body.resize(length, 0);
        self.stream.read_exact(&mut response.body).unwrap();
        response
    }

    /// Everything up to the body.
    pub(crate) fn response_head(&mut self) -> Response {
        let line = self.line();
        let (version, rest) = line
            .split_once(' ')
            .unwrap_or_else(|| panic!("no status line: {line:?}"));
        assert_eq!(version, "HTTP/1.1");
        let status = rest[..3].parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let line = self.line();
            if line.is_empty() {
                break;
            }
            let (name, value) = line
                .split_once(": ")
                .unwrap_or_else(|| panic!("no header: {line:?}"));
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Response {
            status,
            headers,
            body: Vec::new(),
        }
    }

    pub(crate) fn read_exact(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).unwrap();
        bytes
    }

    /// The server has closed the connection and sent nothing before.
    pub(crate) fn expect_end(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => assert_eq!(String::from_utf8_lossy(&rest), ""),
            Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        let line = line
            .strip_suffix("\r\n")
            .unwrap_or_else(|| panic!("cut off: {line:?}"));
        line.to_owned()
    }
}
