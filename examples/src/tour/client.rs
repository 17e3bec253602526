//! An async HTTP client on tokio, which checks every byte it gets.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::samples::Sample;

/// One keep-alive connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: TcpStream,
    input: Vec<u8>,
}

impl Client {
    pub(super) async fn connect(addr: SocketAddr) -> Result<Client, String> {
        let stream = TcpStream::connect(addr)
            .await
            .map_err(|error| format!("cannot connect: {error}"))?;
        stream
            .set_nodelay(true)
            .map_err(|error| format!("cannot set an option: {error}"))?;
        Ok(Client {
            stream,
            input: Vec::new(),
        })
    }

    /// One request, from the first byte sent to the last byte checked.
    pub(super) async fn fetch(&mut self, sample: &Sample) -> Result<Duration, String> {
        let begun = Instant::now();
        let request = format!("GET {} HTTP/1.1\r\nHost: localhost\r\n\r\n", sample.target);
        self.stream
            .write_all(request.as_bytes())
            .await
            .map_err(|error| format!("cannot send: {error}"))?;
        let head = loop {
            match parse(&self.input)? {
                Some(head) => break head,
                None => self.fill().await?,
            }
        };
        let wanted = sample.content.len();
        if (head.status, head.length) != (200, wanted) {
            return Err(format!(
                "{}: status {} and {} bytes instead of 200 and {wanted}",
                sample.target, head.status, head.length
            ));
        }
        let whole = head.len + wanted;
        while self.input.len() < whole {
            self.fill().await?;
        }
        if self.input[head.len..whole] != sample.content {
            return Err(format!("{}: the body differs from the file", sample.target));
        }
        self.input.drain(..whole);
        if !self.input.is_empty() {
            return Err(format!("{}: more bytes than asked for", sample.target));
        }
        Ok(begun.elapsed())
    }

    async fn fill(&mut self) -> Result<(), String> {
        match self.stream.read_buf(&mut self.input).await {
            Ok(0) => Err("the server closed the connection".to_owned()),
            Ok(_) => Ok(()),
            Err(error) => Err(format!("cannot receive: {error}")),
        }
    }
}

struct ResponseHead {
    status: u16,
    length: usize,
    len: usize,
}

fn parse(input: &[u8]) -> Result<Option<ResponseHead>, String> {
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    let len = match response.parse(input) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(error) => return Err(format!("malformed response: {error}")),
    };
    let length = response
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| str::from_utf8(header.value).ok()?.parse().ok())
        .ok_or("a response without a length")?;
    Ok(Some(ResponseHead {
        status: response.code.unwrap_or(0),
        length,
        len,
    }))
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use super::*;

    /// What a client makes of an answer to a request for a file with `hello` in it.
    fn fetch(answer: &'static str) -> Result<(), String> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let server = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 100];
            assert!(stream.read(&mut request).unwrap() > 0);
            stream.write_all(answer.as_bytes()).unwrap();
        });
        let sample = Sample {
            target: "/hello.txt".to_owned(),
            content: b"hello".to_vec(),
        };
        let tokio = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let result = tokio.block_on(async {
            let mut client = Client::connect(addr).await?;
            client.fetch(&sample).await.map(drop)
        });
        server.join().unwrap();
        result
    }

    #[test]
    fn only_the_right_answer_counts() {
        assert_eq!(
            fetch("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
            Ok(())
        );
        for (wrong, word) in [
            ("HTTP/1.1 404 No\r\nContent-Length: 5\r\n\r\nhello", "404"),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhellO",
                "differs",
            ),
            (
                "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nhell",
                "4 bytes",
            ),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello!", "more"),
            ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhell", "closed"),
            ("HTTP/1.1 200 OK\r\n\r\nhello", "without a length"),
            ("hello", "malformed"),
            ("", "closed"),
        ] {
            let error = fetch(wrong).unwrap_err();
            assert!(error.contains(word), "{wrong:?} gave {error}");
        }
    }
}
