//! `io::stdin`, `stdout` and `stderr`, in processes of their own; and that `sisal::io` has what `std::io` has.

mod common;
mod common_io;

use std::io::Write as _;
use std::process::{Command, Stdio};

use common::{Count, panic_text, role, runtime, until, watchdog};
use common_io::on_worker;

/// Runs the calling test alone as `role`, gives it `input`, and returns what it wrote to both streams.
fn child(test: &str, role: &str, input: &[u8]) -> (String, String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env("SISAL_TEST_CHILD", role)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", common::said(&output));
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (text(output.stdout), text(output.stderr))
}

/// The same program over both.
macro_rules! program {
    ($io:path) => {{
        use io::{BufRead, Read, Write};
        use $io as io;

        let stdin: io::Stdin = io::stdin();
        let mut line = String::new();
        assert_eq!(stdin.read_line(&mut line).unwrap(), 6);
        let mut lock: io::StdinLock<'static> = stdin.lock();
        lock.read_line(&mut line).unwrap();
        let mut until = Vec::new();
        lock.read_until(b';', &mut until).unwrap();
        let first = lock.fill_buf().unwrap()[0];
        lock.consume(1);
        let mut two = [0; 2];
        lock.read_exact(&mut two).unwrap();
        drop(lock);
        let mut one = [0; 1];
        (&stdin).read_exact(&mut one).unwrap();
        let few: Vec<String> = io::stdin().lines().take(2).map(Result::unwrap).collect();
        let rest = io::read_to_string(io::stdin()).unwrap();
        let end = io::stdin().read(&mut one).unwrap();

        let mut out: io::Stdout = io::stdout();
        write!(out, "[{line:?} {until:?} {first} {two:?}").unwrap();
        {
            let mut lock: io::StdoutLock<'static> = out.lock();
            writeln!(lock, " {one:?} {few:?}").unwrap();
            lock.write_all(rest.as_bytes()).unwrap();
        }
        (&out).write_all(&[b'0' + end as u8]).unwrap();
        let n = out.write_vectored(&[io::IoSlice::new(b"]")]).unwrap();
        out.flush().unwrap();
        let mut err: io::Stderr = io::stderr();
        writeln!(err, "<{n} {}>", out.lock().is_terminal()).unwrap();
        writeln!(err.lock(), "<error>").unwrap();
        err.flush().unwrap();
    }};
}

#[test]
fn the_streams_are_stds() {
    use std::io::IsTerminal as _;
    let std = || program!(std::io);
    let ours = || program!(sisal::io);
    match role().as_deref() {
        Some("std") => return std(),
        Some("thread") => return ours(),
        Some("fiber") => return runtime(1).run(ours),
        _ => {}
    }
    let _watchdog = watchdog(60);
    let input = b"first\nsecond\nuntil;abcdline one\nline two\nthe rest\nto the end";
    let part = |(out, err): (String, String)| {
        let out = &out[out.find('[').unwrap()..=out.rfind(']').unwrap()];
        let err = &err[err.find('<').unwrap()..=err.rfind('>').unwrap()];
        (out.to_owned(), err.to_owned())
    };
    let run = |role| part(child("the_streams_are_stds", role, input));
    let std = run("std");
    assert!(
        std.0.contains("to the end0]") && std.1 == "<1 false>\n<error>",
        "{std:?}"
    );
    assert_eq!(std, run("thread"));
    assert_eq!(std, run("fiber"));
}

/// Fibers read and write whole lines while others run; a wait for input does not hold the worker.
#[test]
fn lines_are_whole() {
    use sisal::io::{BufRead, Write};
    const TEST: &str = "lines_are_whole";
    if role().is_some() {
        return runtime(1).run(|| {
            let (ends, ticks) = (Count::new(), Count::new());
            sisal::fiber::scope(|s| {
                for _ in 0..4 {
                    s.spawn(|| {
                        for line in sisal::io::stdin().lock().lines() {
                            writeln!(sisal::io::stdout(), "<{}>", line.unwrap()).unwrap();
                        }
                        ends.add();
                    });
                }
                until(|| {
                    ticks.add();
                    ends.get() == 4
                });
            });
            assert!(ticks.get() > 1);
        });
    }
    let _watchdog = watchdog(60);
    let lines: Vec<String> = (0..300)
        .map(|n| format!("line {n} {}", "x".repeat(n)))
        .collect();
    let (out, _) = child(TEST, "child", lines.join("\n").as_bytes());
    let mut got: Vec<&str> = out
        .lines()
        // The harness begins the first line.
        .filter_map(|line| line.split_once('<')?.1.strip_suffix('>'))
        .collect();
    let mut sent: Vec<&str> = lines.iter().map(String::as_str).collect();
    sent.sort_unstable();
    got.sort_unstable();
    assert!(got == sent, "{} of {} lines", got.len(), sent.len());
}

#[test]
fn on_a_workers_own_stack_they_panic() {
    use std::io::{BufRead, Read, Write};
    let _watchdog = watchdog(60);
    on_worker(|| {
        let (stdin, stdout, stderr) =
            (sisal::io::stdin(), sisal::io::stdout(), sisal::io::stderr());
        let mut buf = [0];
        let texts = [
            ("stdin", panic_text(|| (&stdin).read(&mut buf))),
            ("stdin", panic_text(|| stdin.read_line(&mut String::new()))),
            ("stdin", panic_text(|| stdin.lock().fill_buf().map(drop))),
            ("stdin", panic_text(|| sisal::io::stdin().lines().next())),
            ("stdout", panic_text(|| (&stdout).write(b"x"))),
            ("stdout", panic_text(|| writeln!(stdout.lock(), "x"))),
            ("stdout", panic_text(|| (&stdout).flush())),
            ("stderr", panic_text(|| (&stderr).write_all(b"x"))),
        ];
        for (name, text) in texts {
            assert!(text.contains(&format!("`sisal::io::{name}`")), "{text}");
            assert!(text.contains(&format!("`tokio::io::{name}`")), "{text}");
        }
    });
}

/// What programs import from `std::io` is there under the same name.
#[test]
fn an_import_swap_compiles() {
    #[allow(unused_imports, reason = "that they can be imported is the test")]
    use sisal::io::{
        self, BufRead, BufReader, BufWriter, Bytes, Chain, Cursor, Empty, Error, ErrorKind,
        IntoInnerError, IoSlice, IoSliceMut, IsTerminal, LineWriter, Lines, Read, Repeat, Result,
        Seek, SeekFrom, Sink, Split, Stderr, StderrLock, Stdin, StdinLock, Stdout, StdoutLock,
        Take, Write, WriterPanicked, prelude,
    };
    fn program() -> io::Result<u64> {
        let mut out = BufWriter::new(Cursor::new(Vec::new()));
        let copied = io::copy(&mut io::repeat(b'x').take(5).chain(io::empty()), &mut out)?;
        io::copy(&mut &b"y"[..], &mut io::sink())?;
        out.seek(SeekFrom::Start(0))?;
        assert_eq!(io::read_to_string(out.into_inner()?)?, "xxxxx");
        Err(Error::new(ErrorKind::InvalidData, copied.to_string()))
    }
    assert_eq!(program().unwrap_err().to_string(), "5");
    fn all<T: Send + Sync + Unpin + std::fmt::Debug>() {}
    all::<Stdin>();
    all::<Stdout>();
    all::<Stderr>();
}
