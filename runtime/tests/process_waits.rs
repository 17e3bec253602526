//! `sisal::process`, `io::pipe` and the runtime: who goes on meanwhile, what a cancel meets, who reaps.

mod common;
mod common_io;

use std::io::{Read, Write};
use std::sync::Arc;
use std::time::Duration;

use common::{Count, panic_text, runtime, settle, until, watchdog};
use common_io::on_worker;
use sisal::process::{Child, Command, Stdio};
use sisal::{fiber, io, timeout};

/// A child that ends when its input does, with what it read as its status.
fn child() -> Child {
    let mut sh = Command::new("/bin/sh");
    sh.args(["-c", "read n; exit $n"])
        .stdin(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Whether the system has a record of a process: a zombie's too.
fn is_known(pid: u32) -> bool {
    std::path::Path::new(&format!("/proc/{pid}")).exists()
}

fn state(pid: u32) -> Option<char> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat[stat.rfind(')')? + 2..].chars().next()
}

/// Many are waited for on one worker, by no thread each.
#[test]
fn many_at_once() {
    let _watchdog = watchdog(120);
    let runtime = sisal::Runtime::builder()
        .workers(1)
        .max_blocking_threads(2)
        .build()
        .unwrap();
    runtime.run(|| {
        let begun = Count::new();
        let mut inputs = Vec::new();
        let waits: Vec<_> = (0..20_u8)
            .map(|n| {
                let (mut child, begun) = (child(), begun.clone());
                inputs.push((n, child.stdin.take().unwrap()));
                fiber::spawn(move || {
                    begun.add();
                    child.wait().unwrap().code()
                })
            })
            .collect();
        until(|| begun.get() == 20);
        // The pool is free: it has one thread for `unblock`.
        assert_eq!(sisal::unblock(|| 5), 5);
        assert!(waits.iter().all(|wait| !wait.is_finished()));
        for (n, mut input) in inputs {
            writeln!(input, "{n}").unwrap();
        }
        for (n, wait) in waits.into_iter().enumerate() {
            assert_eq!(wait.join().unwrap(), Some(n as i32));
        }
    });
}

/// Spawned here, waited for there: on a thread, in a fiber, in a fiber of another runtime, after the first has ended.
#[test]
fn they_go_from_one_to_another() {
    let _watchdog = watchdog(60);
    let finish = |mut child: Child, n: i32| {
        writeln!(child.stdin.as_mut().unwrap(), "{n}").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(n));
    };
    let (one, two) = (runtime(1), runtime(2));
    let from_thread = child();
    one.run(move || finish(from_thread, 1));
    let from_fiber = one.run(child);
    finish(from_fiber, 2);
    let from_one = one.run(|| {
        let mut child = child();
        assert!(timeout(Duration::from_millis(1), || child.stdin.is_none()).is_ok());
        assert!(child.try_wait().unwrap().is_none());
        child
    });
    drop(one);
    two.run(move || finish(from_one, 3));
}

/// A wait that is cut short leaves the child as it was.
#[test]
fn a_cut_wait_changes_nothing() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let mut child = child();
        let mut input = child.stdin.take().unwrap();
        assert!(timeout(Duration::from_millis(2), || child.wait()).is_err());
        assert!(child.try_wait().unwrap().is_none());
        writeln!(input, "9").unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(9));

        let (mut reader, mut writer) = io::pipe().unwrap();
        let mut buf = [0; 4];
        assert!(timeout(Duration::from_millis(2), || reader.read(&mut buf)).is_err());
        writer.write_all(b"all").unwrap();
        assert_eq!(reader.read(&mut buf).unwrap(), 3);
        // Full: what a write has not done, it has not taken.
        let written = std::cell::Cell::new(0);
        let ended: Result<(), _> = timeout(Duration::from_millis(20), || {
            loop {
                let n = writer.write(&[7; 1000]).unwrap();
                written.set(written.get() + n);
            }
        });
        assert!(ended.is_err() && written.get() > 0);
        drop(writer);
        let mut all = Vec::new();
        reader.read_to_end(&mut all).unwrap();
        assert_eq!(all.len(), written.get());
    });
}

/// A dropped child goes on, and is reaped when it ends, whatever became of its fiber.
#[test]
fn zombies_are_reaped() {
    let _watchdog = watchdog(60);
    let runtime = runtime(1);
    let (pid, mut input) = runtime.run(|| {
        let mut child = child();
        (child.id(), child.stdin.take().unwrap())
    });
    assert!(is_known(pid));
    writeln!(input, "0").unwrap();
    until(|| !is_known(pid));

    // By an unwind, in the middle of `status`.
    let begun = Count::new();
    let theirs = begun.clone();
    let (mut reader, writer) = io::pipe().unwrap();
    let waits = runtime.spawn(move || {
        let mut sh = Command::new("/bin/sh");
        sh.args(["-c", "echo $$; exec sleep 1000"]).stdout(writer);
        theirs.add();
        sh.status()
    });
    let mut line = Vec::new();
    while line.last() != Some(&b'\n') {
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        line.push(byte[0]);
    }
    let pid: u32 = String::from_utf8(line).unwrap().trim().parse().unwrap();
    until(|| begun.get() == 1);
    waits.cancel();
    assert!(waits.join().unwrap_err().is_cancelled());
    assert!(is_known(pid), "it goes on");
    let kill = || {
        Command::new("kill")
            .args(["-9", &pid.to_string()])
            .status()
            .unwrap()
    };
    assert!(runtime.run(kill).success());
    until(|| !is_known(pid));

    // On a worker's own stack too.
    let pid = runtime.run(|| {
        let child = child();
        let pid = child.id();
        sisal::block_on(async move { tokio::spawn(async move { drop(child) }).await.unwrap() });
        pid
    });
    until(|| !is_known(pid));

    // One that has ended already is reaped by the drop.
    let pid = runtime.run(|| {
        let mut child = child();
        drop(child.stdin.take());
        until(|| state(child.id()) == Some('Z'));
        let pid = child.id();
        drop(child);
        assert!(!is_known(pid));
        pid
    });
    assert!(!is_known(pid));
}

/// Several fibers may wait for one pipe, on one worker and on several.
#[test]
fn fibers_share_a_pipe() {
    let _watchdog = watchdog(60);
    for workers in [1, 4] {
        runtime(workers).run(|| {
            let (reader, writer) = io::pipe().unwrap();
            let (reader, begun) = (Arc::new(reader), Count::new());
            let reads: Vec<_> = (0..8)
                .map(|_| {
                    let (reader, begun) = (Arc::clone(&reader), begun.clone());
                    fiber::spawn(move || {
                        begun.add();
                        let (mut bytes, mut byte) = (Vec::new(), [0]);
                        while (&*reader).read(&mut byte).unwrap() == 1 {
                            bytes.push(byte[0]);
                        }
                        bytes
                    })
                })
                .collect();
            until(|| begun.get() == 8);
            settle();
            let all: Vec<u8> = (0..200).collect();
            for piece in all.chunks(3) {
                (&writer).write_all(piece).unwrap();
                fiber::yield_now();
            }
            drop(writer);
            let mut got: Vec<u8> = reads
                .into_iter()
                .flat_map(|read| read.join().unwrap())
                .collect();
            got.sort_unstable();
            assert_eq!(got, all);
        });
    }
}

/// A pipe that is always ready does not keep its worker, and its loop can be ended.
#[test]
fn what_is_ready_lets_others_run() {
    let _watchdog = watchdog(60);
    runtime(1).run(|| {
        let (mut reader, mut writer) = io::pipe().unwrap();
        let rounds = Count::new();
        let theirs = rounds.clone();
        let loops = fiber::spawn(move || {
            loop {
                writer.write_all(b"x").unwrap();
                reader.read_exact(&mut [0]).unwrap();
                theirs.add();
            }
        });
        until(|| rounds.get() > 300);
        loops.cancel();
        let ended: Result<(), _> = loops.join();
        assert!(ended.unwrap_err().is_cancelled());
    });
}

#[test]
fn on_a_workers_own_stack_they_panic() {
    let _watchdog = watchdog(60);
    let mut child = child();
    let other = self::child();
    on_worker(move || {
        let mut stdin = child.stdin.take().unwrap();
        let texts = [
            panic_text(|| Command::new("true").spawn()),
            panic_text(|| Command::new("true").output()),
            panic_text(|| Command::new("true").status()),
            panic_text(|| child.wait()),
            panic_text(|| other.wait_with_output()),
            panic_text(|| stdin.write(b"x")),
        ];
        for text in texts {
            assert!(
                text.contains("`sisal::process`") && text.contains("`tokio::process`"),
                "{text}"
            );
        }
        let (mut reader, mut writer) = io::pipe().unwrap();
        for text in [
            panic_text(|| reader.read(&mut [0])),
            panic_text(|| writer.write(b"x")),
        ] {
            assert!(
                text.contains("`sisal::io::pipe`") && text.contains("`tokio::net::unix::pipe`"),
                "{text}"
            );
        }
        // What does not wait works.
        assert!(child.try_wait().unwrap().is_none());
        child.kill().unwrap();
        while child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
    });
}
