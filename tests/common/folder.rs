//! A folder of a test alone.
//!
//! Test binaries take this file in by `#[path = "../common/folder.rs"] mod folder;`.

use std::path::PathBuf;

/// A folder of a test alone, removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    /// An empty one. `name` is used once in a test binary.
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mailtenant-folder-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
