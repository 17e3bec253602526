//! Pipes, and files through the blocking pool: the bytes that come back are those that went in.

use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sisal::fs::{self, File};
use sisal::timeout;

use crate::ledger::Me;
use crate::operations::{pause, spawn};
use crate::random::Random;
use crate::world::World;

fn bytes(r: &mut Random, most: u64) -> Vec<u8> {
    (0..r.below(most)).map(|_| r.next() as u8).collect()
}

/// So large that there are not too many.
fn piece(len: usize, r: &mut Random) -> usize {
    1 + len / 50 + r.below(9000) as usize
}

/// A child writes, the caller reads, with waits that are cut short.
pub(crate) fn pipe(me: &Me, world: &Arc<World>, r: &mut Random) {
    let pipe = sisal::io::pipe();
    let (mut reader, mut writer) = pipe.expect("descriptors are left");
    // Now and then more than a pipe holds.
    let sent = match r.one_in(4) {
        true => bytes(r, 200_000),
        false => bytes(r, 5000),
    };
    let sent = Arc::new(sent);
    let cancelled = r.one_in(4);
    let child = {
        let (sent, mut r) = (Arc::clone(&sent), r.fork());
        spawn(world, false, move |me| {
            for piece in sent.chunks(piece(sent.len(), &mut r)) {
                // The reader may have unwound.
                if me.op("pipe write", || writer.write_all(piece)).is_err() {
                    return;
                }
                if r.one_in(4) {
                    pause(me, &mut r);
                }
            }
        })
    };
    let (mut got, mut buffer) = (Vec::new(), vec![0; piece(sent.len(), r)]);
    let mut cancel = cancelled.then(|| r.below(4));
    loop {
        if cancel == Some(0) {
            child.cancel(world);
        }
        cancel = cancel.and_then(|after| after.checked_sub(1));
        let limit = r.pause();
        let read = match r.one_in(3) {
            true => match me.op("pipe read in a timeout", || {
                timeout(limit, || reader.read(&mut buffer))
            }) {
                Ok(read) => read,
                Err(_) => continue,
            },
            false => me.op("pipe read", || reader.read(&mut buffer)),
        };
        match read.expect("a pipe of our own") {
            0 => break,
            n => got.extend_from_slice(&buffer[..n]),
        }
    }
    let whole = child.join(me, world);
    let right = sent.starts_with(&got) && (!whole || got.len() == sent.len());
    world.ledger.check(right, || {
        format!("{} bytes of {} came, whole {whole}", got.len(), sent.len())
    });
}

/// Where the files are.
fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("sisal-soak-{}", std::process::id()))
}

/// At the begin and the end of the process.
pub(crate) fn make_folder() {
    std::fs::create_dir_all(folder()).expect("there is room for files");
}

pub(crate) fn remove_folder() {
    // Fibers that unwound left some files.
    let _ = std::fs::remove_dir_all(folder());
}

/// A file that is written, read and removed.
pub(crate) fn file(me: &Me, world: &Arc<World>, r: &mut Random) {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = folder().join(number.to_string());
    if let Err(error) = written_and_read(me, world, r, &path) {
        let closing = world.is_closing();
        world.ledger.check(closing, || format!("a file: {error}"));
    }
}

fn written_and_read(me: &Me, world: &World, r: &mut Random, path: &Path) -> io::Result<()> {
    let ledger = &world.ledger;
    let text = bytes(r, 20_000);
    if r.one_in(2) {
        me.op("fs::write", || fs::write(path, &text))?;
        let got = me.op("fs::read", || fs::read(path))?;
        ledger.check(got == text, || "another text is in the file".into());
        return me.op("fs::remove_file", || fs::remove_file(path));
    }
    let mut file = me.op("open", || {
        let mut options = File::options();
        options.read(true).write(true).create_new(true).open(path)
    })?;
    // It stays until it is closed, and is left nowhere.
    me.op("fs::remove_file", || fs::remove_file(path))?;
    let mut done = 0;
    for piece in text.chunks(piece(text.len(), r)) {
        let limit = r.pause();
        match me.op("write in a timeout", || {
            timeout(limit, || file.write_all(piece))
        }) {
            Ok(wrote) => wrote?,
            // One that has begun is waited for: this one has not.
            Err(_) => break,
        }
        done += piece.len();
    }
    let text = &text[..done];
    let end = me.op("seek", || file.seek(SeekFrom::End(0)))?;
    ledger.check(end == done as u64, || format!("{end} bytes of {done}"));
    let from = r.below(text.len() as u64 + 1);
    me.op("seek", || file.seek(SeekFrom::Start(from)))?;
    let mut got = Vec::new();
    me.op("read_to_end", || file.read_to_end(&mut got))?;
    ledger.check(got == text[from as usize..], || {
        "another text is in the file".into()
    });
    Ok(())
}
