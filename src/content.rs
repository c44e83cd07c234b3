//! What is at a path, as far as a fingerprint cares ([`Content`]), and what the file system says of it for
//! nothing ([`Stat`]): the two halves of the memo that makes an up-to-date check cheap.

use iact_cache::chaos::{Bug, planted};
use iact_cache::{Digest, DigestFunction};

/// The facts of a file that move when its content may have: equal facts, equal content (but for
/// [`Memo::trusted`]).
pub use iact_cache::FileFacts as Stat;

/// What kind of thing is at a path. Of a file's mode only the executable bit counts; owners and times never
/// do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum ContentKind {
    /// A regular file.
    File = 1,
    /// A regular file that its owner may execute.
    Executable = 2,
    /// A symbolic link.
    Link = 3,
    /// A folder with all that is below it.
    Folder = 4,
}

impl ContentKind {
    /// The kind of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::File, Self::Executable, Self::Link, Self::Folder]
            .into_iter()
            .find(|&kind| kind as u8 == number)
    }
}

/// Kind and digest: of a file's bytes, of a link's own text (with what it reads through to), of a folder's
/// root `Directory`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Content {
    /// What it is.
    pub kind: ContentKind,
    /// Its digest.
    pub digest: Digest,
}

impl Content {
    /// A regular file.
    pub fn file(digest: Digest, executable: bool) -> Self {
        Self { kind: if executable { ContentKind::Executable } else { ContentKind::File }, digest }
    }

    /// A link: its text and, where reading through it ends at a regular file, that file's content. Both parts
    /// are length-prefixed, so that no two links share a digest.
    pub fn link(function: DigestFunction, text: &[u8], through: Option<Self>) -> Self {
        let mut bytes = Vec::with_capacity(text.len() + 64);
        bytes.extend_from_slice(&(text.len() as u64).to_le_bytes());
        bytes.extend_from_slice(text);
        if let Some(through) = through {
            bytes.push(through.kind as u8);
            bytes.extend_from_slice(&through.digest.hash);
        }
        Self { kind: ContentKind::Link, digest: Digest::of(function, &bytes) }
    }
}

/// How old a file's times must be when it is read for its [`Stat`] to vouch for its content later: two ticks
/// of the coarsest file system (FAT; ext2 with 128-byte inodes has one-second ticks). A younger file may
/// change again without a trace.
pub const RACY_NS: i64 = 2_000_000_000;

/// What a file was the last time it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memo {
    /// Before it was read, and after.
    pub stat: Stat,
    /// What was read.
    pub content: Content,
    /// Whether its times were old enough when it was read ([`RACY_NS`]); times in the future never are.
    pub trusted: bool,
}

impl Memo {
    /// A memo made at `now_ns` by the clock of the file's own file system.
    pub fn new(stat: Stat, content: Content, now_ns: i64) -> Self {
        let old = stat.moved_ns() < now_ns.saturating_sub(RACY_NS);
        Self { stat, content, trusted: old || planted(Bug::RacyMemo) }
    }

    /// The content of a file that shows `stat` now, if this memo may vouch for it.
    pub fn vouches(&self, stat: &Stat) -> Option<Content> {
        if planted(Bug::MtimeOnly) {
            return (self.stat.mtime_ns == stat.mtime_ns).then_some(self.content);
        }
        (self.trusted && self.stat == *stat).then_some(self.content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn a_memo_vouches_only_for_times_that_were_old_and_have_not_moved() {
        let stat =
            Stat { dev: 1, ino: 2, size: 3, mtime_ns: 100 * SECOND, ctime_ns: 101 * SECOND, mode: 0o100_644 };
        let content = Content { kind: ContentKind::File, digest: Digest::of(DigestFunction::Blake3, b"x") };
        let at = |now_ns| Memo::new(stat, content, now_ns);
        for (now_ns, trusted) in [
            (50 * SECOND, false),
            (101 * SECOND, false),
            (103 * SECOND, false),
            (103 * SECOND + 1, true),
            (i64::MAX, true),
            (i64::MIN, false),
        ] {
            assert_eq!(at(now_ns).vouches(&stat).is_some(), trusted, "{now_ns}");
        }
        let memo = at(200 * SECOND);
        for moved in [
            Stat { dev: 9, ..stat },
            Stat { ino: 9, ..stat },
            Stat { size: 9, ..stat },
            Stat { mtime_ns: 9, ..stat },
            Stat { ctime_ns: 9, ..stat },
            Stat { mode: 0o100_755, ..stat },
        ] {
            assert_eq!(memo.vouches(&moved), None, "{moved:?}");
        }
    }
}
