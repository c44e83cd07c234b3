//! What was remembered comes back; a journal that was cut or flipped anywhere gives what came before, and heals.
#![allow(clippy::disallowed_methods, reason = "a test reads and damages files")]

use super::ahead::Ahead;
use super::*;
use crate::content::{Content, Stat};
use crate::record::{Brought, Definition, Made};
use iact_cache::Digest;
use std::os::fd::AsFd;

const FUNCTION: DigestFunction = DigestFunction::Blake3;

fn content(text: &str) -> Content {
    Content::file(Digest::of(FUNCTION, text.as_bytes()), false)
}

fn memo(size: u64) -> Memo {
    let stat = Stat { dev: 1, ino: 2, size, mtime_ns: -3, ctime_ns: 4, mode: 0o100_644 };
    Memo { stat, content: content("x"), trusted: size.is_multiple_of(2) }
}

fn record(journal: &mut Journal, number: u64) -> Record {
    let path = |journal: &mut Journal, name: &str| journal.paths.intern(format!("{name}{number}").as_bytes());
    let (input, made) = (path(journal, "in\n\u{e9}"), path(journal, "out"));
    Record {
        definition: Definition {
            whole: [1; 32],
            env: vec![("LANG".into(), [2; 32])],
            ..Definition::default()
        },
        inputs: vec![(input, content("1"))],
        discovered: vec![(path(journal, "h"), content("2"))],
        brought: vec![Brought { path: path(journal, "dep"), content: content("3"), target: "d".into() }],
        outputs: vec![Made { path: made, content: content("4"), declared: true }],
        fingerprint: [9; 32],
        duration_ms: number,
        finished_unix_ms: 7,
        moved: (number == 3).then_some(input),
        exports: vec![("snapshot".into(), "42".into())],
        log: Some("ab".into()),
    }
}

/// What a journal knows, with paths by name.
fn known(journal: &Journal) -> Vec<(String, String)> {
    let mut all: Vec<(String, String)> = journal
        .names()
        .map(|name| {
            let record = journal.record(name).expect("it was just named");
            let paths: Vec<_> =
                record_paths(record).map(|path| journal.paths.show(path).into_owned()).collect();
            let blank = renumbered(record.clone(), |_| PathId(0));
            (name.to_owned(), format!("{paths:?} {blank:?}"))
        })
        .collect();
    all.sort_unstable();
    all
}

fn filled(path: &Path, count: u64) -> Journal {
    let mut journal = Journal::read(path.to_owned(), FUNCTION);
    for number in 0..count {
        let record = record(&mut journal, number);
        journal.remember_file(record.inputs[0].0, memo(number));
        journal.remember(&format!("t{number}"), record);
        journal.flush().expect("a temporary folder can be written");
    }
    journal
}

#[test]
fn what_was_remembered_comes_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(".iact/journal");
    let mut journal = filled(&path, 5);
    journal.forget("t2");
    journal.flush().expect("it can be written");
    let again = Journal::read(path.clone(), FUNCTION);
    assert_eq!(known(&again), known(&journal));
    assert_eq!(again.names().count(), 4);
    let input = again.paths.find("in\n\u{e9}1".as_bytes()).expect("it was named");
    assert_eq!(again.memo(input), Some(&memo(1)));
    assert!(
        known(&Journal::read(path, DigestFunction::Sha256)).is_empty(),
        "digests of another kind mean nothing"
    );
}

#[test]
fn nothing_new_writes_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(".iact/journal");
    Journal::read(path.clone(), FUNCTION).close().expect("nothing to do");
    assert!(!path.exists());
}

#[test]
fn outdated_entries_are_dropped_when_they_are_most_of_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let mut journal = filled(&path, 3);
    for _ in 0..3_000 {
        let record = record(&mut journal, 1);
        journal.remember("t1", record);
    }
    let before = known(&journal);
    journal.close().expect("it can be written");
    let length = std::fs::metadata(&path).expect("it is there").len();
    assert!(length < 10_000, "{length}");
    let again = Journal::read(path, FUNCTION);
    assert_eq!(known(&again), before);
}

/// Damages a journal in every way `harm` knows; what is left must be a prefix of what was, and must heal.
fn survives(harm: impl Fn(&[u8], usize) -> Vec<u8>) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal");
    let full = known(&filled(&path, 4));
    let bytes = std::fs::read(&path).expect("it is there");
    let mut fewest = 0;
    for at in 0..bytes.len() {
        std::fs::write(&path, harm(&bytes, at)).expect("it can be written");
        let mut journal = Journal::read(path.clone(), FUNCTION);
        let left = known(&journal);
        assert!(left.iter().all(|entry| full.contains(entry)), "byte {at}: something else came back");
        assert!(left.len() >= fewest, "byte {at}: a later damage loses more");
        fewest = left.len();
        let fresh = record(&mut journal, 9);
        journal.remember("fresh", fresh);
        journal.flush().expect("it can be written");
        let healed = Journal::read(path.clone(), FUNCTION);
        assert_eq!(healed.names().count(), left.len() + 1, "byte {at}: it does not heal");
    }
}

#[test]
fn a_journal_cut_at_any_byte_keeps_what_came_before() {
    survives(|bytes, at| bytes[..at].to_vec());
}

#[test]
fn a_journal_flipped_at_any_byte_keeps_what_came_before() {
    survives(|bytes, at| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 0x10;
        bytes
    });
}

#[test]
fn any_bytes_are_a_journal_or_none() {
    proptest::proptest!(|(tail in proptest::collection::vec(proptest::num::u8::ANY, 0..400))| {
        let mut bytes = format::header(FUNCTION).to_vec();
        bytes.extend_from_slice(&tail);
        format::read(&bytes, FUNCTION, |_, _| true);
    });
}

#[test]
fn a_journal_read_ahead_counts_only_if_nobody_wrote_since_and_for_its_digests() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join(".iact/journal");
    let root = File::open(folder.path()).expect("it is there");
    assert!(Ahead::read(path.clone()).is_none(), "there is none");
    let journal = filled(&path, 3);
    let ahead = || Ahead::read(path.clone()).expect("it is a journal");
    let taken = ahead().take(root.as_fd(), FUNCTION).expect("nobody wrote");
    assert_eq!(known(&taken), known(&journal));
    assert!(ahead().take(root.as_fd(), DigestFunction::Sha256).is_none(), "other digests");
    let before = [ahead(), ahead()];
    filled(&path, 1);
    for ahead in before {
        assert!(ahead.take(root.as_fd(), FUNCTION).is_none(), "somebody wrote");
    }
    let before = ahead();
    std::fs::copy(&path, path.with_extension("new")).expect("it can be copied");
    std::fs::rename(path.with_extension("new"), &path).expect("it can be replaced");
    assert!(before.take(root.as_fd(), FUNCTION).is_none(), "another file");
    std::fs::write(&path, "no journal").expect("it can be written");
    assert!(Ahead::read(path).is_none(), "no journal");
}
