//! Watching: every save is noticed, nothing else is, and at rest the workspace is as a build would leave it.

mod during;
mod links;
mod memory;
mod reopen;
mod services;

use crate::dice::Dice;
use crate::space::{Run, Space, Started, has_program, skipped, until};
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Everything below `src` in one output.
const ALL: &str = r#"
[target.all]
inputs  = ["src/**/*.c"]
outputs = ["out/all"]
run     = "echo all >> @LOG@; find src -name '*.c' | LC_ALL=C sort | xargs -r cat > out/all"
"#;

/// A file as it is; an output may be gone for a moment.
fn now(space: &Space, name: &str) -> String {
    fs::read_to_string(space.path(name)).unwrap_or_default()
}

/// Whether a command left its line in the trail, which stays: taking it while something runs could lose a line.
fn has_run(space: &Space, line: &str) -> bool {
    fs::read_to_string(space.base().join("trail")).unwrap_or_default().lines().any(|said| said == line)
}

/// An `iact watch` that is running.
struct Watching<'s> {
    space: &'s Space,
    started: Started,
}

impl<'s> Watching<'s> {
    fn of(space: &'s Space, args: &[&str]) -> Self {
        let started = space.iact(["watch", "--json"].iter().chain(args)).limit(120).start();
        let watching = Self { space, started };
        watching.settle();
        watching
    }

    fn count(&self, event: &str) -> usize {
        self.started.out().matches(&format!("\"event\":\"{event}\"")).count()
    }

    fn runs(&self) -> usize {
        self.count("run_started")
    }

    /// Waits until nothing has been built for longer than any pause of the watch.
    #[track_caller]
    fn settle(&self) {
        let end = Instant::now() + Duration::from_secs(60);
        let mut quiet = (self.started.out().len(), Instant::now());
        loop {
            assert!(Instant::now() < end, "it never rests:\n{}", self.started.out());
            std::thread::sleep(Duration::from_millis(20));
            let now = self.started.out().len();
            if now != quiet.0 {
                quiet = (now, Instant::now());
            }
            let rests = now > 0 && self.count("run_started") == self.count("run_finished");
            if rests && quiet.1.elapsed() > Duration::from_millis(700) {
                return;
            }
        }
    }

    /// Ends it as ^C does.
    #[track_caller]
    fn end(self) -> Run {
        self.started.signal(Signal::INT);
        let run = self.started.wait();
        assert!(run.code == Some(130) || run.signal == Some(2), "{run}");
        assert_eq!(run.out.matches("run_started").count(), run.out.matches("run_finished").count(), "{run}");
        run
    }

    /// At rest a build finds nothing to do.
    #[track_caller]
    fn expect_fresh(&self, what: &str) {
        self.settle();
        let run = self.space.build(&[]);
        assert_eq!(run.kinds(), ["up_to_date"], "{what}: {run}\n{}", self.started.out());
    }
}

/// What the target of [`ALL`] has to make of the sources.
fn expected(space: &Space) -> String {
    let mut files = crate::space::files(&space.path("src"));
    files.retain(|path| path.extension().is_some_and(|end| end == "c"));
    files.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    files.iter().map(|path| fs::read_to_string(path).unwrap()).collect()
}

fn space() -> Space {
    let space = Space::new(&format!("[workspace]\ndefault = [\"all\"]\n{ALL}"));
    space.write("src/a.c", "a\n");
    space.write("src/deep/er/b.c", "b\n");
    space
}

/// How programs save a file.
fn save(path: &Path, how: usize, text: &str) {
    let beside =
        |end: &str| path.with_file_name(format!("{}{end}", path.file_name().unwrap().to_str().unwrap()));
    match how {
        0 => fs::write(path, text).unwrap(),
        1 => {
            fs::write(beside(".tmp"), text).unwrap();
            fs::rename(beside(".tmp"), path).unwrap();
        }
        2 => {
            let script = format!("s/.*/{}/", text.trim_end());
            let status = std::process::Command::new("sed").args(["-i", &script]).arg(path).status().unwrap();
            assert!(status.success());
        }
        3 => {
            fs::rename(path, beside("~")).unwrap();
            fs::write(path, text).unwrap();
            fs::remove_file(beside("~")).unwrap();
        }
        4 => {
            fs::write(beside(".swp"), "x").unwrap();
            fs::copy(path, beside("~")).unwrap();
            fs::write(path, text).unwrap();
            fs::remove_file(beside("~")).unwrap();
            fs::remove_file(beside(".swp")).unwrap();
        }
        _ => {
            use std::io::Write;
            let mut file = fs::File::create(path).unwrap();
            std::thread::sleep(Duration::from_millis(10));
            file.write_all(text.as_bytes()).unwrap();
            file.sync_all().unwrap();
        }
    }
}

#[test]
fn every_way_of_saving_is_noticed_and_built_once() {
    let space = space();
    let watching = Watching::of(&space, &[]);
    assert_eq!(space.trail(), ["all"]);
    for round in 0..18 {
        let before = watching.runs();
        let (how, file) = (round % 6, ["src/a.c", "src/deep/er/b.c"][round / 6 % 2]);
        save(&space.path(file), how, &format!("{round}\n"));
        until("it is built", || now(&space, "out/all") == expected(&space));
        watching.settle();
        let runs = watching.runs() - before;
        assert!(
            (1..=2).contains(&runs),
            "{runs} builds for one save of kind {how}:\n{}",
            watching.started.out()
        );
    }
    watching.expect_fresh("after saves");
    watching.end();
}

#[test]
fn own_outputs_logs_and_files_that_nobody_reads_start_nothing() {
    let space = Space::new(
        r#"
[workspace]
default = ["gen", "use"]
[target.gen]
inputs  = ["src/*.in"]
outputs = ["src/gen.h"]
run     = "echo gen >> @LOG@; cat src/*.in > src/gen.h; echo said"
[target.use]
deps    = ["gen"]
inputs  = ["src/**", "!src/obj/**", "top.txt"]
outputs = ["src/obj/", "used"]
run     = "echo use >> @LOG@; mkdir -p src/obj; cp src/gen.h src/obj/o; date +%N > used"
"#,
    );
    space.write("src/x.in", "1\n");
    space.write("top.txt", "1\n");
    space.write(".gitignore", "*.log\n");
    let watching = Watching::of(&space, &[]);
    assert_eq!((space.trail(), watching.runs()), (vec!["gen".into(), "use".into()], 1));

    let still: [(&str, &dyn Fn()); 7] = [
        ("a touch", &|| space.program("touch").args(["top.txt", "src/x.in"]).status().map(drop).unwrap()),
        ("the same text", &|| drop(space.write("top.txt", "1\n"))),
        ("a file beside it", &|| drop(space.write("other.txt", "x"))),
        ("an ignored file", &|| drop(space.write("src/build.log", "x"))),
        ("git's own", &|| drop(space.write(".git/index", "x"))),
        ("an output that is gone", &|| space.remove("src/gen.h")),
        ("reading everything", &|| {
            space.program("grep").args(["-r", "x", "."]).output().map(drop).unwrap();
        }),
    ];
    for (what, act) in still {
        act();
        watching.settle();
        assert_eq!((watching.runs(), space.trail()), (1, vec![]), "{what}:\n{}", watching.started.out());
    }
    space.write("src/x.in", "2\n");
    until("it is built", || now(&space, "src/obj/o") == "2\n");
    watching.settle();
    assert_eq!(watching.runs(), 2);
    // What is restored changes outputs, and nothing else.
    space.write("src/x.in", "1\n");
    until("it is restored", || now(&space, "src/obj/o") == "1\n");
    watching.settle();
    assert_eq!(watching.runs(), 3);
    watching.expect_fresh("outputs");
    watching.end();
}

#[test]
fn what_somebody_did_to_an_output_is_repaired_with_the_next_build() {
    let space = space();
    let watching = Watching::of(&space, &[]);
    space.remove("out");
    space.write("src/a.c", "again\n");
    until("it is built", || now(&space, "out/all") == expected(&space));
    watching.expect_fresh("repaired");
    watching.end();
}

#[test]
fn an_iactfile_is_read_again_and_a_broken_one_keeps_the_last_good_one() {
    let space = space();
    let good = space.read("Iactfile.toml");
    let watching = Watching::of(&space, &[]);
    space.trail();
    space.write("Iactfile.toml", "[target.all\n");
    until("the mistake is shown", || watching.started.err().contains("Iactfile.toml:1"));
    watching.settle();
    assert_eq!(watching.started.err().matches("Iactfile.toml:1").count(), 1, "{}", watching.started.err());
    space.write("src/a.c", "by the last good one\n");
    until("it is built", || now(&space, "out/all") == expected(&space));
    space.write("Iactfile.toml", good.replace("echo all", "echo other"));
    until("the new one is used", || has_run(&space, "other"));
    watching.settle();
    space.trail();
    space.write("src/a.c", "by the new one\n");
    until("it is built", || now(&space, "out/all") == expected(&space));
    watching.settle();
    assert_eq!(space.trail(), ["other"]);
    watching.expect_fresh("the new one");
    watching.end();
}

#[test]
fn included_iactfiles_and_files_of_a_for_each_come_and_go() {
    let space = Space::new(
        "[workspace]\ndefault = [\"check\"]\ninclude = [\"part*\"]\n[target.check]\nfor_each = \"src/**/*.sh\"\nrun = \"echo {{ file }} >> @LOG@\"\n",
    );
    space.write("src/a.sh", "a");
    let watching = Watching::of(&space, &[]);
    assert_eq!(space.trail(), ["src/a.sh"]);
    space.write("src/new/b.sh", "b");
    until("it is checked", || has_run(&space, "src/new/b.sh"));
    watching.settle();
    space.trail();
    space.write("src/new/b.sh", "bb");
    until("it is checked", || has_run(&space, "src/new/b.sh"));
    watching.settle();
    space.trail();
    space.remove("src/new");
    watching.settle();
    let before = watching.runs();
    space.iactfile_in("part1", "[target.x]\nrun = \"true\"\n");
    until("it is read", || watching.runs() > before);
    watching.expect_fresh("instances");
    watching.end();
}

#[test]
fn folders_that_are_new_moved_renamed_or_not_ignored_any_more_are_noticed() {
    let space = space();
    let outside = space.base().join("outside/in/ner");
    fs::create_dir_all(&outside).unwrap();
    fs::write(outside.join("m.c"), "moved\n").unwrap();
    space.write(".gitignore", "src/ignored\n");
    let watching = Watching::of(&space, &[]);
    let steps: [(&str, &dyn Fn()); 9] = [
        ("a new folder", &|| drop(space.write("src/n/e/w/x.c", "new\n"))),
        ("a file in it", &|| drop(space.write("src/n/e/w/y.c", "newer\n"))),
        ("moved in", &|| fs::rename(space.base().join("outside"), space.path("src/moved")).unwrap()),
        ("a file in that", &|| drop(space.write("src/moved/in/ner/m.c", "changed\n"))),
        ("renamed", &|| fs::rename(space.path("src/moved"), space.path("src/other")).unwrap()),
        ("a file there", &|| drop(space.write("src/other/in/z.c", "z\n"))),
        ("removed and made again", &|| {
            space.remove("src/n");
            space.write("src/n/e/w/x.c", "again\n");
        }),
        ("a file in that one", &|| drop(space.write("src/n/e/w/x.c", "and again\n"))),
        ("everything replaced", &|| {
            fs::rename(space.path("src"), space.base().join("old")).unwrap();
            space.write("src/only.c", "only\n");
        }),
    ];
    for (what, act) in steps {
        act();
        let built = || now(&space, "out/all") == expected(&space);
        until(what, built);
    }
    space.write("src/ignored/i.c", "i\n");
    watching.settle();
    assert!(!now(&space, "out/all").contains("i\n"), "ignored");
    space.write(".gitignore", "");
    until("it is not ignored any more", || now(&space, "out/all") == expected(&space));
    watching.expect_fresh("folders");
    watching.end();
}

#[test]
fn folders_made_and_filled_at_once_are_never_missed() {
    let space = space();
    let watching = Watching::of(&space, &[]);
    for round in 0..60 {
        for level in 0..3 {
            space.write(format!("src/r{round}/l{level}/f.c"), format!("{round} {level}\n"));
            std::thread::sleep(Duration::from_micros(round * 137 % 3_000));
        }
        if round % 7 == 0 {
            let _ = fs::remove_dir_all(space.path(format!("src/r{}", round / 2)));
        }
    }
    until("all is built", || now(&space, "out/all") == expected(&space));
    watching.expect_fresh("races");
    watching.end();
}

#[test]
fn a_burst_that_overflows_the_queue_loses_nothing() {
    let space = space();
    let watching = Watching::of(&space, &[]);
    // While it cannot listen, the kernel's queue of 16,384 events runs over.
    watching.started.signal(Signal::STOP);
    for round in 0..24_000 {
        fs::write(space.path(format!("src/junk{}", round % 2_000)), "x").unwrap();
    }
    for number in 0..300 {
        space.write(format!("src/burst/f{number}.c"), format!("{number}\n"));
    }
    space.write("src/a.c", "the last\n");
    watching.started.signal(Signal::CONT);
    until("all is built", || now(&space, "out/all") == expected(&space));
    watching.expect_fresh("overflow");
    watching.end();
}

#[test]
fn where_the_system_gives_no_watches_files_are_polled_and_that_is_said_once() {
    let space = space();
    let limited = "echo 2 > /proc/sys/user/max_inotify_watches && exec \"$@\"";
    let wrapper = ["unshare", "-Ur", "sh", "-c", limited, "sh"];
    let can = std::process::Command::new("unshare").args(["-Ur", "sh", "-c", limited, "sh", "true"]).status();
    if !has_program("unshare") || !can.is_ok_and(|status| status.success()) {
        return skipped("no user namespaces with a limit of their own");
    }
    let started = space.iact(["watch", "--json"]).below(&wrapper).start();
    let watching = Watching { space: &space, started };
    watching.settle();
    assert_eq!(watching.started.out().matches("polled").count(), 1, "{}", watching.started.out());
    for text in ["1\n", "2\n"] {
        space.write("src/deep/er/b.c", text);
        space.write("src/new/n.c", text);
        until("it is built", || now(&space, "out/all") == expected(&space));
    }
    watching.settle();
    assert_eq!(watching.started.out().matches("polled").count(), 1);
    watching.end();
}

#[test]
fn at_rest_no_processor_is_used() {
    let space = space();
    let watching = Watching::of(&space, &[]);
    let stat = format!("/proc/{}/stat", watching.started.pid().as_raw_nonzero());
    let used = || {
        let text = fs::read_to_string(&stat).unwrap();
        let fields: Vec<String> =
            text.rsplit_once(')').unwrap().1.split_whitespace().map(str::to_owned).collect();
        (fields[11].clone(), fields[12].clone())
    };
    let switches = || {
        let tasks = fs::read_dir(stat.replace("/stat", "/task")).unwrap();
        let mut all: BTreeMap<String, String> = BTreeMap::new();
        for task in tasks.flatten() {
            let text = fs::read_to_string(task.path().join("status")).unwrap();
            let line = text.lines().find(|line| line.starts_with("voluntary")).unwrap_or_default();
            all.insert(task.file_name().to_string_lossy().into_owned(), line.to_owned());
        }
        all
    };
    let before = (used(), switches());
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((used(), switches()), before, "some thread woke up");
    watching.end();
}

#[test]
fn a_command_that_writes_its_own_input_is_named_and_left_until_somebody_else_writes_it() {
    let space = Space::new(
        "[workspace]\ndefault = [\"fmt\"]\n[target.fmt]\ninputs = [\"a.txt\"]\nrun = \"echo fmt >> @LOG@; date +%N >> a.txt; sleep 0.05\"\n",
    );
    space.write("a.txt", "1\n");
    let watching = Watching::of(&space, &[]);
    let times = space.trail().len();
    assert!((2..=8).contains(&times), "built {times} times");
    let named = |count| {
        let out = watching.started.out();
        let warnings: Vec<&str> = out.lines().filter(|line| line.contains("changes whenever")).collect();
        assert_eq!(warnings.len(), count, "{out}");
        warnings
            .iter()
            .for_each(|line| assert!(line.contains("`a.txt`") && line.contains("`fmt`"), "{line}"));
    };
    named(1);
    space.write("a.txt", "2\n");
    until("it is built again", || has_run(&space, "fmt"));
    watching.settle();
    named(2);
    watching.end();
}

#[test]
fn a_formatter_that_comes_to_an_end_is_no_loop() {
    let space = Space::new(
        "[workspace]\ndefault = [\"fmt\"]\n[target.fmt]\ninputs = [\"a.txt\"]\nrun = \"echo fmt >> @LOG@; if grep -q x a.txt; then sed -i s/x/y/g a.txt; fi\"\n",
    );
    space.write("a.txt", "xx\n");
    let watching = Watching::of(&space, &[]);
    assert_eq!(now(&space, "a.txt"), "yy\n");
    space.write("a.txt", "xyx\n");
    until("it is formatted", || now(&space, "a.txt") == "yyy\n");
    watching.expect_fresh("formatted");
    assert!(!watching.started.out().contains("changes whenever"), "{}", watching.started.out());
    watching.end();
}

#[test]
fn a_missing_input_is_shown_and_the_watch_goes_on_when_it_is_back() {
    let space = during::slow("0");
    let watching = Watching::of(&space, &[]);
    space.remove("a.txt");
    until("it is shown", || watching.started.err().contains("`a.txt`"));
    watching.settle();
    space.write("a.txt", "back\n");
    until("it is built", || now(&space, "o") == "back\n");
    watching.expect_fresh("back");
    watching.end();
}

#[test]
fn a_workspace_that_is_replaced_is_watched_again() {
    let space = space();
    let iactfile = space.read("Iactfile.toml");
    let watching = Watching::of(&space, &[]);
    fs::rename(&space.ws, space.base().join("away")).unwrap();
    std::thread::sleep(Duration::from_millis(200));
    fs::create_dir(&space.ws).unwrap();
    space.write("src/n.c", "new\n");
    space.write("Iactfile.toml", iactfile);
    until("it is built", || now(&space, "out/all") == "new\n");
    space.write("src/n.c", "newer\n");
    until("it is built", || now(&space, "out/all") == "newer\n");
    watching.end();
}

#[test]
fn a_flag_does_the_same_as_the_verb() {
    let space = space();
    let started = space.iact(["-w", "--json"]).start();
    let watching = Watching { space: &space, started };
    watching.settle();
    space.write("src/a.c", "flag\n");
    until("it is built", || now(&space, "out/all") == expected(&space));
    watching.settle();
    watching.end();
}

/// Sources through two layers of targets, with edits of every kind in storms. After each storm the result is that of the
/// sources, and a build finds nothing to do.
#[test]
fn storms_of_edits_end_in_what_a_build_would_make() {
    let space = Space::new(
        r#"
[workspace]
default = ["top"]
[target.left]
inputs  = ["src/left/**"]
outputs = ["out/left"]
run     = "(find src/left -type f | LC_ALL=C sort | xargs -r cat) > out/left"
[target.right]
inputs  = ["src/right/*.c", "!src/right/not*"]
outputs = ["out/right"]
run     = "sleep 0.0$((RANDOM % 6)); (ls src/right/*.c 2>/dev/null | grep -v /not | LC_ALL=C sort | xargs -r cat) > out/right"
[target.top]
deps    = ["left", "right"]
inputs  = ["top.txt"]
outputs = ["out/top"]
run     = "cat top.txt out/left out/right > out/top"
"#,
    );
    space.write("top.txt", "top\n");
    space.write("src/left/a", "a\n");
    space.write("src/right/a.c", "a\n");
    let seed = std::env::var("IACT_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(20_261_122);
    let mut dice = Dice::new(seed);
    let watching = Watching::of(&space, &["-j2"]);
    for storm in 0..10 {
        for _ in 0..100 {
            edit(&space, &mut dice);
            if dice.one_in(6) {
                std::thread::sleep(Duration::from_micros(dice.below(40_000) as u64));
            }
        }
        let top = || now(&space, "out/top") == result(&space);
        let end = Instant::now() + Duration::from_secs(20);
        while !top() {
            assert!(
                Instant::now() < end,
                "seed {seed}, storm {storm}: {}\n--- expected\n{}--- is\n{}",
                watching.started.out(),
                result(&space),
                now(&space, "out/top")
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        watching.expect_fresh(&format!("seed {seed}, storm {storm}"));
        assert!(top(), "seed {seed}, storm {storm}");
    }
    watching.end();
}

fn edit(space: &Space, dice: &mut Dice) {
    let side = *dice.pick(&["left", "right"]);
    let folder = if side == "left" { *dice.pick(&["", "/x", "/x/y", "/z"]) } else { "" };
    let name = format!("src/{side}{folder}/{}", dice.pick(&["a.c", "b.c", "not.c", "d.h"]));
    let text = format!("{name} {}\n", dice.below(1_000));
    match dice.below(10) {
        0..4 => drop(space.write(&name, text)),
        4 if space.has(&name) => save(&space.path(&name), [1, 3, 4][dice.below(3)], &text),
        5 => space.remove(&name),
        6 if side == "left" => {
            let (from, to) = (space.path("src/left/x"), space.path("src/left/w"));
            let _ = if dice.one_in(2) { fs::rename(from, to) } else { fs::rename(to, from) };
        }
        7 if side == "left" && dice.one_in(3) => space.remove("src/left/z"),
        8 => drop(space.write("top.txt", text)),
        _ => drop(space.write(format!("src/{side}/junk.tmp"), text)),
    }
    space.remove("src/left/junk.tmp");
}

fn result(space: &Space) -> String {
    let side = |name: &str, takes: &dyn Fn(&str) -> bool| {
        let mut files = crate::space::files(&space.path(format!("src/{name}")));
        files.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
        let named = files.iter().filter(|path| takes(path.file_name().unwrap().to_str().unwrap()));
        named.map(|path| fs::read_to_string(path).unwrap()).collect::<String>()
    };
    let right = |name: &str| name.ends_with(".c") && !name.starts_with("not");
    space.read("top.txt") + &side("left", &|_| true) + &side("right", &right)
}
