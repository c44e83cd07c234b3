//! The first step of a restore: everything new is made aside, and every blob verified on the way.
//!
//! Folders come first, then files, links last: nothing in the stage is ever reached through a link.
#![allow(clippy::disallowed_methods, reason = "shell: makes files in the stage")]

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use rustix::fs::Mode;

use crate::chaos::{Bug, planted};
use crate::digest::Digest;
use crate::folder::{FileFacts, Folder, facts_of};
use crate::lock::Scratch;
use crate::materialize::{Op, Plan};
use crate::ops;
use crate::programs::with_writer;
use crate::restore::RestoreError;
use crate::store::Store;
use crate::tree::Node;

/// What is prepared in the stage.
pub(crate) struct Staged<'a> {
    pub(crate) stage: &'a Scratch,
    pub(crate) plan: &'a Plan,
    pub(crate) wanted: &'a [(Vec<u8>, Node)],
}

impl Staged<'_> {
    /// Makes everything the plan wants; notes the facts of the files.
    pub(crate) fn fill(
        &self,
        store: &dyn Store,
        threads: usize,
        facts: &mut [Option<FileFacts>],
    ) -> Result<(), RestoreError> {
        let stage = self.stage.folder();
        let (mut files, mut programs) = (Vec::new(), Vec::new());
        let mut bytes = 0;
        for (staged, index) in &self.plan.staged {
            match &self.wanted[*index].1 {
                Node::EmptyDirectory | Node::Directory { .. } => {
                    stage.make(staged).map_err(self.at(*index))?
                }
                Node::File { digest, executable: true } if !planted(Bug::NoExecBit) => {
                    programs.push((staged, *index, digest))
                }
                Node::File { digest, .. } => {
                    bytes += digest.size;
                    files.push((staged, *index, digest, OnceLock::new()));
                }
                Node::Symlink { .. } => {}
            }
        }
        let threads = ops::threads_for(threads, files.len(), bytes);
        ops::in_parallel(threads, &files, |(staged, index, digest, slot)| {
            let file = match linked(stage, staged, digest) {
                Some(file) => file,
                None => {
                    let mode = Mode::from_raw_mode(0o644);
                    let file = stage.create_file(staged, mode).map_err(self.at(*index))?;
                    store.copy_blob(digest, &file)?;
                    file
                }
            };
            let facts = facts_of(&file).map_err(self.at(*index))?;
            slot.get_or_init(|| facts);
            Ok::<_, RestoreError>(())
        })?;
        for (_, index, _, slot) in files {
            facts[index] = slot.into_inner();
        }
        if !programs.is_empty() {
            with_writer(stage, |writer| {
                programs.into_iter().try_for_each(|(staged, index, digest)| {
                    let written = writer.write(staged, |into| store.read_blob(digest, into))?;
                    facts[index] = Some(written.map_err(self.at(index))?);
                    Ok::<_, RestoreError>(())
                })
            })?;
        }
        for (staged, index) in &self.plan.staged {
            if let Node::Symlink { target, .. } = &self.wanted[*index].1 {
                let linked = rustix::fs::symlinkat(target.as_slice(), stage, staged.as_slice());
                linked.map_err(|error| self.at(*index)(error.into()))?;
                facts[*index] = None;
            }
        }
        Ok(())
    }

    fn at(&self, index: usize) -> impl Fn(io::Error) -> RestoreError + '_ {
        RestoreError::at(&self.wanted[index].0)
    }

    /// Removes what was moved away or exchanged and, after a failure, what was not put in place. The stage
    /// itself goes with the process.
    pub(crate) fn clear(&self, failed: bool) {
        for op in &self.plan.ops {
            let _ = match op {
                Op::Remove { waste, .. } => self.stage.folder().remove(waste),
                Op::Install { staged, over, .. } if failed || *over => self.stage.folder().remove(staged),
                Op::Install { .. } => Ok(()),
            };
        }
    }
}

/// The planted way: the cache's own file under another name.
#[cfg(feature = "chaos")]
fn linked(stage: &Folder, staged: &[u8], digest: &Digest) -> Option<File> {
    if !planted(Bug::HardLinks) {
        return None;
    }
    let store = crate::chaos::STORE.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()?;
    let blob = store.join(crate::entry::EntryPath::blob(&digest.hash).as_str());
    let none = rustix::fs::AtFlags::empty();
    rustix::fs::linkat(rustix::fs::CWD, blob, stage, staged, none).ok()?;
    rustix::fs::chmodat(stage, staged, Mode::from_raw_mode(0o644), none).ok()?;
    stage.open_file(staged).ok()
}

/// Never.
#[cfg(not(feature = "chaos"))]
#[inline(always)]
fn linked(_: &Folder, _: &[u8], _: &Digest) -> Option<File> {
    None
}
