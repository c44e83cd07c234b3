//! File systems of a test's own: loop images, mounted and taken away again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A file system in a file, mounted for as long as this lives.
pub(crate) struct Mounted {
    at: PathBuf,
}

/// What a file system is made with: the program, its arguments, the size of its image, the options to mount a copy with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    make: &'static [&'static str],
    megabytes: u64,
    copy_options: &'static str,
}

/// Kinds that tests are run on.
pub(crate) const KINDS: [Kind; 3] = [
    Kind { name: "ext4", make: &["mkfs.ext4", "-q", "-F"], megabytes: 48, copy_options: "loop" },
    Kind { name: "xfs", make: &["mkfs.xfs", "-q", "-f"], megabytes: 320, copy_options: "loop,nouuid" },
    Kind {
        name: "btrfs",
        make: &["mkfs.btrfs", "-q", "-f", "--mixed"],
        megabytes: 128,
        copy_options: "loop",
    },
];

/// Inodes of 128 bytes: its times have whole seconds only.
pub(crate) const COARSE: Kind = Kind {
    name: "ext2-128",
    make: &["mkfs.ext2", "-q", "-F", "-I", "128"],
    megabytes: 48,
    copy_options: "loop",
};

fn succeeds(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

impl Kind {
    /// Makes an image; `None` where that cannot be done.
    pub(crate) fn image(&self, at: &Path) -> Option<()> {
        let file = std::fs::File::create(at).unwrap();
        file.set_len(self.megabytes << 20).unwrap();
        drop(file);
        let arguments: Vec<&str> = self.make[1..].iter().copied().chain([text(at)]).collect();
        succeeds(self.make[0], &arguments).then_some(())
    }

    /// Mounts an image.
    pub(crate) fn mount(&self, image: &Path, at: &Path) -> Option<Mounted> {
        mount(image, at, "loop")
    }

    /// Mounts a copy of an image whose original is mounted.
    pub(crate) fn mount_copy(&self, image: &Path, at: &Path) -> Option<Mounted> {
        mount(image, at, self.copy_options)
    }
}

fn mount(image: &Path, at: &Path, options: &str) -> Option<Mounted> {
    std::fs::create_dir_all(at).unwrap();
    succeeds("mount", &["-o", options, text(image), text(at)]).then(|| Mounted { at: at.to_owned() })
}

/// Lets a folder be seen at another place through FUSE, with stats that are asked for once an hour.
pub(crate) fn seen_through_fuse(behind: &Path, at: &Path) -> Option<Mounted> {
    std::fs::create_dir_all(at).unwrap();
    succeeds("bindfs", &["-o", "attr_timeout=3600,entry_timeout=3600", text(behind), text(at)])
        .then(|| Mounted { at: at.to_owned() })
}

impl Drop for Mounted {
    fn drop(&mut self) {
        for _ in 0..50 {
            if succeeds("umount", &[text(&self.at)]) || succeeds("fusermount", &["-u", text(&self.at)]) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(20));
        }
        succeeds("umount", &["-l", text(&self.at)]);
    }
}
