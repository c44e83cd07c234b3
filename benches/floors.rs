//! Whole runs beside what a perfect tool would pay and beside make and ninja, if they are installed, as one Markdown
//! table: `cargo bench --bench floors [-- WORD…]`. Words choose parts (`unchanged`, `restore`, `start`, `memory`), numbers how many
//! targets the first has (100 1000 10000).
//!
//! Everything is measured in one run, interleaved, in medians: absolute times hold nowhere else, ratios nearly do. Processes are timed
//! from outside, start included; the floor of an up-to-date check is `statx` of the same files on two threads, without a process
//! around it. `FLOORS_DIR` says where to work; by default the temporary folder.
#![allow(clippy::disallowed_methods, reason = "a benchmark: makes files, runs programs, asks the time")]
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark prints what it measured")]

use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const IACT: &str = env!("CARGO_BIN_EXE_iact");

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
        up_to_date(&scratch.path().join(format!("n{size}")), size, &mut table);
    }
    if wanted("restore") {
        eprintln!("restoring");
        small_outputs(&scratch.path().join("small"), &mut table);
        large_tree(&scratch.path().join("tree"), &mut table);
    }
    if wanted("start") {
        start(&mut table);
    }
    if wanted("memory") {
        eprintln!("a large output");
        memory(&scratch.path().join("memory"), &mut table);
    }
    table.print(scratch.path());
}

/// Rows of one run.
#[derive(Default)]
struct Table {
    text: String,
}

impl Table {
    fn row(&mut self, what: &str, floor: (&str, Duration), iact: Duration, peers: &[(&str, Duration)]) {
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

    fn print(&self, folder: &Path) {
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

fn ms(time: Duration) -> String {
    let ms = time.as_secs_f64() * 1e3;
    if ms < 10.0 { format!("{ms:.2} ms") } else { format!("{ms:.0} ms") }
}

fn said(command: &mut Command) -> String {
    let output = command.stderr(Stdio::null()).output();
    output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default()
}

fn is_installed(program: &str) -> bool {
    !said(Command::new(program).arg("--version")).is_empty()
}

/// One thing that is measured: what has to be done before, and what takes the time.
struct Racer<'a> {
    prepare: Box<dyn FnMut() + 'a>,
    run: Box<dyn FnMut() + 'a>,
}

fn racer<'a>(prepare: impl FnMut() + 'a, run: impl FnMut() + 'a) -> Racer<'a> {
    Racer { prepare: Box::new(prepare), run: Box::new(run) }
}

/// Medians of all, each round one of each; one round more to warm up.
fn race(rounds: usize, racers: &mut [Racer<'_>]) -> Vec<Duration> {
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

/// A program run to success, quietly, in a folder whose cache lies beside it.
fn run(folder: &Path, words: &[&str]) {
    let status = Command::new(words[0])
        .args(&words[1..])
        .current_dir(folder)
        .env("IACT_CACHE_DIR", cache(folder))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .status();
    assert!(status.as_ref().is_ok_and(|status| status.success()), "{words:?}: {status:?}");
}

fn cache(folder: &Path) -> PathBuf {
    folder.with_extension("cache")
}

fn nothing() {}

fn remove(path: &Path) {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{}: {error}", path.display()),
        _ => {}
    }
}

/// The same targets for iact, make and ninja: ten layers, each target with three sources of 512 bytes, one output, and two outputs of
/// the layer before as inputs.
fn targets(folder: &Path, count: usize) {
    fs::create_dir_all(folder.join("src")).expect("a folder");
    fs::create_dir_all(folder.join("out")).expect("a folder");
    let layer = (count / 10).max(1);
    let mut iact = String::from("[workspace]\ndefault = [\"all\"]\n[target.all]\ndeps = [");
    let mut make = String::from("all:");
    let mut ninja = String::from("rule copy\n command = cp $src $out\n");
    for number in 0..count {
        let _ = write!(iact, "\"t{number}\", ");
        let _ = write!(make, " out/{number}");
    }
    iact.push_str("]\n");
    make.push('\n');
    for number in 0..count {
        let sources = ['a', 'b', 'c'].map(|letter| format!("src/{number}{letter}"));
        for source in &sources {
            let text = format!("{source}\n").repeat(512);
            fs::write(folder.join(source), &text[..512]).expect("a file");
        }
        let before =
            if number < layer { vec![] } else { vec![number - layer, (number - layer) / layer * layer] };
        let deps: String = before.iter().map(|on| format!("\"t{on}\", ")).collect();
        let outs: String = before.iter().map(|on| format!(" out/{on}")).collect();
        let [a, b, c] = &sources;
        let _ = write!(
            iact,
            "[target.t{number}]\ndeps = [{deps}]\ninputs = [\"{a}\", \"{b}\", \"{c}\"]\noutputs = [\"out/{number}\"]\n\
             exec = [\"cp\", \"{a}\", \"out/{number}\"]\n"
        );
        let _ = write!(make, "out/{number}: {a} {b} {c}{outs}\n\t@cp {a} out/{number}\n");
        let _ = write!(ninja, "build out/{number}: copy {a} {b} {c}{outs}\n src = {a}\n");
    }
    fs::write(folder.join("Iactfile.toml"), iact).expect("a file");
    fs::write(folder.join("Makefile"), make).expect("a file");
    fs::write(folder.join("build.ninja"), ninja).expect("a file");
}

/// `statx` of all these paths on two threads.
fn stat_all(paths: &[PathBuf]) {
    let (left, right) = paths.split_at(paths.len() / 2);
    let each = |paths: &[PathBuf]| {
        for path in paths {
            statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).expect("it is there");
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| each(left));
        each(right);
    });
}

fn up_to_date(folder: &Path, count: usize, table: &mut Table) {
    targets(folder, count);
    run(folder, &[IACT, "-q"]);
    let paths: Vec<PathBuf> = (0..count)
        .flat_map(|number| {
            let sources = ['a', 'b', 'c'].map(|letter| folder.join(format!("src/{number}{letter}")));
            sources.into_iter().chain([folder.join(format!("out/{number}"))])
        })
        .collect();
    let mut racers = vec![racer(nothing, || stat_all(&paths)), racer(nothing, || run(folder, &[IACT, "-q"]))];
    let mut names = Vec::new();
    for (name, words) in [("make", &["make", "-rR", "-s"][..]), ("ninja", &["ninja", "--quiet"])] {
        if is_installed(name) {
            // The first run of ninja makes everything again.
            run(folder, words);
            names.push(name);
            racers.push(racer(nothing, move || run(folder, words)));
        }
    }
    // Files younger than two seconds are read again by whoever looks at contents, and what was read is remembered.
    std::thread::sleep(Duration::from_millis(2_500));
    run(folder, &[IACT, "-q"]);
    let times = race(if count > 5_000 { 7 } else { 15 }, &mut racers);
    let peers: Vec<(&str, Duration)> = names.into_iter().zip(times[2..].iter().copied()).collect();
    table.row(
        &format!("up to date, {count} targets × 3 inputs"),
        ("statx, 2 threads", times[0]),
        times[1],
        &peers,
    );
}

fn small_outputs(folder: &Path, table: &mut Table) {
    targets(folder, 1_000);
    run(folder, &[IACT, "-q"]);
    let (out, saved) = (folder.join("out"), folder.join("saved"));
    run(folder, &["cp", "-r", "out", "saved"]);
    let words = ["cp", "-r", "saved", "out"];
    let times = race(
        5,
        &mut [
            racer(|| remove(&out), || run(folder, &words)),
            racer(|| remove(&out), || run(folder, &[IACT, "-q"])),
        ],
    );
    remove(&saved);
    table.row("restore 1,000 outputs of 1,000 targets", ("cp -r", times[0]), times[1], &[]);
}

fn large_tree(folder: &Path, table: &mut Table) {
    let seed = folder.with_extension("seed");
    fs::create_dir_all(folder).expect("a folder");
    for number in 0..5_000_u32 {
        let inner = seed.join(format!("{}", number / 100));
        fs::create_dir_all(&inner).expect("a folder");
        let bytes: Vec<u8> =
            (0..10_000_u32).flat_map(|at| at.wrapping_mul(number | 1).to_le_bytes()).collect();
        fs::write(inner.join(number.to_string()), bytes).expect("a file");
    }
    let seed_text = seed.display();
    let text = format!(
        "[workspace]\ndefault = [\"tree\"]\n[target.tree]\ninputs = []\noutputs = [\"tree/\"]\n\
         exec = [\"cp\", \"-r\", \"{seed_text}\", \"tree\"]\n"
    );
    fs::write(folder.join("Iactfile.toml"), text).expect("a file");
    run(folder, &[IACT, "-q"]);
    let (tree, copy) = (folder.join("tree"), folder.join("copy"));
    let seed_text = seed_text.to_string();
    let words = ["cp", "-r", &seed_text, "copy"];
    let times = race(
        5,
        &mut [
            racer(|| remove(&copy), || run(folder, &words)),
            racer(|| remove(&tree), || run(folder, &[IACT, "-q"])),
        ],
    );
    for path in [&seed, &copy, &tree, &cache(folder)] {
        remove(path);
    }
    table.row("restore a tree of 5,000 files, 200 MB", ("cp -r", times[0]), times[1], &[]);
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
