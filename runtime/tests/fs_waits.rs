//! `sisal::fs` and the runtime: who goes on meanwhile, what a cancel meets, what a worker's own stack may not do.

mod common;
mod common_io;

use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use common::{Count, is_closed, panic_text, runtime, settle, until, watchdog};
use common_io::{Folder, on_worker};
use sisal::fs::{self, DirBuilder, File, OpenOptions};
use sisal::{fiber, timeout};

/// A file that blocks who reads it until there is something, and the other end.
fn blocking_file() -> (File, std::io::PipeWriter) {
    let (reader, writer) = std::io::pipe().unwrap();
    (File::from(OwnedFd::from(reader)), writer)
}

#[test]
fn the_worker_goes_on_meanwhile() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    runtime.run(|| {
        let (file, mut writer) = blocking_file();
        let (file, count) = (Arc::new(file), Count::new());
        let reads: Vec<_> = (0..4)
            .map(|_| {
                let (file, count) = (Arc::clone(&file), count.clone());
                fiber::spawn(move || {
                    let mut byte = [0];
                    count.add();
                    (&*file).read_exact(&mut byte).unwrap();
                    byte[0]
                })
            })
            .collect();
        until(|| count.get() == 4);
        settle();
        assert!(reads.iter().all(|read| !read.is_finished()));
        writer.write_all(&[1, 2, 3, 4]).unwrap();
        let mut bytes: Vec<u8> = reads.into_iter().map(|read| read.join().unwrap()).collect();
        bytes.sort_unstable();
        assert_eq!(bytes, [1, 2, 3, 4]);
    });
}

/// The read that a cancel meets is waited for, into the fiber's own buffer, and gives its bytes; the next one unwinds,
/// and takes nothing.
#[test]
fn a_cancelled_call_completes() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    for by_timeout in [false, true] {
        let (file, mut writer) = blocking_file();
        let file = Arc::new(file);
        let (got, begun, dropped) = (Arc::new(Mutex::new(Vec::new())), Count::new(), Count::new());
        let reads = {
            let (file, got, begun, held) = (
                Arc::clone(&file),
                Arc::clone(&got),
                begun.clone(),
                dropped.on_drop(),
            );
            let read = move || {
                let _held = held;
                let mut buf = [0; 16];
                loop {
                    begun.add();
                    let n = (&*file).read(&mut buf).unwrap();
                    got.lock().unwrap().extend_from_slice(&buf[..n]);
                }
            };
            runtime.spawn(move || match by_timeout {
                true => timeout(Duration::from_millis(1), read).is_err(),
                false => read(),
            })
        };
        until(|| begun.get() == 1);
        runtime.run(|| {
            if by_timeout {
                fiber::sleep(Duration::from_millis(5));
            } else {
                reads.cancel();
            }
            settle();
        });
        assert!(!reads.is_finished(), "the call has not ended");
        assert_eq!(dropped.get(), 0);
        writer.write_all(b"one").unwrap();
        match by_timeout {
            true => assert!(reads.join().unwrap()),
            false => assert!(reads.join().unwrap_err().is_cancelled()),
        }
        assert_eq!((begun.get(), dropped.get()), (2, 1));
        assert_eq!(*got.lock().unwrap(), b"one");
        writer.write_all(b"two").unwrap();
        let mut rest = [0; 3];
        (&*file).read_exact(&mut rest).unwrap();
        assert_eq!(&rest, b"two");
    }
}

/// Each call is a suspension point as it begins, or a loop of them would have no end.
#[test]
fn a_loop_of_calls_is_cut_short() {
    let _watchdog = watchdog(60);
    let folder = Folder::new("fs-loop");
    let path = folder.join("a");
    std::fs::write(&path, "a").unwrap();
    let runtime = runtime(1);
    let rounds = Count::new();
    let theirs = rounds.clone();
    let loops = runtime.spawn(move || {
        loop {
            fs::metadata(&path).unwrap();
            theirs.add();
        }
    });
    until(|| rounds.get() > 10);
    loops.cancel();
    let ended: Result<(), _> = loops.join();
    assert!(ended.unwrap_err().is_cancelled());
}

#[test]
fn a_shield_holds_it_off() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (go, begun) = (Count::new(), Count::new());
    let (theirs, started) = (go.clone(), begun.clone());
    let shielded = runtime.spawn(move || {
        started.add();
        fiber::shield(|| {
            until(|| theirs.get() > 0);
            fs::read_to_string("/proc/self/comm").unwrap().len()
        })
    });
    until(|| begun.get() > 0);
    shielded.cancel();
    go.add();
    assert!(shielded.join().unwrap() > 0);
}

/// Destructors that an unwind calls may use files: what a `BufWriter` holds is written.
#[test]
fn destructors_write() {
    let _watchdog = watchdog(60);
    let folder = Folder::new("fs-destructors");
    let path = folder.join("a");
    let runtime = runtime(1);
    let (begun, at) = (Count::new(), path.clone());
    let started = begun.clone();
    let writes = runtime.spawn(move || {
        let mut file = BufWriter::new(File::create(&at).unwrap());
        file.write_all(b"buffered").unwrap();
        started.add();
        fiber::park();
    });
    until(|| begun.get() > 0);
    writes.cancel();
    assert!(writes.join().unwrap_err().is_cancelled());
    assert_eq!(std::fs::read(&path).unwrap(), b"buffered");
}

/// The end of the runtime waits for the call, and no thread is left with it.
#[test]
fn a_shutdown_waits_for_the_call() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (file, mut writer) = blocking_file();
    let begun = Count::new();
    let started = begun.clone();
    let read = runtime.spawn(move || {
        started.add();
        let mut byte = [0];
        (&file).read_exact(&mut byte).unwrap();
        byte
    });
    until(|| begun.get() > 0);
    let handle = runtime.handle().clone();
    let ends = std::thread::spawn(move || runtime.shutdown_timeout(common::LONG));
    until(|| is_closed(&handle));
    assert!(!read.is_finished());
    writer.write_all(b"x").unwrap();
    // It ended without another wait, so its result counts.
    assert_eq!(read.join().unwrap(), *b"x");
    ends.join().unwrap().unwrap();
}

#[test]
fn on_a_workers_own_stack_it_panics() {
    let _watchdog = watchdog(60);
    let folder = Folder::new("fs-worker");
    let path = folder.join("a");
    std::fs::write(&path, "kept").unwrap();
    let (file, at) = (File::open(&path).unwrap(), path.clone());
    let entry = fs::read_dir(folder.path())
        .unwrap()
        .next()
        .unwrap()
        .unwrap();
    let mut entries = fs::read_dir(folder.path()).unwrap();
    let permissions = std::fs::metadata(&path).unwrap().permissions();
    on_worker(move || {
        let (to, buf) = (at.with_extension("to"), &mut [0; 4]);
        let texts = [
            panic_text(|| fs::read(&at)),
            panic_text(|| fs::read_to_string(&at)),
            panic_text(|| fs::write(&at, "lost")),
            panic_text(|| fs::metadata(&at)),
            panic_text(|| fs::symlink_metadata(&at)),
            panic_text(|| fs::set_permissions(&at, permissions.clone())),
            panic_text(|| fs::exists(&at)),
            panic_text(|| fs::create_dir(&to)),
            panic_text(|| fs::create_dir_all(&to)),
            panic_text(|| fs::remove_dir(&at)),
            panic_text(|| fs::remove_dir_all(&at)),
            panic_text(|| fs::remove_file(&at)),
            panic_text(|| fs::rename(&at, &to)),
            panic_text(|| fs::copy(&at, &to)),
            panic_text(|| fs::hard_link(&at, &to)),
            panic_text(|| fs::canonicalize(&at)),
            panic_text(|| fs::read_link(&at)),
            panic_text(|| fs::read_dir(&at)),
            panic_text(|| entry.metadata()),
            panic_text(|| DirBuilder::new().create(&to)),
            panic_text(|| OpenOptions::new().read(true).open(&at)),
            panic_text(|| File::open(&at)),
            panic_text(|| File::create(&at)),
            panic_text(|| File::create_new(&to)),
            panic_text(|| (&file).read(buf)),
            panic_text(|| (&file).write(b"lost")),
            panic_text(|| (&file).seek(SeekFrom::Start(0))),
            panic_text(|| file.read_at(buf, 0)),
            panic_text(|| file.metadata()),
            panic_text(|| file.set_len(0)),
            panic_text(|| file.sync_all()),
            panic_text(|| file.lock()),
        ];
        for text in texts {
            assert!(
                text.contains("`sisal::fs`") && text.contains("`tokio::fs`"),
                "{text}"
            );
        }
        // Nothing has begun; what does not wait works.
        assert!(!to.exists());
        assert_eq!(std::fs::read(&at).unwrap(), b"kept");
        assert_eq!(entry.file_name(), "a");
        assert!(entry.file_type().unwrap().is_file());
        assert!(entries.next().is_some(), "was read with the folder");
        assert!(panic_text(|| entries.next()).contains("`tokio::fs`"));
        file.try_clone().unwrap();
    });
}
