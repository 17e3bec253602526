//! The same code over `std::process` and over `sisal::process`, and over both pipes: the same results and errors.

mod common;
mod common_io;

use common::{runtime, watchdog};
use common_io::Folder;

macro_rules! over {
    ($name:ident, $process:path, $io:path, $unix:path) => {
        mod $name {
            use std::fmt::Debug;
            use std::io::{BufRead, BufReader, IoSlice, IoSliceMut, Read, Write};
            use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
            use std::path::Path;

            use process::{
                Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Output, Stdio,
            };
            use $io as io;
            use $process as process;
            use $unix::{CommandExt, ExitStatusExt, parent_id};

            fn of<T: Debug>(result: io::Result<T>) -> String {
                match result {
                    Ok(value) => format!("{value:?}"),
                    Err(error) => format!("{:?} {:?}", error.kind(), error.raw_os_error()),
                }
            }

            fn sh(script: &str) -> Command {
                let mut sh = Command::new("/bin/sh");
                sh.arg("-c").arg(script);
                sh
            }

            fn text(output: io::Result<Output>) -> String {
                let output = output.unwrap();
                let [out, err] =
                    [output.stdout, output.stderr].map(|b| String::from_utf8(b).unwrap());
                format!("{} {out:?} {err:?}", output.status)
            }

            pub(super) fn commands(at: &Path) -> Vec<String> {
                let mut said = Vec::new();
                let mut say = |text: String| said.push(text);
                say(of(Command::new("no such program").spawn().map(drop)));
                say(of(Command::new("no such program").output()));
                say(of(Command::new("no such program").status()));
                say(of(Command::new("nul\0").spawn().map(drop)));
                say(of(sh("exit 3").status().map(|s: ExitStatus| s.code())));
                say(of(sh("kill -9 $$")
                    .status()
                    .map(|s| (s.code(), s.signal()))));
                say(text(sh("echo out; echo err >&2; exit 1").output()));
                // `output` has no input, and what was said stays said.
                say(text(sh("cat; echo done").output()));
                say(text(
                    sh("echo out; echo err >&2").stderr(Stdio::null()).output(),
                ));
                let mut vars = sh("echo $A $B ${C-none} $PWD $0");
                vars.env_clear()
                    .env("A", "a")
                    .envs([("B", "b"), ("C", "c")])
                    .env_remove("C");
                vars.arg("zero").current_dir(at);
                say(text(vars.output()));
                say(format!(
                    "{:?} {:?}",
                    vars.get_program(),
                    vars.get_args().collect::<Vec<_>>()
                ));
                say(format!(
                    "{:?} {:?}",
                    vars.get_envs().collect::<Vec<_>>(),
                    vars.get_current_dir()
                ));
                say(format!("{:?}", sh("x").args(["a", "b"])));
                let mut named = Command::new("/bin/sh");
                say(text(named.arg0("other").args(["-c", "echo $0"]).output()));
                say(text(sh("echo $PPID").output()).replace(&process::id().to_string(), "ours"));
                assert_ne!(parent_id(), process::id());
                let mut grouped = sh("exit 0");
                say(of(grouped.process_group(0).status()));
                let mut hooked = sh("echo hooked");
                // SAFETY: it does nothing.
                unsafe { hooked.pre_exec(|| Ok(())) };
                say(text(hooked.output()));
                // SAFETY: it does nothing.
                unsafe { hooked.pre_exec(|| Err(std::io::Error::from_raw_os_error(22))) };
                say(of(hooked.output()));
                say(of(Command::new("/bin/sh")
                    .current_dir(at.join("none"))
                    .status()));
                // Both streams full at once, more than a pipe holds.
                let mut much = sh("i=0; while [ $i -lt 3000 ]; do i=$((i+1));
                    echo 0123456789012345678901234567890123456789;
                    echo 0123456789012345678901234567890123456789 >&2; done");
                let output = much.output().unwrap();
                say(format!("{} {}", output.stdout.len(), output.stderr.len()));
                // Again, and otherwise.
                let mut twice = sh("echo once");
                say(text(twice.output()));
                say(text(twice.stdout(Stdio::null()).output()));
                say(of(twice.status()));
                // What `output` did with the streams is not for the next.
                let mut quiet = sh("exit 0");
                say(text(quiet.output()));
                let mut child = quiet.spawn().unwrap();
                say(format!(
                    "{} {} {}",
                    child.stdin.is_none(),
                    child.stdout.is_none(),
                    child.stderr.is_none()
                ));
                say(of(child.wait()));
                said
            }

            pub(super) fn children(at: &Path) -> Vec<String> {
                let mut said = Vec::new();
                let mut say = |text: String| said.push(text);
                let mut child: Child =
                    sh("read line; echo \"<$line>\"; read line; echo \"[$line]\" >&2; exit 7")
                        .stdin(Stdio::piped())
                        .stdout(Stdio::piped())
                        .stderr(Stdio::piped())
                        .spawn()
                        .unwrap();
                say(of(child.try_wait()));
                let mut stdin: ChildStdin = child.stdin.take().unwrap();
                let stdout: ChildStdout = child.stdout.take().unwrap();
                let mut stderr: ChildStderr = child.stderr.take().unwrap();
                (&stdin).write_all(b"first\n").unwrap();
                let mut stdout = BufReader::new(stdout);
                let mut line = String::new();
                say(of(stdout.read_line(&mut line)));
                say(of(stdin.write_vectored(&[
                    IoSlice::new(b"sec"),
                    IoSlice::new(b"ond\n"),
                ])));
                stdin.flush().unwrap();
                drop(stdin);
                stderr.read_to_string(&mut line).unwrap();
                say(line);
                say(of(stdout.read(&mut [0])));
                say(of(child.wait().map(|s| s.code())));
                say(of(child.wait().map(|s| s.code())));
                say(of(child.try_wait().map(|s| s.map(|s| s.code()))));
                say(of(child.kill()));
                say(format!("{}", child.id() > 0));

                // `wait` closes the input, or this would have no end.
                let mut cat = Command::new("cat")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::null())
                    .spawn()
                    .unwrap();
                say(of(cat.wait()));
                let mut sleeps = Command::new("sleep").arg("1000").spawn().unwrap();
                say(of(sleeps.kill()));
                say(of(sleeps.wait().map(|s| s.signal())));
                let cat = Command::new("cat")
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .spawn()
                    .unwrap();
                cat.stdin.as_ref().unwrap().write_all(b"through").unwrap();
                say(text(cat.wait_with_output()));
                let only_err = sh("echo err >&2").stderr(Stdio::piped()).spawn().unwrap();
                say(text(only_err.wait_with_output()));
                let neither = sh("exit 4").spawn().unwrap();
                say(text(neither.wait_with_output()));

                // One's output is another's input; then a file's.
                let mut one = sh("echo b; echo a").stdout(Stdio::piped()).spawn().unwrap();
                let two = Command::new("sort")
                    .stdin(one.stdout.take().unwrap())
                    .output();
                say(text(two));
                say(of(one.wait()));
                std::fs::write(at.join("in"), "from a file").unwrap();
                let file = std::fs::File::open(at.join("in")).unwrap();
                say(text(Command::new("cat").stdin(file).output()));

                // A child that reads no more.
                let mut deaf = sh("exit 0").stdin(Stdio::piped()).spawn().unwrap();
                let mut stdin = deaf.stdin.take().unwrap();
                deaf.wait().unwrap();
                // (Another test's child may have the other end until it runs its program.)
                let error = loop {
                    match stdin.write_all(b"x") {
                        Ok(()) => std::thread::yield_now(),
                        Err(error) => break error,
                    }
                };
                say(of::<()>(Err(error)));
                said
            }

            pub(super) fn pipes() -> Vec<String> {
                let mut said = Vec::new();
                let mut say = |text: String| said.push(text);
                let (mut reader, mut writer): (io::PipeReader, io::PipeWriter) =
                    io::pipe().unwrap();
                say(of(writer.write(b"one")));
                say(of(
                    (&writer).write_vectored(&[IoSlice::new(b"tw"), IoSlice::new(b"o")])
                ));
                let mut buf = [0; 2];
                say(of(reader.read(&mut buf)));
                let (mut a, mut b) = ([0; 2], [0; 9]);
                say(of((&reader).read_vectored(&mut [
                    IoSliceMut::new(&mut a),
                    IoSliceMut::new(&mut b),
                ])));
                say(format!("{buf:?} {a:?} {b:?}"));
                let more = writer.try_clone().unwrap();
                writer.flush().unwrap();
                drop(writer);
                (&more).write_all(b"rest").unwrap();
                drop(more);
                let mut text = String::new();
                let mut other = reader.try_clone().unwrap();
                say(of(other.read_to_string(&mut text)));
                say(text);
                say(of(reader.read(&mut buf)));
                drop((reader, other));
                let (reader, mut writer) = io::pipe().unwrap();
                drop(reader);
                let error = loop {
                    match writer.write_all(b"x") {
                        Ok(()) => std::thread::yield_now(),
                        Err(error) => break error,
                    }
                };
                say(of::<()>(Err(error)));

                // By their descriptors, which block then, as everybody expects.
                let (reader, writer) = io::pipe().unwrap();
                say(format!(
                    "{}",
                    reader.as_fd().as_raw_fd() == reader.as_raw_fd()
                ));
                let mut echo = Command::new("echo")
                    .arg("by a child")
                    .stdout(writer)
                    .spawn()
                    .unwrap();
                say(of(echo.wait()));
                let fd: OwnedFd = reader.into();
                let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", fd.as_raw_fd()));
                let flags = info.unwrap().lines().find_map(|line| {
                    u32::from_str_radix(line.strip_prefix("flags:")?.trim(), 8).ok()
                });
                // O_NONBLOCK of Linux on x86-64.
                say(format!("blocks: {}", flags.unwrap() & 0o4000 == 0));
                // SAFETY: given up in the same expression.
                let reader = unsafe { io::PipeReader::from_raw_fd(fd.into_raw_fd()) };
                let cat = Command::new("cat").stdin(reader).output();
                say(self::text(cat));
                said
            }
        }
    };
}

over!(stds, std::process, std::io, std::os::unix::process);
over!(ours, sisal::process, sisal::io, sisal::os::unix::process);

type Steps = fn(&std::path::Path) -> Vec<String>;

#[track_caller]
fn compare(name: &'static str, std: Steps, ours: Steps) {
    let _watchdog = watchdog(120);
    let run = move |steps: Steps| {
        let folder = Folder::new(name);
        steps(folder.path())
    };
    let expected = run(std);
    assert!(expected.len() > 8, "{expected:?}");
    assert_eq!(expected, run(ours), "on a plain thread");
    for workers in [1, 4] {
        let inside = runtime(workers).spawn(move || run(ours)).join().unwrap();
        assert_eq!(expected, inside, "on {workers} workers");
    }
}

#[test]
fn commands() {
    compare("process-commands", stds::commands, ours::commands);
}

#[test]
fn children() {
    compare("process-children", stds::children, ours::children);
}

#[test]
fn pipes() {
    compare("process-pipes", |_| stds::pipes(), |_| ours::pipes());
}

#[test]
fn the_older_name_of_pre_exec() {
    use sisal::os::unix::process::CommandExt;
    let _watchdog = watchdog(60);
    let mut fails = sisal::process::Command::new("true");
    #[expect(deprecated, reason = "to be there all the same")]
    // SAFETY: it does nothing.
    unsafe {
        fails.before_exec(|| Err(std::io::Error::from_raw_os_error(22)))
    };
    let failed = runtime(1).run(|| fails.status());
    assert_eq!(failed.unwrap_err().raw_os_error(), Some(22));
}

/// It becomes the other program, from a fiber too.
#[test]
fn exec() {
    const TEST: &str = "exec";
    if common::role().is_some() {
        use sisal::os::unix::process::CommandExt;
        let error = runtime(1).run(|| {
            let missing = sisal::process::Command::new("no such program").exec();
            assert_eq!(missing.kind(), std::io::ErrorKind::NotFound);
            sisal::process::Command::new("echo")
                .arg("another program")
                .exec()
        });
        panic!("{error}");
    }
    let _watchdog = watchdog(60);
    let output = common::in_child(TEST, "child", &[]);
    assert!(output.status.success(), "{}", common::said(&output));
    assert!(common::said(&output).contains("another program\n"));
}

#[test]
fn auto_traits_are_stds() {
    fn all<T: Send + Sync + Unpin + std::fmt::Debug>() {}
    all::<std::process::Child>();
    all::<sisal::process::Child>();
    all::<std::process::Command>();
    all::<sisal::process::Command>();
    all::<sisal::process::ChildStdin>();
    all::<sisal::process::ChildStdout>();
    all::<sisal::process::ChildStderr>();
    all::<sisal::io::PipeReader>();
    all::<sisal::io::PipeWriter>();
    fn unwind<T: std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    unwind::<std::process::Child>();
    unwind::<sisal::process::Child>();
    unwind::<std::io::PipeReader>();
    unwind::<sisal::io::PipeReader>();
    unwind::<sisal::io::PipeWriter>();
}
