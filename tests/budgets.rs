//! iact keeps its budgets: system calls by `strace`, instructions by `callgrind`, counted and compared with `budgets.toml`. A
//! missing tool skips a test, and says so.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests touch the world")]
#![allow(clippy::print_stderr, reason = "a skipped test says why")]

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Calls for memory and for waiting.
const BY_LUCK: [&str; 17] = [
    "brk",
    "clock_nanosleep",
    "futex",
    "getpgid",
    "getpgrp",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "poll",
    "ppoll",
    "restart_syscall",
    "sched_yield",
    "wait4",
    "waitid",
    "rt_sigreturn",
];
const WRITES: [&str; 12] = [
    "write",
    "pwrite64",
    "writev",
    "copy_file_range",
    "sendfile",
    "ftruncate",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdirat",
];
const FILES_PER_TARGET: u64 = 4;

/// Which program: an optimised one, if it is named.
fn program() -> PathBuf {
    std::env::var_os("IACT_BUDGETS_OF").map_or_else(|| env!("CARGO_BIN_EXE_iact").into(), PathBuf::from)
}

fn budget(table: &str, name: &str) -> f64 {
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/budgets.toml")).unwrap();
    let budgets: toml::Table = text.parse().unwrap();
    let value = &budgets[table][name];
    value.as_float().or_else(|| value.as_integer().map(|number| number as f64)).unwrap()
}

fn insist(table: &str, name: &str, measured: f64) {
    let allowed = budget(table, name);
    eprintln!("{table}.{name}: {measured:.2} of {allowed}");
    assert!(
        measured <= allowed,
        "{table}.{name} is {measured:.2}, and {allowed} is allowed (tests/budgets.toml)"
    );
}

/// A busy machine adds calls (one more look at a child that takes its time) and takes none away: one of a few tries has to do.
fn undisturbed(measure: impl Fn() + std::panic::RefUnwindSafe) {
    if !(0..3).any(|_| std::panic::catch_unwind(&measure).is_ok()) {
        measure();
    }
}

fn is_there(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let found = found.is_ok_and(|status| status.success());
    if !found {
        eprintln!("skipped: no `{tool}` here");
    }
    found
}

/// A workspace of so many targets with three inputs and one output each, all of them goals.
struct Work {
    folder: tempfile::TempDir,
    targets: u64,
}

impl Work {
    fn new(targets: u64, keys: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("work");
        fs::create_dir_all(root.join("src")).unwrap();
        let mut text = String::new();
        let mut goals = Vec::new();
        for number in 0..targets {
            for letter in ["a", "b", "c"] {
                fs::write(root.join(format!("src/{number}{letter}")), format!("{number}{letter}\n")).unwrap();
            }
            let inputs = ["a", "b", "c"].map(|letter| format!("\"src/{number}{letter}\"")).join(", ");
            let _ = write!(
                text,
                "[target.t{number}]\ninputs = [{inputs}]\noutputs = [\"out/{number}\"]\n{keys}\n\
                 exec = [\"cp\", \"src/{number}a\", \"out/{number}\"]\n"
            );
            goals.push(format!("\"t{number}\""));
        }
        let text =
            format!("[workspace]\ndefault = [\"all\"]\n[target.all]\ndeps = [{}]\n{text}", goals.join(", "));
        fs::write(root.join("Iactfile.toml"), text).unwrap();
        Self { folder, targets }
    }

    fn files(&self) -> u64 {
        self.targets * FILES_PER_TARGET
    }

    fn root(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    fn command(&self, before: &[&str]) -> Command {
        let mut words = before.iter().map(PathBuf::from).chain([program(), "-q".into(), "-j2".into()]);
        let mut command = Command::new(words.next().unwrap());
        command.args(words).current_dir(self.root()).stdin(Stdio::null());
        // Where cargo tells the loader to look costs calls of its own.
        command.env_remove("LD_LIBRARY_PATH").env_remove("MAKEFLAGS");
        // Every folder in front of the command's own costs a look.
        command.env("PATH", "/usr/bin:/bin");
        command.env("IACT_CACHE_DIR", self.folder.path().join("cache"));
        command
    }

    fn run(&self) {
        assert!(self.command(&[]).status().unwrap().success());
    }

    /// Up to date, and at rest for long enough to be believed.
    fn settled(self) -> Self {
        self.run();
        std::thread::sleep(Duration::from_millis(2_200));
        self.run();
        self
    }

    /// The calls of a run and all it starts, by name.
    fn calls(&self) -> BTreeMap<String, u64> {
        let log = self.folder.path().join("calls");
        let status = self.command(&["strace", "-f", "-c", "-o", log.to_str().unwrap()]).status().unwrap();
        assert!(status.success());
        counts(&log)
    }

    fn runs_under_valgrind(&self) -> bool {
        let status = self.command(&["valgrind", "-q", "--tool=none"]).stderr(Stdio::null()).status();
        let runs = status.is_ok_and(|status| status.success());
        if !runs {
            eprintln!("skipped: actions cannot be run under this valgrind");
        }
        runs
    }

    fn instructions(&self) -> u64 {
        let log = self.folder.path().join("instructions");
        let file = format!("--callgrind-out-file={}", log.display());
        let status =
            self.command(&["valgrind", "-q", "--tool=callgrind", &file]).stderr(Stdio::null()).status();
        assert!(status.unwrap().success());
        let text = fs::read_to_string(&log).unwrap();
        let summary =
            text.lines().find_map(|line| line.strip_prefix("totals: ").or(line.strip_prefix("summary: ")));
        summary.and_then(|number| number.trim().parse().ok()).expect("callgrind tells a sum")
    }
}

/// `strace -c`: a table whose fourth column is the number of calls and whose last one is the name.
fn counts(log: &Path) -> BTreeMap<String, u64> {
    let text = fs::read_to_string(log).unwrap();
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let name = words.last().filter(|name| **name != "total")?;
        Some(((*name).to_owned(), words.get(3)?.parse().ok()?))
    };
    text.lines().filter_map(row).collect()
}

fn sum(calls: &BTreeMap<String, u64>) -> u64 {
    calls.iter().filter(|(name, _)| !BY_LUCK.contains(&name.as_str())).map(|(_, count)| count).sum()
}

fn of(calls: &BTreeMap<String, u64>, names: &[&str]) -> u64 {
    names.iter().filter_map(|name| calls.get(*name)).sum()
}

fn threads(calls: &BTreeMap<String, u64>, processes: u64) -> f64 {
    of(calls, &["clone", "clone3", "vfork", "fork"]).saturating_sub(processes) as f64
}

/// How much each more costs, between a small and a large number.
fn slope((few, many): (f64, f64), (less, more): (u64, u64)) -> f64 {
    (many - few) / (more - less) as f64
}

/// What one `cp` costs by itself.
fn copies_calls(folder: &Path) -> f64 {
    let log = folder.join("cp");
    fs::write(folder.join("from"), "x\n").unwrap();
    let words = ["-f", "-c", "-o", log.to_str().unwrap(), "cp", "from", "to"];
    let mut command = Command::new("strace");
    // Its own calls depend on the language, so it gets the one that actions get.
    command.args(words).current_dir(folder).env_clear().env("LANG", "C.UTF-8");
    command.envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    assert!(command.status().unwrap().success());
    // The first one of a summary is the `execve` that strace itself makes.
    sum(&counts(&log)) as f64
}

#[test]
fn nothing_to_do_costs_a_look_at_each_file() {
    if is_there("strace") {
        undisturbed(up_to_date);
    }
}

fn up_to_date() {
    let (small, large) = (Work::new(20, "").settled(), Work::new(120, "").settled());
    let calls = (small.calls(), large.calls());
    let sums = (sum(&calls.0) as f64, sum(&calls.1) as f64);
    insist("up-to-date", "calls_per_file", slope(sums, (small.files(), large.files())));
    insist("up-to-date", "calls_beside_files", sums.0 - small.files() as f64);
    insist("up-to-date", "threads", threads(&calls.1, 0));
    insist("up-to-date", "writes", of(&calls.1, &WRITES) as f64);
    if cfg!(debug_assertions) && std::env::var_os("IACT_BUDGETS_OF").is_none() {
        eprintln!("skipped: instructions are counted for an optimised program (IACT_BUDGETS_OF)");
        return;
    }
    if is_there("valgrind") {
        let sums = (small.instructions() as f64, large.instructions() as f64);
        let each = slope(sums, (small.files(), large.files()));
        insist("up-to-date", "instructions_per_file", each);
        insist("up-to-date", "instructions_beside_files", sums.0 - each * small.files() as f64);
    }
}

#[test]
fn an_edited_iactfile_costs_one_look_at_each_file_too() {
    if is_there("strace") {
        undisturbed(iactfile_edited);
    }
}

fn iactfile_edited() {
    let (small, large) = (Work::new(20, "").settled(), Work::new(120, "").settled());
    let counted = [&small, &large].map(|work| {
        let file = fs::File::options().append(true).open(work.root().join("Iactfile.toml"));
        writeln!(file.unwrap(), "# edited").unwrap();
        sum(&work.calls()) as f64
    });
    insist("iactfile-edited", "calls_per_file", slope(counted.into(), (small.files(), large.files())));
}

#[test]
fn an_action_costs_so_many_calls_to_run_to_store_and_to_restore() {
    if is_there("strace") {
        undisturbed(actions);
    }
}

fn actions() {
    for (table, keys) in [("run", "cache = false"), ("run-and-store", "")] {
        let (small, large) = (Work::new(10, keys), Work::new(60, keys));
        let copy = copies_calls(small.folder.path());
        let calls = (small.calls(), large.calls());
        let each = slope((sum(&calls.0) as f64, sum(&calls.1) as f64), (small.targets, large.targets));
        insist(table, "calls_per_action", each - copy);
        insist(table, "threads", threads(&calls.1, large.targets));
        if table == "run-and-store" {
            let restored = [&small, &large].map(|work| {
                fs::remove_dir_all(work.root().join("out")).unwrap();
                sum(&work.calls()) as f64
            });
            insist("restore", "calls_per_action", slope(restored.into(), (small.targets, large.targets)));
        }
    }
}

#[test]
fn an_action_costs_so_many_instructions_to_run_and_to_restore() {
    if cfg!(debug_assertions) && std::env::var_os("IACT_BUDGETS_OF").is_none() {
        eprintln!("skipped: instructions are counted for an optimised program (IACT_BUDGETS_OF)");
        return;
    }
    if !is_there("valgrind") || !Work::new(1, "").runs_under_valgrind() {
        return;
    }
    for (table, keys) in [("run", "cache = false"), ("restore", "")] {
        let works = (Work::new(10, keys).settled(), Work::new(60, keys).settled());
        undisturbed(|| {
            let counted = [&works.0, &works.1].map(|work| {
                fs::remove_dir_all(work.root().join("out")).unwrap();
                work.instructions() as f64
            });
            let each = slope(counted.into(), (works.0.targets, works.1.targets));
            insist(table, "instructions_per_action", each);
        });
    }
}

#[test]
fn one_edit_costs_little_for_each_other_target() {
    if is_there("strace") {
        undisturbed(one_edit);
    }
}

fn one_edit() {
    let (small, large) = (Work::new(20, "").settled(), Work::new(120, "").settled());
    let edit = |work: &Work, text: &str| fs::write(work.root().join("src/7a"), text).unwrap();
    let counted = [&small, &large].map(|work| {
        edit(work, "edited\n");
        sum(&work.calls()) as f64
    });
    insist("one-edited", "calls_per_other_target", slope(counted.into(), (small.targets, large.targets)));
    if cfg!(debug_assertions) && std::env::var_os("IACT_BUDGETS_OF").is_none() {
        eprintln!("skipped: instructions are counted for an optimised program (IACT_BUDGETS_OF)");
        return;
    }
    // An old valgrind knows no `pidfd_open` and can run no action; up-to-date runs are counted all the same.
    if is_there("valgrind") && Work::new(1, "").runs_under_valgrind() {
        let counted = [&small, &large].map(|work| {
            edit(work, "edited again\n");
            work.instructions() as f64
        });
        insist(
            "one-edited",
            "instructions_per_other_target",
            slope(counted.into(), (small.targets, large.targets)),
        );
    }
}
