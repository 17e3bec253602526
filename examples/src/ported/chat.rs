//! A chat with rooms.
//!
//! | line | answer | to the others of the room |
//! |---|---|---|
//! | `NICK name` | `OK` | |
//! | `JOIN room` | `OK` and how many there are | `JOINED room name` |
//! | `SAY room text` | `OK` | `SAID room name text` |
//! | `LEAVE room` | `OK` | `LEFT room name` |
//! | `WHO room` | `HERE room` and the names | |
//! | `QUIT` | `BYE` | `LEFT` of all rooms |
//!
//! Anything else gets `ERR` and why. Each client has two threads: one reads, one writes what is in its channel. Who does
//! not read until the channel is full is shut out.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::Shutdown;

use super::lines::{self, Input, Output, split, word};
use super::rt::net::{TcpListener, TcpStream};
use super::rt::sync::mpsc::{Receiver, SyncSender, sync_channel};
use super::rt::sync::{Arc, Mutex};
use super::rt::thread;

/// Lines that wait for a client to read them.
const UNREAD: usize = 256;

type Rooms = HashMap<String, BTreeMap<u64, Member>>;

#[derive(Default)]
struct Chat {
    rooms: Mutex<Rooms>,
}

/// Somebody in a room.
struct Member {
    name: String,
    lines: SyncSender<Arc<str>>,
    stream: Arc<TcpStream>,
}

struct Client {
    id: u64,
    name: Option<String>,
    rooms: Vec<String>,
    lines: SyncSender<Arc<str>>,
    stream: Arc<TcpStream>,
}

/// Serves for ever.
pub(crate) fn serve(listener: &TcpListener) -> ! {
    let chat = Arc::new(Chat::default());
    lines::accept(listener, move |id, stream| {
        // A connection that breaks is no error of the server's.
        let _ = chat.client(id, stream);
    })
}

impl Chat {
    fn client(&self, id: u64, stream: TcpStream) -> io::Result<()> {
        let (lines, unread) = sync_channel(UNREAD);
        let stream = Arc::new(stream);
        let writer = thread::Builder::new().name(format!("client {id}, writer"));
        let writer = writer.spawn({
            let stream = Arc::clone(&stream);
            move || write(Output::new(&stream), &unread)
        })?;
        let mut client = Client {
            id,
            name: None,
            rooms: Vec::new(),
            lines,
            stream: Arc::clone(&stream),
        };
        let ended = self.obey(&mut client, &mut Input::new(&stream));
        for room in std::mem::take(&mut client.rooms) {
            self.leave(&client, &room);
        }
        // With its last sender the channel ends, and with it the writer.
        drop(client);
        let _ = writer.join();
        ended
    }

    fn obey(&self, client: &mut Client, input: &mut Input<'_>) -> io::Result<()> {
        let mut line = String::new();
        while let Some(line) = input.line(&mut line)? {
            let (command, rest) = split(line);
            let answer = match command {
                "NICK" => client.rename(rest),
                "JOIN" => self.join(client, rest),
                "SAY" => self.say(client, rest),
                "LEAVE" if client.forget(rest) => {
                    self.leave(client, rest);
                    Ok("OK".to_owned())
                }
                "LEAVE" => Err("you are not there"),
                "WHO" => Ok(self.who(rest)),
                "QUIT" => {
                    let _ = client.lines.send("BYE".into());
                    return Ok(());
                }
                _ => Err("NICK, JOIN, SAY, LEAVE, WHO or QUIT"),
            };
            let answer = answer.unwrap_or_else(|why| format!("ERR {why}"));
            // Waits if there is no room: whoever asks more than it reads is kept waiting.
            if client.lines.send(answer.into()).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    fn join(&self, client: &mut Client, room: &str) -> Result<String, &'static str> {
        let name = client.name.clone().ok_or("first say who you are: NICK")?;
        let room = word(room).ok_or("a room is one word")?;
        if client.rooms.iter().any(|joined| joined == room) {
            return Err("you are there");
        }
        client.rooms.push(room.to_owned());
        let mut rooms = self.rooms.lock().unwrap();
        let members = rooms.entry(room.to_owned()).or_default();
        tell(members, client.id, &format!("JOINED {room} {name}"));
        let member = Member {
            name,
            lines: client.lines.clone(),
            stream: Arc::clone(&client.stream),
        };
        members.insert(client.id, member);
        Ok(format!("OK {}", members.len()))
    }

    fn say(&self, client: &Client, rest: &str) -> Result<String, &'static str> {
        let (room, text) = split(rest);
        let rooms = self.rooms.lock().unwrap();
        let members = rooms.get(room).ok_or("you are not there")?;
        let me = members.get(&client.id).ok_or("you are not there")?;
        tell(
            members,
            client.id,
            &format!("SAID {room} {} {text}", me.name),
        );
        Ok("OK".to_owned())
    }

    fn leave(&self, client: &Client, room: &str) {
        let mut rooms = self.rooms.lock().unwrap();
        let Some(members) = rooms.get_mut(room) else {
            return;
        };
        if let Some(me) = members.remove(&client.id) {
            tell(members, client.id, &format!("LEFT {room} {}", me.name));
        }
        if members.is_empty() {
            rooms.remove(room);
        }
    }

    fn who(&self, room: &str) -> String {
        let rooms = self.rooms.lock().unwrap();
        let mut answer = format!("HERE {room}");
        for member in rooms.get(room).into_iter().flat_map(BTreeMap::values) {
            answer.push(' ');
            answer.push_str(&member.name);
        }
        answer
    }
}

impl Client {
    fn rename(&mut self, name: &str) -> Result<String, &'static str> {
        if !self.rooms.is_empty() {
            return Err("first leave your rooms");
        }
        self.name = Some(word(name).ok_or("a name is one word")?.to_owned());
        Ok("OK".to_owned())
    }

    fn forget(&mut self, room: &str) -> bool {
        let before = self.rooms.len();
        self.rooms.retain(|joined| joined != room);
        self.rooms.len() < before
    }
}

/// Says `line` to all members but one. Nobody is waited for: who is too slow is shut out.
fn tell(members: &BTreeMap<u64, Member>, but: u64, line: &str) {
    let line: Arc<str> = line.into();
    for (_, member) in members.iter().filter(|(id, _)| **id != but) {
        if member.lines.try_send(Arc::clone(&line)).is_err() {
            let _ = member.stream.shutdown(Shutdown::Both);
        }
    }
}

/// Writes what comes, and flushes when nothing more is there.
fn write(mut output: Output<'_>, unread: &Receiver<Arc<str>>) {
    let mut write = || -> io::Result<()> {
        while let Ok(line) = unread.recv() {
            output.line(&line)?;
            for line in unread.try_iter() {
                output.line(&line)?;
            }
            output.flush()?;
        }
        Ok(())
    };
    // The reader sees the connection's end too.
    let _ = write();
}
