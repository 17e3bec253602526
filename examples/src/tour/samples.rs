//! Files for a server to serve, in a temporary directory.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Name and size. Small ones most of the time, as on the web, and one that takes several reads.
const FILES: [(&str, usize); 8] = [
    ("index.html", 900),
    ("style.css", 4_000),
    ("empty.txt", 0),
    ("one.js", 12_000),
    ("deep/er/note.txt", 40),
    ("icon.png", 1_500),
    ("photo.jpg", 60_000),
    ("film.mp4", 300_000),
];

/// The files, on disk and in memory; removed from the disk at the end.
#[derive(Debug)]
pub(super) struct Samples {
    root: PathBuf,
    files: Vec<Sample>,
}

/// What a request for `target` must be answered with.
#[derive(Debug)]
pub(super) struct Sample {
    pub(super) target: String,
    pub(super) content: Vec<u8>,
}

impl Samples {
    pub(super) fn new() -> io::Result<Samples> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        // Relaxed: only the numbers have to differ.
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let root = std::env::temp_dir().join(format!("sisal-tour-{}-{count}", std::process::id()));
        let mut samples = Samples {
            root,
            files: Vec::new(),
        };
        for (name, len) in FILES {
            let content = noise(len);
            let path = samples.root.join(name);
            fs::create_dir_all(path.parent().unwrap_or(&samples.root))?;
            fs::write(path, &content)?;
            let target = format!("/{name}");
            samples.files.push(Sample { target, content });
        }
        Ok(samples)
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// The file of a client's n-th request: each client begins elsewhere, and the large files come
    /// up less often.
    pub(super) fn pick(&self, client: usize, request: usize) -> &Sample {
        let number = client + request;
        let large = match number % 64 {
            0 => 7,
            1..4 => 6,
            _ => number % 6,
        };
        &self.files[large]
    }
}

impl Drop for Samples {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.root);
    }
}

/// Bytes whose every part looks different, so that no mix-up goes unnoticed.
fn noise(len: usize) -> Vec<u8> {
    let mut state = len as u64 + 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}
