use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A temporary directory that contains `root`, the directory to serve; removed at the end.
pub(crate) struct Tree {
    top: PathBuf,
}

impl Tree {
    pub(crate) fn new() -> Tree {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let top = std::env::temp_dir().join(format!("sisal-serve-{}-{count}", std::process::id()));
        fs::create_dir_all(top.join("root")).unwrap();
        Tree { top }
    }

    /// Outside of what is served.
    pub(crate) fn top(&self) -> &Path {
        &self.top
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.top.join("root")
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> &Tree {
        let path = self.root().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// A file whose every part looks different.
    pub(crate) fn noise(&self, name: &str, len: usize) -> Vec<u8> {
        let mut state = len as u64 + 1;
        let content: Vec<u8> = (0..len)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                state as u8
            })
            .collect();
        self.file(name, &content);
        content
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.top);
    }
}
