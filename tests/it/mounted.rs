//! A small file system of its own below a test's folder.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Taken away at the end.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// Nothing where the kernel lets nobody mount.
    pub(crate) fn tmpfs(at: &Path, options: &str) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        // Writable by everybody, as they are by default, a cache is refused.
        let options = format!("mode=0700,{options}");
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(at).output();
        mounted.is_ok_and(|done| done.status.success()).then(|| Self(at.to_owned()))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
