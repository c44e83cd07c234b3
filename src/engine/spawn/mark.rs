//! The mark that every process of an action carries in its environment, by which it is found again.
//!
//! `IACT_ACTION=<outer>:<run>.<number>`: the run that started it and the number of the action; an iact inside
//! an action puts its own behind that of the outer one, so that each finds what it started. It is no part of
//! an action's fingerprint.

#![allow(clippy::disallowed_methods, reason = "shell: the environments of this process and those above it")]

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// The name of the variable.
pub(crate) const MARKER: &str = "IACT_ACTION";

/// Whether this process was started, however deep below, by an action of that one.
pub fn is_started_by(pid: u32) -> bool {
    above(MARKER).any(|mark| names(&mark, pid)) || pids_above().any(|above| above == pid)
}

/// The values of a variable in this process and, where the system tells, in all above it: a command that clears its
/// environment does not hide from what it starts what it was started by.
pub fn above(variable: &'static str) -> impl Iterator<Item = Vec<u8>> {
    let own = std::env::var_os(variable).map(OsString::into_vec);
    let environs = pids_above().filter_map(|pid| std::fs::read(format!("/proc/{pid}/environ")).ok());
    own.into_iter()
        .chain(environs.filter_map(move |environ| value_in(&environ, variable).map(<[u8]>::to_vec)))
}

/// The processes above this one, as far as the system tells.
fn pids_above() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(std::os::unix::process::parent_id()), |pid| parent_of(*pid))
}

fn parent_of(pid: u32) -> Option<u32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The program's name, in brackets, may hold anything.
    String::from_utf8_lossy(&stat).rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

/// What a variable is in an environment block.
fn value_in<'e>(environ: &'e [u8], variable: &str) -> Option<&'e [u8]> {
    let mut entries = environ.split(|byte| *byte == 0);
    entries.find_map(|entry| entry.strip_prefix(variable.as_bytes())?.strip_prefix(b"="))
}

/// Whether a run in this mark is of that process.
fn names(mark: &[u8], pid: u32) -> bool {
    let begin = format!("{pid:x}-");
    mark.split(|byte| *byte == b':').any(|run| run.starts_with(begin.as_bytes()))
}

/// What to look for.
#[derive(Clone, Debug)]
pub(super) enum Mark {
    /// One action: its own part of the mark.
    Action(String),
    /// Every action of a run: the part before the point.
    Run(String),
}

impl Mark {
    /// Whether this environment block (as in `/proc/PID/environ`) carries the mark.
    pub(super) fn is_in(&self, environ: &[u8]) -> bool {
        environ
            .split(|byte| *byte == 0)
            .filter_map(|entry| entry.strip_prefix(MARKER.as_bytes())?.strip_prefix(b"="))
            .flat_map(|value| value.split(|byte| *byte == b':'))
            .any(|part| match self {
                Self::Action(action) => part == action.as_bytes(),
                Self::Run(run) => {
                    part.strip_prefix(run.as_bytes()).is_some_and(|rest| rest.starts_with(b"."))
                }
            })
    }
}

#[cfg(test)]
mod tests {
    use super::{Mark, names};

    #[test]
    fn a_mark_names_every_process_above() {
        let cases: [(&[u8], bool); 6] = [
            (b"1f-a9.3", true),
            (b"77-1.1:1f-a9.3", true),
            (b"1f-a9.3:77-1.1", true),
            (b"11f-a9.3", false),
            (b"77-1f-.1", false),
            (b"", false),
        ];
        for (mark, expected) in cases {
            assert_eq!(names(mark, 0x1f), expected, "{}", String::from_utf8_lossy(mark));
        }
    }

    #[test]
    fn a_mark_is_found_whole_and_at_any_depth_of_nesting() {
        let cases: [(&[u8], bool, bool); 7] = [
            (b"A=1\0IACT_ACTION=ab.1\0B=2\0", true, true),
            (b"IACT_ACTION=zz.9:ab.1:cc.3\0", true, true),
            (b"IACT_ACTION=ab.11\0", false, true),
            (b"IACT_ACTION=aab.1\0", false, false),
            (b"XIACT_ACTION=ab.1\0", false, false),
            (b"A=IACT_ACTION=ab.1\0", false, false),
            (b"", false, false),
        ];
        for (environ, action, run) in cases {
            assert_eq!(
                Mark::Action("ab.1".into()).is_in(environ),
                action,
                "{}",
                String::from_utf8_lossy(environ)
            );
            assert_eq!(Mark::Run("ab".into()).is_in(environ), run, "{}", String::from_utf8_lossy(environ));
        }
    }
}
