//! Opens files below one directory, and only there.
//!
//! Every function here may block on the disk: call them through `unblock`. The kernel does the
//! confining where it can (`openat2` with `RESOLVE_BENEATH`); where it cannot, the path is resolved
//! first and then walked without following any link, so a link that is swapped in between leads
//! nowhere.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::respond::{Refusal, Status};

/// `NONBLOCK` so that opening a FIFO returns, `NOCTTY` so that opening a terminal has no effect.
const READ: OFlags = OFlags::RDONLY
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY)
    .union(OFlags::CLOEXEC);
const STEP: OFlags = OFlags::PATH
    .union(OFlags::NOFOLLOW)
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);

/// `openat2` gives EAGAIN when a rename elsewhere makes it unsure of a `..` in a link; more often
/// than this is an attack.
const RETRIES: usize = 16;

/// The directory that is served.
#[derive(Debug)]
pub(crate) struct Root {
    directory: OwnedFd,
    canonical: PathBuf,
    /// The kernel has `openat2` and lets us use it.
    confined: bool,
}

/// What a path names.
#[derive(Debug)]
pub(crate) enum Entry {
    File(File),
    Directory,
}

/// A regular file, opened for reading.
#[derive(Debug)]
pub(crate) struct File {
    fd: OwnedFd,
    pub(crate) len: u64,
    pub(crate) modified: i64,
    pub(crate) modified_nanos: u64,
}

impl Root {
    pub(crate) fn open(path: &Path) -> io::Result<Root> {
        let canonical = fs::canonicalize(path)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(&canonical, flags, Mode::empty())?;
        let probe =
            rustix::fs::openat2(&directory, ".", flags, Mode::empty(), ResolveFlags::BENEATH);
        Ok(Root {
            directory,
            canonical,
            confined: probe.is_ok(),
        })
    }

    /// Opens what `path`, relative to the root, names.
    pub(crate) fn get(&self, path: &Path) -> Result<Entry, Refusal> {
        self.open_beneath(path)
            .and_then(Entry::inspect)
            .and_then(|entry| entry.ok_or(Errno::NOENT))
            .map_err(|errno| refusal(errno, path))
    }

    fn open_beneath(&self, path: &Path) -> Result<OwnedFd, Errno> {
        if !self.confined {
            return self.walk(path);
        }
        let mut result = Err(Errno::AGAIN);
        for _ in 0..RETRIES {
            result = rustix::fs::openat2(
                &self.directory,
                path,
                READ,
                Mode::empty(),
                ResolveFlags::BENEATH,
            );
            if !matches!(result, Err(Errno::AGAIN | Errno::INTR)) {
                break;
            }
        }
        match result {
            // An absolute link: outside to the kernel, but it may still point into the root.
            Err(Errno::XDEV) => self.walk(path),
            result => result,
        }
    }

    /// Resolves link by link, refuses what lies outside, and opens the result step by step.
    fn walk(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let mut resolved = self.canonical.clone();
        for step in path {
            // Checked at every step: not even the way to a file inside may lead outside.
            resolved = fs::canonicalize(resolved.join(step))
                .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::NOENT))?;
            if !resolved.starts_with(&self.canonical) {
                return Err(Errno::XDEV);
            }
        }
        let inside = resolved
            .strip_prefix(&self.canonical)
            .map_err(|_| Errno::XDEV)?;
        let Some(name) = inside.file_name() else {
            return rustix::fs::openat(&self.directory, ".", READ, Mode::empty());
        };
        let mut directory = None;
        for step in inside.parent().into_iter().flatten() {
            let above = directory.as_ref().unwrap_or(&self.directory);
            directory = Some(rustix::fs::openat(above, step, STEP, Mode::empty())?);
        }
        let above = directory.as_ref().unwrap_or(&self.directory);
        rustix::fs::openat(above, name, READ | OFlags::NOFOLLOW, Mode::empty())
    }
}

impl Entry {
    /// `None` for what is neither a regular file nor a directory.
    fn inspect(fd: OwnedFd) -> Result<Option<Entry>, Errno> {
        let stat = rustix::fs::fstat(&fd)?;
        Ok(match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(Entry::File(File {
                fd,
                len: u64::try_from(stat.st_size).unwrap_or(0),
                modified: stat.st_mtime,
                modified_nanos: stat.st_mtime_nsec,
            })),
            FileType::Directory => Some(Entry::Directory),
            _ => None,
        })
    }
}

impl File {
    /// Appends `len` bytes from `at` on; a file that has become shorter than that is an error.
    pub(crate) fn read_exact_at(&self, at: u64, len: usize, out: &mut Vec<u8>) -> io::Result<()> {
        let start = out.len();
        out.reserve(len);
        while out.len() - start < len {
            let have = out.len() - start;
            let read = rustix::io::retry_on_intr(|| {
                rustix::io::pread(
                    self.fd.as_fd(),
                    rustix::buffer::spare_capacity(out),
                    at + have as u64,
                )
            })?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        // The spare capacity may hold more than was asked for.
        out.truncate(start + len);
        Ok(())
    }
}

/// A link that leads out of the root looks like a missing file: what lies outside is nobody's
/// business.
fn refusal(errno: Errno, path: &Path) -> Refusal {
    match errno {
        Errno::NOENT
        | Errno::NOTDIR
        | Errno::LOOP
        | Errno::NAMETOOLONG
        | Errno::XDEV
        | Errno::NXIO
        | Errno::NODEV => Refusal::new(Status::NotFound, "no such file"),
        Errno::ACCESS | Errno::PERM => {
            Refusal::new(Status::Forbidden, "the server may not read this file")
        }
        Errno::MFILE | Errno::NFILE | Errno::NOMEM | Errno::AGAIN => {
            tracing::warn!(path = %path.display(), error = %errno, "no file could be opened");
            Refusal::new(
                Status::Unavailable,
                "the server is out of resources, try again",
            )
        }
        errno => {
            tracing::error!(path = %path.display(), error = %errno, "cannot open");
            Refusal::new(Status::InternalError, "the file could not be opened")
        }
    }
}

/// A path from its bytes.
pub(crate) fn path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    /// A tree with every kind of link, removed at the end.
    struct Tree(PathBuf);

    impl Tree {
        fn new(name: &str) -> Tree {
            let top =
                std::env::temp_dir().join(format!("sisal-files-{name}-{}", std::process::id()));
            let root = top.join("root");
            fs::create_dir_all(root.join("sub/deep")).unwrap();
            fs::write(top.join("secret"), "secret").unwrap();
            fs::write(root.join("a"), "0123456789").unwrap();
            fs::write(root.join("sub/deep/b"), "b").unwrap();
            symlink("sub/deep/b", root.join("inner")).unwrap();
            symlink("../../a", root.join("sub/deep/up")).unwrap();
            symlink(
                fs::canonicalize(root.join("a")).unwrap(),
                root.join("absolute"),
            )
            .unwrap();
            symlink("../secret", root.join("outer")).unwrap();
            symlink(top.join("secret"), root.join("far")).unwrap();
            symlink("..", root.join("parent")).unwrap();
            symlink("loop", root.join("loop")).unwrap();
            rustix::fs::mknodat(
                rustix::fs::CWD,
                root.join("fifo"),
                FileType::Fifo,
                Mode::RUSR | Mode::WUSR,
                0,
            )
            .unwrap();
            Tree(top)
        }

        fn root(&self, confined: bool) -> Root {
            let root = Root::open(&self.0.join("root")).unwrap();
            Root {
                confined: confined && root.confined,
                ..root
            }
        }
    }

    impl Drop for Tree {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn check(root: &Root) {
        let get = |name: &str| match root.get(Path::new(name)) {
            Ok(Entry::File(file)) => {
                let mut out = b"head".to_vec();
                file.read_exact_at(0, file.len as usize, &mut out).unwrap();
                String::from_utf8(out).unwrap()
            }
            Ok(Entry::Directory) => "directory".to_owned(),
            Err(refusal) => refusal.status.code().to_string(),
        };
        assert_eq!(get("a"), "head0123456789");
        assert_eq!(get("sub/deep/b"), "headb");
        assert_eq!(get("inner"), "headb");
        assert_eq!(get("sub/deep/up"), "head0123456789");
        assert_eq!(get("absolute"), "head0123456789");
        assert_eq!(get("."), "directory");
        assert_eq!(get("sub"), "directory");
        for missing in [
            "outer",
            "far",
            "parent",
            "parent/secret",
            "parent/root/a",
            "loop",
            "fifo",
            "none",
            "a/b",
        ] {
            assert_eq!(get(missing), "404", "{missing}");
        }
    }

    #[test]
    fn the_kernel_keeps_us_inside() {
        let tree = Tree::new("kernel");
        check(&tree.root(true));
    }

    #[test]
    fn without_openat2_we_stay_inside_too() {
        let tree = Tree::new("walk");
        check(&tree.root(false));
    }

    #[test]
    fn a_part_of_a_file_and_a_file_that_shrank() {
        let tree = Tree::new("part");
        let Ok(Entry::File(file)) = tree.root(true).get(Path::new("a")) else {
            panic!("a is a file");
        };
        let mut out = Vec::new();
        file.read_exact_at(3, 4, &mut out).unwrap();
        assert_eq!(out, b"3456");
        let error = file.read_exact_at(8, 4, &mut out).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
