//! Programs and plain work, timed in turns, and the table of what came out.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub(crate) const IACT: &str = env!("CARGO_BIN_EXE_iact");

/// Rows of one run.
#[derive(Default)]
pub(crate) struct Table {
    pub(crate) text: String,
}

impl Table {
    pub(crate) fn row(
        &mut self,
        what: &str,
        floor: (&str, Duration),
        iact: Duration,
        peers: &[(&str, Duration)],
    ) {
        let ratio = iact.as_secs_f64() / floor.1.as_secs_f64();
        let peers: Vec<String> = peers.iter().map(|(name, time)| format!("{name} {}", ms(*time))).collect();
        let (name, floor) = floor;
        let _ = writeln!(
            self.text,
            "| {what} | {} | {} ({name}) | {ratio:.2} | {} |",
            ms(iact),
            ms(floor),
            peers.join(", ")
        );
    }

    pub(crate) fn print(&self, folder: &Path) {
        let system = rustix::system::uname();
        let model = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = model.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let kind = said(Command::new("stat").args(["-f", "-c", "%T"]).arg(folder));
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        println!(
            "{}; {threads} threads, {}; {} {}; {}",
            said(Command::new("date").arg("+%F")).trim(),
            model.trim_start_matches([' ', '\t', ':']),
            system.sysname().to_string_lossy(),
            system.release().to_string_lossy(),
            kind.trim(),
        );
        for program in ["iact", "make", "ninja"] {
            let path = if program == "iact" { IACT } else { program };
            let version = said(Command::new(path).arg("--version"));
            println!("{program}: {}", version.lines().next().unwrap_or("not installed"));
        }
        println!("\n| what | iact | floor | ratio | others |\n|---|---|---|---|---|\n{}", self.text);
    }
}

pub(crate) fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

pub(crate) fn said(command: &mut Command) -> String {
    let output = command.stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

pub(crate) fn is_installed(program: &str) -> bool {
    !said(Command::new(program).arg("--version")).is_empty()
}

/// One thing that is measured: what has to be done before, and what takes the time.
pub(crate) struct Racer<'a> {
    prepare: Box<dyn FnMut() + 'a>,
    run: Box<dyn FnMut() + 'a>,
}

pub(crate) fn racer<'a>(prepare: impl FnMut() + 'a, run: impl FnMut() + 'a) -> Racer<'a> {
    Racer { prepare: Box::new(prepare), run: Box::new(run) }
}

/// Medians of all, each round one of each; one round more to warm up.
pub(crate) fn race(rounds: usize, racers: &mut [Racer<'_>]) -> Vec<Duration> {
    let mut times = vec![Vec::new(); racers.len()];
    for round in 0..=rounds {
        for (racer, times) in racers.iter_mut().zip(&mut times) {
            (racer.prepare)();
            let began = Instant::now();
            (racer.run)();
            if round > 0 {
                times.push(began.elapsed());
            }
        }
    }
    for times in &mut times {
        times.sort_unstable();
    }
    times.iter().map(|times| times[times.len() / 2]).collect()
}

/// The two halves of a piece of work, on two threads.
pub(crate) fn in_two<T: Sync>(items: &[T], each: impl Fn(&T) + Sync) {
    let (left, right) = items.split_at(items.len() / 2);
    std::thread::scope(|scope| {
        scope.spawn(|| left.iter().for_each(&each));
        right.iter().for_each(&each);
    });
}

/// A program run to success, quietly, in a folder whose cache lies beside it.
pub(crate) fn run(folder: &Path, words: &[&str]) {
    let status = Command::new(words[0])
        .args(&words[1..])
        .current_dir(folder)
        .env("IACT_CACHE_DIR", cache(folder))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{words:?}: {status:?}");
}

pub(crate) fn cache(folder: &Path) -> PathBuf {
    folder.with_extension("cache")
}

pub(crate) fn nothing() {}

pub(crate) fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", path.display()),
        _ => {}
    }
}
