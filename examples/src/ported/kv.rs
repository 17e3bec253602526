//! A key-value store.
//!
//! | line | answer |
//! |---|---|
//! | `SET key value` | `OK` |
//! | `GET key` | `VALUE value` or `NONE` |
//! | `DEL key` | `OK` or `NONE` |
//! | `INCR key` | `VALUE n`, one more than it was, or than nothing |
//! | `WAIT key ms` | `VALUE value` once there is one, or `NONE` after so many milliseconds |
//! | `KEYS prefix` | `KEYS` and the keys that begin so, in order |
//! | `QUIT` | `BYE` |
//!
//! Anything else gets `ERR` and why. Lines that come together are answered together.

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use super::lines::{self, Input, Output, split, word};
use super::rt::net::{TcpListener, TcpStream};
use super::rt::sync::{Arc, Condvar, Mutex, RwLock};

/// What `WAIT` waits at the most.
const LONGEST: Duration = Duration::from_secs(3600);

#[derive(Default)]
struct Store {
    values: RwLock<BTreeMap<String, Arc<str>>>,
    /// How many waits there are. Held from the look at `values` to the wait.
    waits: Mutex<usize>,
    set: Condvar,
}

/// Serves for ever.
pub(crate) fn serve(listener: &TcpListener) -> ! {
    let store = Arc::new(Store::default());
    lines::accept(listener, move |_, stream| {
        // A connection that breaks is no error of the server's.
        let _ = store.client(&stream);
    })
}

impl Store {
    fn client(&self, stream: &TcpStream) -> io::Result<()> {
        let mut output = Output::new(stream);
        let mut input = Input::new(stream);
        let mut line = String::new();
        while let Some(line) = input.line(&mut line)? {
            let (command, rest) = split(line);
            if command == "QUIT" {
                output.line("BYE")?;
                break;
            }
            if command == "WAIT" {
                output.flush()?;
            }
            match self.answer(command, rest) {
                Ok(answer) => output.line(&answer)?,
                Err(why) => output.line(&format!("ERR {why}"))?,
            }
            if !input.has_more() {
                output.flush()?;
            }
        }
        output.flush()
    }

    fn answer(&self, command: &str, rest: &str) -> Result<String, &'static str> {
        let (key, argument) = split(rest);
        if command == "KEYS" {
            return Ok(self.keys(key));
        }
        let known = matches!(command, "SET" | "GET" | "DEL" | "INCR" | "WAIT");
        if !known {
            return Err("SET, GET, DEL, INCR, WAIT, KEYS or QUIT");
        }
        let key = word(key).ok_or("which key?")?;
        match command {
            "SET" => {
                self.set(key, argument.into());
                Ok("OK".to_owned())
            }
            "GET" => Ok(found(self.get(key))),
            "DEL" => Ok(match self.values.write().unwrap().remove(key) {
                Some(_) => "OK".to_owned(),
                None => found(None),
            }),
            "INCR" => self.increment(key),
            _ => {
                let most = argument.parse().map_err(|_| "how many milliseconds?")?;
                Ok(found(self.wait(key, Duration::from_millis(most))))
            }
        }
    }

    fn get(&self, key: &str) -> Option<Arc<str>> {
        self.values.read().unwrap().get(key).cloned()
    }

    fn set(&self, key: &str, value: Arc<str>) {
        self.values.write().unwrap().insert(key.to_owned(), value);
        self.tell();
    }

    fn increment(&self, key: &str) -> Result<String, &'static str> {
        let mut values = self.values.write().unwrap();
        let before: i64 = match values.get(key) {
            Some(value) => value.parse().map_err(|_| "the value is no number")?,
            None => 0,
        };
        let after = before.checked_add(1).ok_or("the value is too large")?;
        values.insert(key.to_owned(), after.to_string().into());
        drop(values);
        self.tell();
        Ok(format!("VALUE {after}"))
    }

    /// There is a value that was not there before.
    fn tell(&self) {
        if *self.waits.lock().unwrap() > 0 {
            self.set.notify_all();
        }
    }

    fn wait(&self, key: &str, most: Duration) -> Option<Arc<str>> {
        let mut value = None;
        let mut waits = self.waits.lock().unwrap();
        *waits += 1;
        let (mut waits, _) = self
            .set
            .wait_timeout_while(waits, most.min(LONGEST), |_| {
                value = self.get(key);
                value.is_none()
            })
            .unwrap();
        *waits -= 1;
        value
    }

    fn keys(&self, prefix: &str) -> String {
        let values = self.values.read().unwrap();
        let from = values.range(prefix.to_owned()..).map(|(key, _)| key);
        let mut answer = "KEYS".to_owned();
        for key in from.take_while(|key| key.starts_with(prefix)) {
            answer.push(' ');
            answer.push_str(key);
        }
        answer
    }
}

fn found(value: Option<Arc<str>>) -> String {
    match value {
        Some(value) => format!("VALUE {value}"),
        None => "NONE".to_owned(),
    }
}
