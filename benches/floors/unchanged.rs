//! Builds in which nothing, one input or only the Iactfile has changed.

use crate::race::{IACT, Racer, Table, in_two, nothing, race, racer, run};
use crate::work::{files, others, targets};
use rustix::fs::{AtFlags, CWD, StatxFlags, statx};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Files younger than two seconds are read again by whoever looks at contents, and what was read is remembered.
const REST: Duration = Duration::from_millis(2_500);

fn look(path: &PathBuf) {
    statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::BASIC_STATS).expect("it is there");
}

/// Everything made, by all tools; what has nothing to do afterwards.
fn settled<'a>(folder: &'a Path, count: usize) -> (Vec<&'static str>, Vec<Racer<'a>>) {
    targets(folder, count, "");
    run(folder, &[IACT, "-q"]);
    let (mut names, mut racers) = (Vec::new(), Vec::new());
    for (name, words) in others() {
        // The first run of ninja makes everything again.
        run(folder, words);
        names.push(name);
        racers.push(racer(nothing, move || run(folder, words)));
    }
    std::thread::sleep(REST);
    run(folder, &[IACT, "-q"]);
    (names, racers)
}

pub(crate) fn up_to_date(folder: &Path, count: usize, table: &mut Table) {
    let (names, others) = settled(folder, count);
    let paths = files(folder, count);
    let mut racers =
        vec![racer(nothing, || in_two(&paths, look)), racer(nothing, || run(folder, &[IACT, "-q"]))];
    racers.extend(others);
    let times = race(if count > 5_000 { 7 } else { 15 }, &mut racers);
    let peers: Vec<(&str, Duration)> = names.into_iter().zip(times[2..].iter().copied()).collect();
    let what = format!("up to date, {count} targets × 3 inputs");
    table.row(&what, ("statx, 2 threads", times[0]), times[1], &peers);
}

/// One source of the last layer is edited; then a comment is added to the Iactfile.
pub(crate) fn edited(folder: &Path, count: usize, table: &mut Table) {
    let (names, others) = settled(folder, count);
    let source = folder.join(format!("src/{}a", count - 1));
    let (mut edits, mut lines) = (0, 0);
    let mut edit = move || {
        edits += 1;
        fs::write(&source, format!("edited {edits}\n").repeat(40)).expect("a file");
    };
    let file = folder.join("Iactfile.toml");
    let mut add_line = move || {
        lines += 1;
        let mut file = fs::File::options().append(true).open(&file).expect("it is there");
        writeln!(file, "# {lines}").expect("written");
    };
    // Nothing is to be done once what was edited is old enough to be believed, and has been looked at since.
    let settle = || {
        std::thread::sleep(REST);
        run(folder, &[IACT, "-q"]);
    };
    let mut racers = vec![
        racer(settle, || run(folder, &[IACT, "-q"])),
        racer(nothing, || run(folder, &["cp", "src/0a", "out/copy"])),
        racer(&mut edit, || run(folder, &[IACT, "-q"])),
        racer(&mut add_line, || run(folder, &[IACT, "-q"])),
    ];
    racers.extend(others);
    let times = race(7, &mut racers);
    let peers: Vec<(&str, Duration)> = names.into_iter().zip(times[4..].iter().copied()).collect();
    let what = format!("one input edited, {count} targets");
    table.row(&what, ("no-op + the command", times[0] + times[1]), times[2], &[]);
    let what = format!("Iactfile edited, {count} targets; others: no-op");
    table.row(&what, ("no-op", times[0]), times[3], &peers);
}

/// One target over many files that a pattern finds, beside a walk with a `statx` of each.
pub(crate) fn globbed(folder: &Path, table: &mut Table) {
    let folders: Vec<PathBuf> =
        (0..1_000).map(|number| folder.join(format!("src/{}/{number}", number / 50))).collect();
    for inner in &folders {
        fs::create_dir_all(inner).expect("a folder");
        (0..100).for_each(|number| fs::write(inner.join(format!("{number}.txt")), "x").expect("a file"));
    }
    let text =
        "[workspace]\ndefault = [\"all\"]\n[target.all]\ninputs = [\"src/**/*.txt\"]\nexec = [\"true\"]\n";
    fs::write(folder.join("Iactfile.toml"), text).expect("a file");
    run(folder, &[IACT, "-q"]);
    std::thread::sleep(REST);
    run(folder, &[IACT, "-q"]);
    let walk = |inner: &PathBuf| {
        for entry in fs::read_dir(inner).expect("it is there") {
            look(&entry.expect("an entry").path());
        }
    };
    let mut racers =
        [racer(nothing, || in_two(&folders, walk)), racer(nothing, || run(folder, &[IACT, "-q"]))];
    let times = race(9, &mut racers);
    table.row("up to date, 100,000 files by `**`", ("walk and statx, 2 threads", times[0]), times[1], &[]);
}
