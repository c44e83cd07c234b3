//! Everything is made: many small actions, and the digests of large and of many files.

use crate::race::{IACT, Racer, Table, cache, in_two, is_installed, nothing, race, racer, remove, run};
use crate::work::{others, targets};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const COUNT: usize = 1_000;

/// Nothing made, nothing remembered, nothing in the cache.
fn forget(folder: &Path) {
    for name in ["out", ".iact", ".ninja_log", ".ninja_deps"] {
        let path = folder.join(name);
        if path.is_file() { fs::remove_file(&path).expect("it is there") } else { remove(&path) }
    }
    remove(&cache(folder));
    fs::create_dir(folder.join("out")).expect("a folder");
}

pub(crate) fn cold(folder: &Path, table: &mut Table) {
    let uncached = folder.with_extension("uncached");
    targets(folder, COUNT, "");
    targets(&uncached, COUNT, "cache = false\n");
    let numbers: Vec<usize> = (0..COUNT).collect();
    let spawn = |number: &usize| {
        let copy = Command::new("cp")
            .arg(format!("src/{number}a"))
            .arg(format!("out/{number}"))
            .current_dir(folder)
            .status();
        assert!(copy.is_ok_and(|status| status.success()));
    };
    let mut racers: Vec<Racer<'_>> = vec![
        racer(|| forget(folder), || in_two(&numbers, spawn)),
        racer(|| forget(&uncached), || run(&uncached, &[IACT, "-q", "-j2"])),
        racer(|| forget(folder), || run(folder, &[IACT, "-q", "-j2"])),
    ];
    let mut names = Vec::new();
    for (name, words) in others() {
        names.push(name);
        racers.push(racer(|| forget(folder), move || run(folder, words)));
    }
    let times = race(7, &mut racers);
    let peers: Vec<(&str, Duration)> = names.into_iter().zip(times[3..].iter().copied()).collect();
    let floor = ("start and wait, 2 threads", times[0]);
    table.row("1,000 actions of a `cp`, two jobs, `cache = false`", floor, times[1], &peers);
    table.row("the same, stored", floor, times[2], &peers);
}

/// A build that only has to know what its inputs hold, beside `b3sum`.
pub(crate) fn digests(folder: &Path, table: &mut Table) {
    if !is_installed("b3sum") {
        eprintln!("no b3sum (`cargo install b3sum`): digests are left out");
        return;
    }
    let bytes: Vec<u8> =
        (0..1_u32 << 18).flat_map(|at| at.wrapping_mul(2_654_435_761).to_le_bytes()).collect();
    let (large, small) = (folder.join("large"), folder.join("small"));
    fs::create_dir_all(large.join("in")).expect("a folder");
    fs::write(large.join("in/file"), bytes.repeat(1 << 10)).expect("a file");
    for number in 0..30_000_u32 {
        let inner = small.join(format!("in/{}", number / 100));
        fs::create_dir_all(&inner).expect("a folder");
        fs::write(inner.join(number.to_string()), format!("{number}\n").repeat(100)).expect("a file");
    }
    for (what, folder) in [("digest of 1 GiB", &large), ("digests of 30,000 small files", &small)] {
        let text = "[workspace]\ndefault = [\"all\"]\n[target.all]\ninputs = [\"in/\"]\ncache = false\nexec = [\"true\"]\n";
        fs::write(folder.join("Iactfile.toml"), text).expect("a file");
        let sums = "find in -type f -print0 | xargs -0 -n 15000 -P 2 b3sum --num-threads $0";
        let threads = if folder == &large { "2" } else { "1" };
        let mut racers = [
            racer(nothing, || run(folder, &["sh", "-c", sums, threads])),
            racer(|| remove(&folder.join(".iact")), || run(folder, &[IACT, "-q"])),
        ];
        let times = race(7, &mut racers);
        table.row(what, ("b3sum, 2 threads", times[0]), times[1], &[]);
        remove(&folder.join("in"));
    }
}
