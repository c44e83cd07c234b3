//! Input that nobody would write by hand: very many, very long, very deep, very large.

use crate::sizes::tries;
use crate::space::{Space, files, has_program, skipped, until};
use rustix::process::Signal;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

#[test]
fn very_many_inputs_take_few_descriptors_and_change_one_by_one() {
    let mut tries = tries("inputs", 10_000);
    let space = Space::new(
        "[target.t]\ninputs = ['src/**']\noutputs = ['o']\nrun = 'echo t >> @LOG@; find src -type f | wc -l > o'\n",
    );
    for number in 0..tries.count {
        space.write(format!("src/{}/{number}", number % 500), format!("{number}"));
    }
    let limited = |args: &[&str]| {
        let iact = space.iact(["build", "--json"].iter().chain(args)).limit(300);
        if has_program("prlimit") { iact.below(&["prlimit", "--nofile=64"]).run() } else { iact.run() }
    };
    limited(&["t"]).expect_code(0);
    assert_eq!(space.read("o"), format!("{}\n", tries.count));
    assert_eq!(limited(&["t"]).kinds(), ["up_to_date"]);
    space.write(format!("src/7/{}", 7 + 500), "another");
    let run = limited(&["t"]);
    assert_eq!(run.reason("t"), "input_changed src/7/507", "{run}");
    tries.done = tries.count;
    tries.held();
}

#[test]
fn a_very_deep_folder_is_an_input_and_an_output_like_any_other() {
    let space = Space::new("[target.t]\ninputs = ['src/**']\noutputs = ['o']\nrun = 'cp -r src o'\n");
    // 4,000 bytes of path below the workspace is more than the system takes at once.
    let mut made = 0;
    for depth in [10, 18, 40] {
        let deep: PathBuf =
            std::iter::once("src".to_owned()).chain((0..depth).map(|_| "d".repeat(99))).collect();
        let mut at = rustix::fs::openat(
            rustix::fs::CWD,
            &space.ws,
            rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY,
            rustix::fs::Mode::empty(),
        )
        .unwrap();
        for name in deep.components() {
            let name = name.as_os_str().as_bytes();
            let _ = rustix::fs::mkdirat(&at, name, rustix::fs::Mode::from_raw_mode(0o755));
            at = rustix::fs::openat(
                &at,
                name,
                rustix::fs::OFlags::DIRECTORY | rustix::fs::OFlags::RDONLY,
                rustix::fs::Mode::empty(),
            )
            .unwrap();
        }
        let flags = rustix::fs::OFlags::CREATE | rustix::fs::OFlags::WRONLY;
        rustix::fs::openat(&at, "file", flags, rustix::fs::Mode::from_raw_mode(0o644)).unwrap();
        let run = space.iact(["build", "--json", "t"]).limit(30).run();
        match run.code {
            Some(0) => {
                made += 1;
                space.remove("o");
                assert_eq!(space.build(&["t"]).kinds(), ["cached"], "{depth}");
                assert_eq!(files(&space.path("o")).len(), files(&space.path("src")).len(), "{depth}");
            }
            // Longer than a path may be: refused, by the name of where it is.
            code => assert!(matches!(code, Some(1 | 2)) && run.said().contains("ddd"), "{depth}: {run}"),
        }
    }
    assert!(made >= 2, "{made}");
    // The folders are too deep to be removed by path.
    std::process::Command::new("rm").arg("-rf").arg(space.path("src")).status().unwrap();
}

#[test]
fn names_of_any_bytes_stay_what_they_are() {
    let space = Space::new(
        "[target.t]\ninputs = ['src/**']\noutputs = ['o']\nrun = 'echo t >> @LOG@; cp -r src o'\n",
    );
    let long = "n".repeat(255);
    let names: [&[u8]; 8] =
        [b"new\nline", b"-rf", b"--help", b"\xff\xfe", b" ", b"'\"$(x)`y`;&|", b"\xc3\xa9", long.as_bytes()];
    for name in names {
        space.write(PathBuf::from("src").join(std::ffi::OsStr::from_bytes(name)), name);
    }
    // The same letter composed and decomposed are two names.
    space.write("src/e\u{301}", "decomposed");
    let run = space.try_build(&["t"]);
    if run.code != Some(0) {
        // A name that is no text may be refused, by its place.
        assert!(run.said().contains("src/"), "{run}");
        space.remove(PathBuf::from("src").join(std::ffi::OsStr::from_bytes(b"\xff\xfe")));
        space.build(&["t"]);
    }
    let before = crate::space::tree(&space.path("src"));
    assert_eq!(crate::space::tree(&space.path("o")), before);
    space.remove("o");
    assert_eq!(space.build(&["t"]).kinds(), ["cached"]);
    assert_eq!(crate::space::tree(&space.path("o")), before);
}

#[test]
fn three_megabytes_of_arguments_are_taken_or_named() {
    let space =
        Space::new("[target.t]\ninputs = []\nrun = '''\nprintf '%s\\n' {{ args }} | wc -l >> @LOG@\n'''\n");
    let word = "a".repeat(99);
    for count in [1_000, 15_000, 30_000] {
        // The list of iact itself has to be let in by the system: a quarter of the stack, and six megabytes at most.
        let line = format!("ulimit -s 65536; exec \"$@\" $(yes {word} | head -n {count})");
        let run =
            space.iact(["build", "--json", "t", "--"]).below(&["sh", "-c", &line, "sh"]).limit(60).run();
        let took = space.trail() == [count.to_string()];
        assert!(
            run.code == Some(0) && took || run.code == Some(1) && run.said().contains("too long"),
            "{run}"
        );
    }
}

#[test]
fn a_terabyte_of_nothing_holds_up_only_who_reads_it_and_can_be_interrupted() {
    let space = Space::new(
        "[target.beside]\nrun = 'echo beside >> @LOG@'\n\
         [target.reads]\ninputs = ['large/*']\nrun = 'true'\n",
    );
    space.write("large/sparse", "");
    let file = std::fs::File::options().write(true).open(space.path("large/sparse")).unwrap();
    if file.set_len(1 << 40).is_err() {
        return skipped("no file of a terabyte here");
    }
    let began = Instant::now();
    space.build(&["beside"]);
    assert_eq!(space.trail(), ["beside"]);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    let reading = space.iact(["build", "--json", "reads"]).start();
    let pid = reading.pid().as_raw_pid();
    until("much of it is read", || {
        let counts = std::fs::read_to_string(format!("/proc/{pid}/io")).unwrap_or_default();
        let read = counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap_or("0");
        read.parse::<u64>().unwrap() > 500_000_000
    });
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    assert!(!maps.contains("sparse"), "{maps}");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0 kB");
    let peak_kb: u64 = peak.split_whitespace().next().unwrap().parse().unwrap();
    assert!(peak_kb < 100_000, "{peak}");
    reading.signal(Signal::INT);
    let began = Instant::now();
    let run = reading.wait();
    assert!(run.signal == Some(2) || run.code == Some(130), "{run}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_terabyte_of_output_is_read_no_longer_than_a_signal_allows() {
    let space = Space::new("[target.makes]\noutputs = ['large/made']\nrun = 'truncate -s 1T large/made'\n");
    let probe = std::fs::File::create(space.base().join("probe")).unwrap();
    if probe.set_len(1 << 40).is_err() {
        return skipped("no file of a terabyte here");
    }
    for (signals, within_ms) in [(1, 10_000), (2, 4_000)] {
        let reading = space.iact(["build", "--json", "makes"]).start();
        until("it is made", || space.path("large/made").metadata().is_ok_and(|made| made.len() == 1 << 40));
        std::thread::sleep(Duration::from_millis(300));
        let began = Instant::now();
        for _ in 0..signals {
            reading.signal(Signal::TERM);
            std::thread::sleep(Duration::from_millis(200));
        }
        let run = reading.wait();
        assert!(run.signal == Some(15) || run.code == Some(143), "{run}");
        assert_eq!(run.kinds(), ["cancelled"], "{run}");
        assert!(began.elapsed() < Duration::from_millis(within_ms), "{:?}", began.elapsed());
        space.remove("large");
    }
}

#[test]
fn what_grows_while_it_is_read_ends_in_a_sentence() {
    let space = Space::new("[target.t]\ninputs = ['grows']\noutputs = ['o']\nrun = 'wc -c < grows > o'\n");
    space.write("grows", "x");
    let path = space.path("grows");
    let mut writer = std::process::Command::new("sh")
        .args(["-c", "while :; do echo more >> \"$0\"; done"])
        .arg(&path)
        .spawn()
        .unwrap();
    until("it grows", || std::fs::metadata(&path).unwrap().len() > 1000);
    let run = space.iact(["build", "--json", "t"]).limit(30).run();
    writer.kill().unwrap();
    writer.wait().unwrap();
    match run.code {
        // It was read at rest for a moment; then it moved under the command, and nothing was stored.
        Some(0) => assert!(!run.warnings().is_empty(), "{run}"),
        code => assert!(matches!(code, Some(1 | 2)) && run.said().contains("grows"), "{run}"),
    }
    let run = space.build(&["t"]);
    assert_eq!(run.kinds(), ["executed"], "{run}");
    assert_eq!(space.read("o").trim(), std::fs::metadata(&path).unwrap().len().to_string());
}
