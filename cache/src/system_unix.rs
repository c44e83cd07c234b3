//! The same as on Linux with the means of every Unix: slower where need be, never less safe.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;

/// There is no such call; the caller opens component by component.
pub(crate) fn open_beneath(_folder: impl AsFd, _path: &[u8], _flags: OFlags) -> Option<io::Result<OwnedFd>> {
    None
}

/// Flushes everything: there is no call for one file system.
pub(crate) fn flush_filesystem(_folder: impl AsFd) -> io::Result<()> {
    rustix::fs::sync();
    Ok(())
}

/// Extents are never shared; bytes are copied.
pub(crate) fn share_extents(_from: impl AsFd, _to: impl AsFd) -> bool {
    false
}

/// Descriptor tables belong to processes.
pub(crate) fn use_own_descriptors() {}
