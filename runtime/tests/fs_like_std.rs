//! The same code over `std::fs` and over `sisal::fs`, in fibers and on a plain thread: the same results, and the same errors.

mod common;
mod common_io;

use common::{runtime, watchdog};
use common_io::Folder;

/// Makes a module with the same functions over `$fs` and `$io`.
macro_rules! over {
    ($name:ident, $fs:path, $io:path, $unix:path) => {
        mod $name {
            use std::fmt::Debug;
            use std::path::Path;
            use std::time::{Duration, SystemTime};

            use fs::{
                DirBuilder, DirEntry, File, FileTimes, Metadata, OpenOptions, Permissions, ReadDir,
                TryLockError,
            };
            use io::{
                BufRead, BufReader, BufWriter, IoSlice, IoSliceMut, Read, Seek, SeekFrom, Write,
            };
            use unix::{
                DirBuilderExt, DirEntryExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt,
                PermissionsExt, chown, chroot, fchown, lchown, symlink,
            };
            use $fs as fs;
            use $io as io;
            use $unix as unix;

            fn of<T: Debug>(result: io::Result<T>) -> String {
                match result {
                    Ok(value) => format!("{value:?}"),
                    Err(error) => format!("{:?} {:?}", error.kind(), error.raw_os_error()),
                }
            }

            /// Each step's result, as text. `at` is empty.
            pub(super) fn functions(at: &Path) -> Vec<String> {
                let (a, b, none) = (at.join("a"), at.join("b"), at.join("none"));
                let mut said = Vec::new();
                let mut say = |text: String| said.push(text);

                say(of(fs::write(&a, "first line\nsecond")));
                say(of(fs::read(&a)));
                say(of(fs::read_to_string(&a)));
                say(of(fs::write(at.join("bytes"), [0xff, 0xfe])));
                say(of(fs::read_to_string(at.join("bytes"))));
                say(of(fs::read(&none)));
                say(of(fs::read_to_string(at)));
                say(of(fs::write(at, "")));
                say(of(fs::copy(&a, &b)));
                say(of(fs::copy(&none, &b)));
                say(of(fs::read(&b)));
                say(of(fs::exists(&b)));
                say(of(fs::exists(&none)));
                say(of(fs::exists("nul\0")));
                say(of(fs::rename(&b, at.join("c"))));
                say(of(fs::rename(&b, at.join("c"))));
                say(of(fs::hard_link(&a, &b)));
                say(of(fs::hard_link(&a, &b)));
                say(of(fs::remove_file(&b)));
                say(of(fs::remove_file(&b)));
                say(of(fs::remove_file(at)));

                let metadata: io::Result<Metadata> = fs::metadata(&a);
                let metadata = metadata.unwrap();
                say(format!("{} {}", metadata.len(), metadata.is_file()));
                say(of(fs::metadata(&none).map(|m| m.len())));
                say(of(symlink(&a, at.join("link"))));
                say(of(symlink(&a, at.join("link"))));
                say(of(
                    fs::symlink_metadata(at.join("link")).map(|m| m.is_symlink())
                ));
                say(of(fs::read_link(at.join("link")).map(|to| to == a)));
                say(of(fs::read_link(&a)));
                let whole = fs::canonicalize(at.join("link")).unwrap();
                say(format!("{:?}", whole.file_name()));
                say(of(fs::canonicalize(&none)));
                let permissions: Permissions = metadata.permissions();
                let mut fewer = permissions.clone();
                fewer.set_mode(0o440);
                say(of(fs::set_permissions(&a, fewer)));
                say(format!(
                    "{:o}",
                    fs::metadata(&a).unwrap().permissions().mode()
                ));
                say(of(fs::set_permissions(&none, permissions)));

                say(of(fs::create_dir(at.join("d"))));
                say(of(fs::create_dir(at.join("d"))));
                say(of(fs::create_dir(at.join("e/f"))));
                say(of(fs::create_dir_all(at.join("e/f"))));
                say(of(fs::create_dir_all(at.join("e/f"))));
                say(of(fs::create_dir_all(a.join("f"))));
                say(of(DirBuilder::new().mode(0o700).create(at.join("g"))));
                say(of(DirBuilder::new().recursive(true).create(at.join("g/h"))));
                say(of(DirBuilder::new().create(at.join("g"))));
                say(of(fs::remove_dir(at.join("e"))));
                say(of(fs::remove_dir(at.join("d"))));
                say(of(fs::remove_dir_all(at.join("e"))));
                say(of(fs::remove_dir_all(at.join("e"))));
                said
            }

            /// What Unix has beside.
            pub(super) fn of_unix(at: &Path) -> Vec<String> {
                let (a, link, none) = (at.join("a"), at.join("link"), at.join("none"));
                let mut said = Vec::new();
                let mut say = |text: String| said.push(text);
                fs::write(&a, "text").unwrap();
                #[expect(deprecated, reason = "to be there all the same")]
                say(of(fs::soft_link("a", &link)));
                say(of(fs::read_to_string(&link)));
                let own = fs::metadata(&a).unwrap();
                let (uid, gid) = (Some(own.uid()), Some(own.gid()));
                say(of(chown(&link, uid, None)));
                say(of(chown(&none, uid, gid)));
                say(of(lchown(&link, None, gid)));
                say(of(lchown(&none, None, None)));
                let file = File::open(&a).unwrap();
                say(of(fchown(&file, uid, gid)));
                // Root gives a file away, others may not. (To itself: it can be removed after that.)
                say(of(chown(&a, Some(1), Some(1))));
                say(of(fchown(file, uid, gid)));
                say(of(chroot(&none)));
                say(of(chroot(&a)));
                say(format!("{} {}", own.nlink(), own.size()));
                let entries: Vec<_> = fs::read_dir(at).unwrap().map(Result::unwrap).collect();
                for entry in &entries {
                    assert_eq!(entry.ino(), entry.metadata().unwrap().ino());
                    let kind = entry.file_type().unwrap();
                    assert!(!kind.is_fifo() && !kind.is_socket());
                }
                say(format!("{}", entries.len()));
                said
            }

            pub(super) fn directories(at: &Path) -> Vec<String> {
                let mut said = vec![of(fs::read_dir(at.join("none")).map(drop))];
                // More than are read at once.
                for n in 0..150 {
                    fs::write(at.join(format!("file {n}")), vec![b'x'; n]).unwrap();
                }
                fs::create_dir(at.join("folder")).unwrap();
                said.push(of(fs::read_dir(at.join("file 1")).map(drop)));
                let entries: ReadDir = fs::read_dir(at).unwrap();
                assert!(format!("{entries:?}").contains("ReadDir"));
                let mut all: Vec<String> = entries
                    .map(|entry: io::Result<DirEntry>| {
                        let entry = entry.unwrap();
                        assert_eq!(entry.path(), at.join(entry.file_name()));
                        assert!(format!("{entry:?}").contains("DirEntry"));
                        let (kind, len) =
                            (entry.file_type().unwrap(), entry.metadata().unwrap().len());
                        let len = if kind.is_dir() { 0 } else { len };
                        format!("{:?} {} {len}", entry.file_name(), kind.is_dir())
                    })
                    .collect();
                assert_eq!(all.len(), 151);
                all.sort();
                said.append(&mut all);
                // An entry that has gone.
                let mut entries = fs::read_dir(at).unwrap();
                let entry = entries.next().unwrap().unwrap();
                fs::remove_dir_all(at.join("folder")).unwrap();
                for n in 0..150 {
                    fs::remove_file(at.join(format!("file {n}"))).unwrap();
                }
                said.push(of(entry.metadata().map(|m| m.len())));
                said.push(of(fs::read_dir(at)
                    .unwrap()
                    .next()
                    .transpose()
                    .map(|e| e.is_none())));
                said
            }

            pub(super) fn files(at: &Path) -> Vec<String> {
                let (a, none) = (at.join("a"), at.join("none"));
                let mut said = Vec::new();
                let mut say = |text: String| said.push(text);
                let mut buf = [0; 8];

                say(of(File::open(&none).map(drop)));
                say(of(File::create(at.join("none/a")).map(drop)));
                let mut file: File = File::create_new(&a).unwrap();
                say(of(File::create_new(&a).map(drop)));
                say(of(file.read(&mut buf)));
                say(of(file.write(b"0123456789")));
                say(of(file.write_all(b"abc")));
                say(of(
                    file.write_vectored(&[IoSlice::new(b"de"), IoSlice::new(b"f")])
                ));
                say(of(file.flush()));
                say(of(file.sync_all()));
                say(of(file.sync_data()));
                say(of(file.seek(SeekFrom::Start(2))));
                say(of(file.seek(SeekFrom::Current(-3))));
                say(of(file.seek(SeekFrom::End(-4))));
                say(of(file.stream_position()));
                say(of(file.read(&mut buf)));
                say(of(file.rewind()));
                say(of(file.read_exact(&mut buf)));
                say(format!("{buf:?}"));
                let (mut one, mut two) = ([0; 3], [0; 2]);
                let mut bufs = [IoSliceMut::new(&mut one), IoSliceMut::new(&mut two)];
                say(of(file.read_vectored(&mut bufs)));
                say(format!("{one:?} {two:?}"));
                say(of(file.read_exact(&mut buf)));
                say(of((&file).rewind()));
                let mut text = String::from("before ");
                say(of((&file).read_to_string(&mut text)));
                say(text);
                let mut bytes = vec![1];
                say(of(file.read_to_end(&mut bytes)));
                say(of(file.read_at(&mut buf, 12)));
                say(of(file.read_exact_at(&mut buf, 12)));
                say(of(file.write_at(b"!", 20)));
                say(of(file.write_all_at(b"?!", 21)));
                say(of(file.metadata().map(|m| m.len())));
                say(of(file.set_len(5)));
                say(of(fs::read(&a)));

                let clone = file.try_clone().unwrap();
                say(of((&clone).seek(SeekFrom::Start(3))));
                say(of(file.stream_position()));
                let mut permissions = file.metadata().unwrap().permissions();
                permissions.set_mode(0o600);
                say(of(file.set_permissions(permissions)));
                say(format!(
                    "{:o}",
                    file.metadata().unwrap().permissions().mode()
                ));
                let then = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
                say(of(file.set_modified(then)));
                say(of(file.metadata().unwrap().modified().map(|at| at == then)));
                say(of(file.set_times(FileTimes::new().set_accessed(then))));
                say(of(file.metadata().unwrap().accessed().map(|at| at == then)));

                let other = File::open(&a).unwrap();
                say(of(file.lock()));
                say(format!(
                    "{}",
                    matches!(other.try_lock(), Err(TryLockError::WouldBlock))
                ));
                say(format!(
                    "{}",
                    matches!(other.try_lock_shared(), Err(TryLockError::WouldBlock))
                ));
                say(of(file.unlock()));
                say(of(other.lock_shared()));
                say(format!("{}", file.try_lock_shared().is_ok()));
                say(of((&other).write(b"x")));

                // Buffered, as std's adapters do it.
                let mut lines = BufWriter::new(File::create(&a).unwrap());
                for n in 0..1000 {
                    writeln!(lines, "line {n}").unwrap();
                }
                drop(lines);
                let lines = BufReader::new(File::open(&a).unwrap()).lines();
                say(format!(
                    "{:?}",
                    lines
                        .map(Result::unwrap)
                        .enumerate()
                        .all(|(n, l)| l == format!("line {n}"))
                ));
                let copied = io::copy(
                    &mut File::open(&a).unwrap(),
                    &mut File::create(at.join("copy")).unwrap(),
                );
                say(of(copied));
                said
            }

            pub(super) fn options(at: &Path) -> Vec<String> {
                let a = at.join("a");
                let mut said = Vec::new();
                let mut say = |text: String| said.push(text);
                say(of(OpenOptions::new().open(&a).map(drop)));
                say(of(OpenOptions::new().read(true).open(&a).map(drop)));
                say(of(OpenOptions::new()
                    .read(true)
                    .truncate(true)
                    .open(&a)
                    .map(drop)));
                say(of(OpenOptions::new()
                    .write(true)
                    .create(true)
                    .mode(0o600)
                    .open(&a)
                    .map(drop)));
                say(format!(
                    "{:o}",
                    fs::metadata(&a).unwrap().permissions().mode()
                ));
                say(of(OpenOptions::new()
                    .write(true)
                    .create_new(true)
                    .open(&a)
                    .map(drop)));
                let mut appends = OpenOptions::new().append(true).clone().open(&a).unwrap();
                say(of(appends.write(b"one ")));
                say(of(appends.rewind()));
                say(of(appends.write(b"two")));
                say(of(fs::read_to_string(&a)));
                say(of(appends.read(&mut [0; 1])));
                // O_DIRECTORY of Linux on x86-64, by hand: this crate has no libc.
                say(of(File::options()
                    .read(true)
                    .custom_flags(0o200000)
                    .open(&a)
                    .map(drop)));
                say(of(File::options()
                    .write(true)
                    .truncate(true)
                    .open(&a)
                    .map(|f| f.metadata().unwrap().len())));
                said
            }
        }
    };
}

over!(stds, std::fs, std::io, std::os::unix::fs);
over!(ours, sisal::fs, sisal::io, sisal::os::unix::fs);

type Steps = fn(&std::path::Path) -> Vec<String>;

#[track_caller]
fn compare(name: &'static str, std: Steps, ours: Steps) {
    let _watchdog = watchdog(120);
    let run = |steps: Steps| {
        let folder = Folder::new(name);
        steps(folder.path())
    };
    let expected = run(std);
    assert!(expected.len() > 10, "{expected:?}");
    assert_eq!(expected, run(ours), "on a plain thread");
    for workers in [1, 4] {
        let inside = runtime(workers).spawn(move || run(ours)).join().unwrap();
        assert_eq!(expected, inside, "on {workers} workers");
    }
}

#[test]
fn functions() {
    compare("fs-functions", stds::functions, ours::functions);
}

#[test]
fn of_unix() {
    compare("fs-unix", stds::of_unix, ours::of_unix);
}

#[test]
fn directories() {
    compare("fs-directories", stds::directories, ours::directories);
}

#[test]
fn files() {
    compare("fs-files", stds::files, ours::files);
}

#[test]
fn options() {
    compare("fs-options", stds::options, ours::options);
}

/// From and to std's file, descriptors, and a child's standard streams.
#[test]
fn conversions() {
    use sisal::fs::File;
    use std::io::{Read, Write};
    use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};

    let folder = Folder::new("fs-conversions");
    let path = folder.join("a");
    let mut file = File::from(std::fs::File::create(&path).unwrap());
    file.write_all(b"text").unwrap();
    let number = file.as_raw_fd();
    assert_eq!(file.as_fd().as_raw_fd(), number);
    assert!(format!("{file:?}").contains(&format!("fd: {number}")));
    let file: std::fs::File = file.into();
    let fd: OwnedFd = File::from(file).into();
    let raw = File::from(fd).into_raw_fd();
    assert_eq!(raw, number);
    // SAFETY: given up the line above.
    drop(unsafe { File::from_raw_fd(raw) });
    let mut cat = std::process::Command::new("cat");
    let output = cat.stdin(File::open(&path).unwrap()).output().unwrap();
    assert_eq!(output.stdout, b"text");
    let options = sisal::fs::OpenOptions::from(std::fs::OpenOptions::new().read(true).clone());
    let mut text = String::new();
    options
        .open(&path)
        .unwrap()
        .read_to_string(&mut text)
        .unwrap();
    assert_eq!(text, "text");
    fn all<T: Send + Sync + Unpin + std::panic::UnwindSafe + std::panic::RefUnwindSafe>() {}
    all::<File>();
    all::<sisal::fs::OpenOptions>();
    all::<sisal::fs::DirBuilder>();
    fn shared<T: Send + Sync + Unpin>() {}
    shared::<std::fs::ReadDir>();
    shared::<sisal::fs::ReadDir>();
    shared::<std::fs::DirEntry>();
    shared::<sisal::fs::DirEntry>();
}
