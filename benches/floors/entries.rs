//! What is done with a cache of a million entries, beside the same with a thousand.

use crate::race::{IACT, Table, cache, nothing, race, racer, run};
use iact_cache::{Digest, DigestFunction, LocalOptions, LocalStore, OutputEntry, OutputKind, StoredResult};
use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const FEW: u32 = 500;
const MANY: u32 = 500_000;
const REST: Duration = Duration::from_millis(2_500);
/// Results that one batch holds.
const AT_ONCE: u32 = 10_000;

/// A folder with one target, and a cache with so many results of one small blob each.
fn filled(folder: PathBuf, results: u32) -> PathBuf {
    fs::create_dir_all(&folder).expect("a folder");
    let text = "[workspace]\ndefault = [\"one\"]\n[target.one]\ninputs = [\"in\"]\noutputs = [\"out\"]\n\
                exec = [\"cp\", \"in\", \"out\"]\n";
    fs::write(folder.join("Iactfile.toml"), text).expect("a file");
    fs::write(folder.join("in"), "in").expect("a file");
    let options = LocalOptions { digest: DigestFunction::Blake3, durable: false, read_only: false };
    let store = LocalStore::open(cache(&folder), options).expect("a cache");
    for first in (0..results).step_by(AT_ONCE as usize) {
        let batch = store.batch();
        for number in first..results.min(first + AT_ONCE) {
            let digest = batch.put_bytes(&number.to_le_bytes());
            let kind = OutputKind::File { digest, executable: false };
            let result = StoredResult {
                outputs: vec![OutputEntry { path: "out".to_owned(), kind }],
                finished_unix_ms: 1_700_000_000_000,
                ..StoredResult::default()
            };
            let action = format!("action {number}");
            batch.put_result(&Digest::of(DigestFunction::Blake3, action.as_bytes()), &result);
        }
        batch.commit().expect("stored");
    }
    std::thread::sleep(REST);
    run(&folder, &[IACT, "cache", "gc"]);
    folder
}

pub(crate) fn many_entries(folder: &Path, table: &mut Table) {
    let [few, many] = [("few", FEW), ("many", MANY)].map(|(name, count)| filled(folder.join(name), count));
    let mut edits = 0;
    let mut edit = |folder: &Path| {
        edits += 1;
        fs::write(folder.join("in"), edits.to_string()).expect("a file");
    };
    let mut pair = |what: &str, words: &[&str], prepare: &mut dyn FnMut(&Path)| {
        let prepare = RefCell::new(prepare);
        let mut racers = [few.as_path(), many.as_path()].map(|folder| {
            let prepare = &prepare;
            racer(move || prepare.borrow_mut()(folder), move || run(folder, words))
        });
        let times = race(9, &mut racers);
        table.row(what, ("1,000 entries", times[0]), times[1], &[]);
    };
    pair("a million entries: nothing to do", &[IACT, "-q"], &mut |_| nothing());
    pair("… one action run and stored", &[IACT, "-q"], &mut edit);
    pair("… `cache gc` after it", &[IACT, "cache", "gc"], &mut |folder| {
        // What changed a moment ago is listed once more, and is not what this one is about.
        std::thread::sleep(REST);
        run(folder, &[IACT, "cache", "gc"]);
        edit(folder);
        run(folder, &[IACT, "-q"]);
    });
    for folder in [&few, &many] {
        std::thread::sleep(REST);
        run(folder, &[IACT, "cache", "gc"]);
    }
    pair("… `cache gc` again", &[IACT, "cache", "gc"], &mut |_| nothing());
    pair("… `cache du`", &[IACT, "cache", "du"], &mut |_| nothing());
}
