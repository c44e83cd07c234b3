//! Whole runs beside what a perfect tool would pay and beside make and ninja, if they are installed, as one Markdown
//! table: `cargo bench --bench floors [-- WORD…]`. Words choose parts (`unchanged`, `edited`, `globbed`, `cold`, `digests`, `restore`,
//! `start`, `memory`, and, only if it is named, `entries`), numbers how many
//! targets the first has (100 1000 10000).
//!
//! Everything is measured in one run, interleaved, in medians: absolute times hold nowhere else, ratios nearly do. Processes are timed
//! from outside, start included; the floor of an up-to-date check is `statx` of the same files on two threads, without a process
//! around it. `FLOORS_DIR` says where to work; by default the temporary folder.
#![allow(clippy::disallowed_methods, reason = "a benchmark: makes files, runs programs, asks the time")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints what it measured")]

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

mod cold;
mod entries;
mod race;
mod restore;
mod unchanged;
mod work;

use race::{IACT, Table, cache, nothing, race, racer, remove, run};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let sizes: Vec<usize> = words.iter().filter_map(|word| word.parse().ok()).collect();
    let sizes = if sizes.is_empty() { vec![100, 1_000, 10_000] } else { sizes };
    let parts: Vec<&String> = words.iter().filter(|word| word.parse::<usize>().is_err()).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|wanted| *wanted == part);
    let place = std::env::var_os("FLOORS_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let scratch = tempfile::tempdir_in(place).expect("a folder");
    let mut table = Table::default();
    for size in sizes.into_iter().filter(|_| wanted("unchanged")) {
        eprintln!("up to date, {size} targets");
        unchanged::up_to_date(&scratch.path().join(format!("n{size}")), size, &mut table);
    }
    if wanted("edited") {
        eprintln!("edited");
        unchanged::edited(&scratch.path().join("edited"), 10_000, &mut table);
    }
    if wanted("globbed") {
        eprintln!("many files");
        unchanged::globbed(&scratch.path().join("globbed"), &mut table);
    }
    if wanted("cold") {
        eprintln!("everything made");
        cold::cold(&scratch.path().join("cold"), &mut table);
    }
    if wanted("digests") {
        eprintln!("digests");
        cold::digests(&scratch.path().join("digests"), &mut table);
    }
    if wanted("restore") {
        eprintln!("restoring");
        restore::small_outputs(&scratch.path().join("small"), &mut table);
        restore::large_tree(&scratch.path().join("tree"), &mut table);
    }
    if wanted("start") {
        start(&mut table);
    }
    if wanted("memory") {
        eprintln!("a large output");
        memory(&scratch.path().join("memory"), &mut table);
    }
    if parts.iter().any(|part| *part == "entries") {
        eprintln!("a million entries");
        entries::many_entries(&scratch.path().join("entries"), &mut table);
    }
    table.print(scratch.path());
}

fn start(table: &mut Table) {
    let here = Path::new("/");
    let times = race(
        50,
        &mut [racer(nothing, || run(here, &["true"])), racer(nothing, || run(here, &[IACT, "--version"]))],
    );
    table.row("`iact --version`", ("true", times[0]), times[1], &[]);
}

/// The most memory iact itself held while it made, stored and restored a gigabyte.
fn memory(folder: &Path, table: &mut Table) {
    fs::create_dir_all(folder).expect("a folder");
    let text = "[workspace]\ndefault = [\"big\"]\n[target.big]\ninputs = []\noutputs = [\"big\"]\n\
                run = \"head -c 1G /dev/urandom > {{ out }}\"\n";
    fs::write(folder.join("Iactfile.toml"), text).expect("a file");
    let stored = peak_kib(folder);
    fs::remove_file(folder.join("big")).expect("it was made");
    let restored = peak_kib(folder);
    remove(&cache(folder));
    let _ = writeln!(
        table.text,
        "| most memory for an output of 1 GiB | {} MiB stored, {} MiB restored | | | |",
        stored / 1024,
        restored / 1024
    );
}

/// The peak of a build's own resident memory, looked at until it ends.
fn peak_kib(folder: &Path) -> u64 {
    let mut child = Command::new(IACT)
        .arg("-q")
        .current_dir(folder)
        .env("IACT_CACHE_DIR", cache(folder))
        .stdin(Stdio::null())
        .spawn()
        .expect("iact starts");
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0;
    while child.try_wait().expect("it is a child").is_none() {
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok());
        peak = peak.max(kib.unwrap_or(0));
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(child.wait().is_ok_and(|status| status.success()));
    peak
}
