//! Types outside of `net` and descriptors: the conversions that std's have, which `net_conversions.rs` tries for sockets.

mod common;

use std::io::{Read, Seek, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

use common::{runtime, watchdog};
use sisal::fs::File;
use sisal::io::{
    PipeReader, PipeWriter, Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock, pipe,
};
use sisal::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};

#[test]
fn who_has_which() {
    fn seen<T: AsFd + AsRawFd>() {}
    fn owned<T: AsFd + AsRawFd + IntoRawFd + From<OwnedFd> + Into<OwnedFd> + Into<Stdio>>() {}
    fn raw<T: FromRawFd>() {}
    seen::<Stdin>();
    seen::<StdinLock<'_>>();
    seen::<Stdout>();
    seen::<StdoutLock<'_>>();
    seen::<Stderr>();
    seen::<StderrLock<'_>>();
    owned::<File>();
    owned::<PipeReader>();
    owned::<PipeWriter>();
    owned::<ChildStdin>();
    owned::<ChildStdout>();
    owned::<ChildStderr>();
    raw::<File>();
    raw::<PipeReader>();
    raw::<PipeWriter>();
}

/// A pipe and a file through a raw descriptor and back, and their ends as a child's streams.
#[test]
fn there_and_back() {
    let _watchdog = watchdog(60);
    let test = || {
        let (reader, mut writer) = pipe().unwrap();
        let number = reader.as_raw_fd();
        assert_eq!(reader.as_fd().as_raw_fd(), number);
        let number_after = reader.into_raw_fd();
        assert_eq!(number_after, number);
        // SAFETY: it was just given up.
        let mut reader = unsafe { PipeReader::from_raw_fd(number) };
        writer.write_all(b"through").unwrap();
        let writer = PipeWriter::from(OwnedFd::from(writer));
        drop(writer);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "through");

        let path = std::env::temp_dir().join(format!("sisal-descriptors-{}", std::process::id()));
        let file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        let mut echo = Command::new("echo");
        echo.arg("to a file").stdout(file.try_clone().unwrap());
        assert!(echo.status().unwrap().success());
        let mut file = File::from(OwnedFd::from(file));
        file.rewind().unwrap();
        text.clear();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "to a file\n");
        sisal::fs::remove_file(path).unwrap();
    };
    test();
    runtime(1).run(test);
}

/// The process's own streams as a child's.
#[test]
fn standard_streams_as_a_childs() {
    const TEST: &str = "standard_streams_as_a_childs";
    if common::role().is_some() {
        runtime(1).run(|| {
            let mut echo = Command::new("sh");
            echo.args(["-c", "echo to-out; echo to-err >&2"]);
            // Crossed over.
            echo.stdout(sisal::io::stderr()).stderr(sisal::io::stdout());
            assert!(echo.status().unwrap().success());
        });
        return;
    }
    let output = common::in_child(TEST, "child", &[]);
    let [out, err] = [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
    assert!(out.contains("to-err") && !out.contains("to-out"), "{out}");
    assert!(err.contains("to-out") && !err.contains("to-err"), "{err}");
}
