//! The servers that are compiled twice say the same on threads and on fibers.

mod common;

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

struct Server {
    child: Child,
    addr: String,
}

impl Server {
    fn start(command: &str, on: &str) -> Server {
        let mut server = Command::new(env!("CARGO_BIN_EXE_sisal-tour"));
        server.args([command, "--addr", "127.0.0.1:0"]);
        if on == "threads" {
            server.arg("--threads");
        }
        let mut child = server.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("listening on ").expect(&line);
        let addr = addr.to_owned();
        Server { child, addr }
    }

    fn client(&self) -> Client {
        let stream = TcpStream::connect(&self.addr).unwrap();
        stream.set_read_timeout(Some(common::PATIENCE)).unwrap();
        Client(BufReader::new(stream))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn send(&mut self, lines: &str) {
        self.0.get_mut().write_all(lines.as_bytes()).unwrap();
    }

    /// The next line; empty at the end of the connection.
    fn line(&mut self) -> String {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    #[track_caller]
    fn says(&mut self, line: &str, answer: &str) {
        self.send(&format!("{line}\n"));
        assert_eq!(self.line(), answer, "{line}");
    }

    #[track_caller]
    fn hears(&mut self, line: &str) {
        assert_eq!(self.line(), line);
    }
}

/// The same conversation with each of the two.
fn on_both(command: &str, conversation: impl Fn(&Server)) {
    for on in ["threads", "fibers"] {
        println!("{command} on {on}");
        conversation(&Server::start(command, on));
    }
}

#[test]
fn a_chat() {
    on_both("chat", |server| {
        let [mut ann, mut bob, mut cat] = [(); 3].map(|()| server.client());
        ann.says("JOIN garden", "ERR first say who you are: NICK");
        ann.says("NICK", "ERR a name is one word");
        ann.says("NICK ann", "OK");
        ann.says("JOIN garden", "OK 1");
        ann.says("JOIN garden", "ERR you are there");
        bob.says("NICK bob", "OK");
        bob.says("JOIN garden", "OK 2");
        ann.hears("JOINED garden bob");
        bob.says("NICK rob", "ERR first leave your rooms");
        cat.says("NICK cat", "OK");
        cat.says("SAY garden hello", "ERR you are not there");
        cat.says("LEAVE garden", "ERR you are not there");
        cat.says("JOIN kitchen", "OK 1");
        cat.says("JOIN garden", "OK 3");
        for other in [&mut ann, &mut bob] {
            other.hears("JOINED garden cat");
        }
        bob.says("SAY garden what a day, is it not?", "OK");
        for other in [&mut ann, &mut cat] {
            other.hears("SAID garden bob what a day, is it not?");
        }
        cat.says("WHO garden", "HERE garden ann bob cat");
        cat.says("WHO nowhere", "HERE nowhere");
        cat.says("DANCE", "ERR NICK, JOIN, SAY, LEAVE, WHO or QUIT");
        bob.says("LEAVE garden", "OK");
        for other in [&mut ann, &mut cat] {
            other.hears("LEFT garden bob");
        }
        // One leaves in good order, one does not.
        cat.says("QUIT", "BYE");
        cat.hears("");
        ann.hears("LEFT garden cat");
        bob.says("JOIN garden", "OK 2");
        ann.hears("JOINED garden bob");
        drop(bob);
        ann.hears("LEFT garden bob");
        ann.says("WHO garden", "HERE garden ann");
        // More at once than fits the channel: all are answered, in order.
        ann.send(&"WHO garden\n".repeat(1000));
        (0..1000).for_each(|_| ann.hears("HERE garden ann"));
        // What is no line ends the connection. (It may be by a reset: there was more than the server read.)
        ann.send(&"x".repeat(5000));
        assert!(
            ann.0
                .read_line(&mut String::new())
                .map_or(true, |read| read == 0)
        );
        server.client().says("WHO garden", "HERE garden");
    });
}

/// Who does not read is shut out, and nobody waits for that one.
#[test]
fn a_chat_with_somebody_who_does_not_listen() {
    on_both("chat", |server| {
        let [mut deaf, mut talks] = [(); 2].map(|()| server.client());
        deaf.says("NICK deaf", "OK");
        deaf.says("JOIN hall", "OK 1");
        talks.says("NICK talks", "OK");
        talks.says("JOIN hall", "OK 2");
        let line = format!("SAY hall {}\n", "la ".repeat(1000));
        let (mut said, mut shut_out) = (0, false);
        while !shut_out {
            talks.send(&line);
            said += 1;
            // That the other has left may come before the answer or after it.
            while talks.line() != "OK" {
                shut_out = true;
            }
        }
        talks.says("WHO hall", "HERE hall talks");
        assert!(said > 256, "it may be slow: {said}");
    });
}

#[test]
fn a_store() {
    on_both("kv", |server| {
        let [mut a, mut b] = [(); 2].map(|()| server.client());
        a.says("GET x", "NONE");
        a.says("SET x one two", "OK");
        b.says("GET x", "VALUE one two");
        b.says("INCR x", "ERR the value is no number");
        b.says("INCR n", "VALUE 1");
        a.says("INCR n", "VALUE 2");
        a.says("SET n 9223372036854775807", "OK");
        a.says("INCR n", "ERR the value is too large");
        a.says("SET xy", "OK");
        a.says("KEYS x", "KEYS x xy");
        a.says("KEYS", "KEYS n x xy");
        a.says("DEL x", "OK");
        a.says("DEL x", "NONE");
        a.says("GET", "ERR which key?");
        a.says("WAIT x soon", "ERR how many milliseconds?");
        a.says("PUT x", "ERR SET, GET, DEL, INCR, WAIT, KEYS or QUIT");
        a.says("WAIT n 0", "VALUE 9223372036854775807");
        a.says("WAIT x 1", "NONE");
        // Several that come together, and their answers.
        a.send("SET p 1\r\nINCR p\r\nGET p\r\n");
        ["OK", "VALUE 2", "VALUE 2"]
            .iter()
            .for_each(|line| a.hears(line));
        a.says("QUIT", "BYE");
        a.hears("");
    });
}

/// Many wait for one key, on one lock.
#[test]
fn a_store_that_is_waited_for() {
    on_both("kv", |server| {
        let mut waiting: Vec<_> = (0..100).map(|_| server.client()).collect();
        for client in &mut waiting {
            client.send("WAIT go 3600000\n");
        }
        let mut other = server.client();
        other.says("SET stop 1", "OK");
        other.says("SET go now", "OK");
        for client in &mut waiting {
            client.hears("VALUE now");
        }
        // A counter that all of them count up.
        for client in &mut waiting {
            client.send(&"INCR n\n".repeat(20));
        }
        for client in &mut waiting {
            (0..20).for_each(|_| assert!(client.line().starts_with("VALUE ")));
        }
        other.says("GET n", "VALUE 2000");
    });
}

/// The table of what clients cost, small.
#[test]
fn the_table() {
    let output = Command::new(env!("CARGO_BIN_EXE_sisal-tour"))
        .args(["twice", "--clients", "20"])
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    let rows: Vec<Vec<&str>> = text
        .lines()
        .filter(|line| line.contains(" threads ") || line.contains(" fibers "))
        .map(|line| line.split('|').map(str::trim).collect())
        .filter(|row: &Vec<_>| row[1] == "chat" || row[1] == "kv")
        .collect();
    assert_eq!(rows.len(), 4, "{text}");
    let threads = |row: usize| rows[row][7].parse::<usize>().unwrap();
    // Two of each client in the chat, one in the store.
    assert_eq!((threads(0), threads(2)), (41, 21), "{text}");
    assert!(threads(1) < 20 && threads(3) < 20, "{text}");
}
