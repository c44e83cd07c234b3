//! Processes: how a run ends and what it ends, what runs beside what, and what is shown of it.

use crate::space::{Space, has_program, left_over, mark, processes_with, skipped, until};
use rustix::process::Signal;
use std::fmt::Write;
use std::time::{Duration, Instant};

/// A target whose command starts `how` many ways of staying alive, and says when it is there.
fn sleeper(mark: &str, command: &str) -> Space {
    Space::new(&format!(
        "[target.t]\ninputs = []\noutputs = [\"o\"]\nrun = '''\necho t >> @LOG@\ntouch o\nif [ -e @BASE@/quick ]; then exit 0; fi\ntouch @BASE@/there\n{}\n'''\n",
        command.replace("MARK", mark)
    ))
}

fn quick_build_after(space: &Space, case: &str) {
    space.trail();
    std::fs::write(space.base().join("quick"), "").unwrap();
    let run = space.build(&["t"]);
    assert_eq!(run.kinds(), ["executed"], "{case}: nothing of it was stored or remembered: {run}");
    assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"], "{case}");
}

#[test]
fn every_ending_signal_ends_the_whole_tree_and_stores_nothing() {
    let commands = [
        ("plain", "sleep MARK"),
        ("a child beside it", "sleep MARK & sleep MARK"),
        ("exits with 0 when asked to end", "trap 'exit 0' INT TERM HUP QUIT; sleep MARK & wait"),
        ("in a shell of a shell", "bash -c 'sleep MARK & sh -c \"sleep MARK; true\"; true'"),
        ("twice removed", "(sleep MARK &) ; sleep MARK"),
    ];
    let signals = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];
    // Most of it is waiting for the grace of what does not listen: all at once.
    std::thread::scope(|scope| {
        for (number, (what, command)) in commands.into_iter().enumerate() {
            for signal in [signals[number % 4], signals[(number + 1) % 4]] {
                for group in [false, true] {
                    let case = format!("{what}, {signal:?}, group {group}");
                    scope.spawn(move || ends_by_signal(command, signal, group, &case));
                }
            }
        }
    });
}

fn ends_by_signal(command: &str, signal: Signal, group: bool, case: &str) {
    let mark = mark();
    let space = sleeper(&mark, command);
    let started = space.iact(["build", "--json", "t"]).start();
    until("the command runs", || space.base().join("there").exists());
    std::thread::sleep(Duration::from_millis(30));
    if group {
        started.signal_group(signal)
    } else {
        started.signal(signal)
    }
    let run = started.wait();
    let left = left_over(&mark);
    assert!(left.is_empty(), "{case}: {left:?} outlived it: {run}");
    let ended = run.code == Some(128 + signal.as_raw()) || run.signal == Some(signal.as_raw());
    assert!(ended, "{case}: {run}");
    assert_eq!(run.outcomes()["t"], "cancelled", "{case}: {run}");
    assert_eq!(run.events.last().unwrap()["event"], "run_finished", "{case}: {run}");
    quick_build_after(&space, case);
}

#[test]
fn a_second_signal_does_not_wait_for_the_stubborn() {
    let mark = mark();
    let space = sleeper(&mark, "trap '' INT TERM HUP; while true; do sleep MARK; done");
    let started = space.iact(["build", "--json", "t"]).start();
    until("the command runs", || space.base().join("there").exists());
    std::thread::sleep(Duration::from_millis(50));
    started.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(400));
    started.signal(Signal::INT);
    let run = started.wait();
    assert!(left_over(&mark).is_empty(), "{run}");
    assert!(run.took < Duration::from_secs(4), "the grace is cut short: {:?}", run.took);
    assert!(run.code == Some(130) || run.signal == Some(2), "{run}");
    quick_build_after(&space, "stubborn");
}

#[test]
fn an_action_that_dies_by_a_signal_failed_and_is_not_stored() {
    let space = Space::new(
        "[target.t]\ninputs = []\noutputs = [\"o\"]\nrun = \"echo t >> @LOG@; touch o; kill -KILL $$\"\n",
    );
    for _ in 0..2 {
        let run = space.try_build(&["t"]).expect_code(1);
        assert_eq!((run.kinds(), space.trail()), (vec!["failed".into()], vec!["t".into()]), "{run}");
        assert!(run.said().to_uppercase().contains("KILL"), "the signal is named: {run}");
    }
}

#[test]
fn a_killed_iact_leaves_no_process_and_the_next_build_is_right() {
    let mark = mark();
    let space = sleeper(&mark, "sleep MARK & sleep MARK");
    let started = space.iact(["build", "--json", "t"]).start();
    until("the command runs", || space.base().join("there").exists());
    started.signal(Signal::KILL);
    started.wait();
    // What is left all the same is killed by who finds it.
    let end = Instant::now() + Duration::from_secs(20);
    while !processes_with(&mark).is_empty() && Instant::now() < end {
        std::thread::sleep(Duration::from_millis(5));
    }
    assert!(left_over(&mark).is_empty());
    quick_build_after(&space, "killed");
}

#[test]
fn iact_may_be_killed_at_any_moment() {
    let mut iactfile = String::from("[target.all]\ndeps = [");
    (0..12).for_each(|n| write!(iactfile, "\"t{n}\",").unwrap());
    iactfile.push_str("]\n");
    for n in 0..12 {
        let dep = if n < 4 { String::new() } else { format!("deps = [\"t{}\"]\n", n - 4) };
        writeln!(
            iactfile,
            "[target.t{n}]\n{dep}inputs = [\"in\"]\noutputs = [\"o/{n}\", \"d/{n}\"]\n\
             run = \"cp in o/{n}; mkdir d/{n}; cp in d/{n}/x; cp in d/{n}/y\""
        )
        .unwrap();
    }
    let space = Space::new(&iactfile);
    for round in 0..30_u64 {
        let content = format!("{}\n", round % 7);
        space.write("in", &content);
        if round % 5 == 4 {
            space.remove("o");
        }
        let started = space.iact(["build", "--json", "all"]).start();
        std::thread::sleep(Duration::from_millis(2 + (round * 17) % 90));
        started.signal(Signal::KILL);
        started.wait();
        let run = space.build(&["all"]);
        for n in 0..12 {
            for path in [format!("o/{n}"), format!("d/{n}/x"), format!("d/{n}/y")] {
                assert_eq!(space.read(&path), content, "round {round}, {path}: {run}");
            }
        }
        assert_eq!(space.build(&["all"]).kinds(), ["up_to_date"], "round {round}");
    }
}

#[test]
fn exit_codes_are_the_documented_ones() {
    let space = Space::new(
        r#"
        [target.fine]
        run = "true"
        [target.bad]
        run = "exit 7"
        [target.slow]
        timeout = "150ms"
        run = "sleep 100"
        [target.tool]
        tools = ["no-such-tool-at-all"]
        run = "true"
        "#,
    );
    for (args, code) in [
        (vec!["build", "fine"], 0),
        (vec!["fine"], 0),
        (vec!["--version"], 0),
        (vec!["--help"], 0),
        (vec!["build", "bad"], 1),
        (vec!["build", "-k", "bad", "slow"], 1),
        (vec!["build", "nobody"], 2),
        (vec!["build", "fine", "--no-such-flag"], 2),
        (vec!["build", "-j0", "fine"], 2),
        (vec!["build", "-f", "nowhere.toml", "fine"], 2),
        (vec!["build", "-C", "nowhere", "fine"], 2),
        (vec!["build", "tool"], 4),
        (vec!["build", "slow"], 124),
    ] {
        let run = space.iact(&args).run();
        assert_eq!(run.code, Some(code), "{args:?}: {run}");
    }
}

#[test]
fn a_timeout_ends_a_tree_that_ignores_it() {
    let mark = mark();
    let space =
        sleeper(&mark, "trap '' TERM INT; (trap '' TERM; sleep MARK) & while true; do sleep MARK; done");
    let text = space.read("Iactfile.toml").replace("inputs = []", "inputs = []\ntimeout = \"200ms\"");
    space.write("Iactfile.toml", text);
    let run = space.try_build(&["t"]).expect_code(124);
    assert!(left_over(&mark).is_empty(), "{run}");
    assert_eq!(run.kinds(), ["failed"], "{run}");
    assert!(run.said().contains("200ms"), "{run}");
    quick_build_after(&space, "timeout");
}

#[test]
fn keep_going_builds_what_does_not_depend_on_a_failure() {
    let space = Space::new(
        r#"
        [target.bad]
        run = "sleep 0.1; exit 1"
        [target.child]
        deps = ["bad"]
        run = "echo child >> @LOG@"
        [target.grandchild]
        deps = ["child"]
        run = "echo grandchild >> @LOG@"
        [target.wait]
        run = "sleep 0.3"
        [target.other]
        deps = ["wait"]
        run = "echo other >> @LOG@"
        "#,
    );
    let goals = ["grandchild", "other", "-j4"];
    let run = space.try_build(&goals).expect_code(1);
    assert_eq!((run.outcomes()["other"].as_str(), space.trail().len()), ("cancelled", 0), "{run}");
    let run = space.try_build(&["-k", "grandchild", "other", "-j4"]).expect_code(1);
    assert_eq!(run.with("skipped"), ["child", "grandchild"], "{run}");
    assert_eq!(space.trail(), ["other"], "{run}");
}

#[test]
fn as_many_run_at_once_as_jobs_say() {
    let mut iactfile = String::new();
    for n in 0..64 {
        writeln!(
            iactfile,
            "[target.t{n}]\ntags = [\"all\"]\ninputs = []\nrun = \"echo + >> @LOG@; sleep 0.05; echo - >> @LOG@\"\n\
             [target.u{n}]\ntags = [\"cpu\"]\ncpus = \"all\"\nrun = \"echo + >> @LOG@; echo - >> @LOG@\""
        )
        .unwrap();
    }
    let space = Space::new(&iactfile);
    let most = |space: &Space| {
        let mut running = 0_i32;
        let steps = space.trail().into_iter().map(|line| {
            running += if line == "+" { 1 } else { -1 };
            running
        });
        steps.max().unwrap_or_default()
    };
    space.build(&["--tag", "all", "-j64"]);
    assert!(most(&space) > 16, "64 at once");
    space.build(&["--tag", "all", "-j3", "--force"]);
    assert_eq!(most(&space), 3);
    space.build(&["--tag", "all", "-j1", "--force"]);
    assert_eq!(most(&space), 1);
    space.build(&["--tag", "cpu", "-j8"]);
    assert_eq!(most(&space), 1, "whoever takes the whole machine is alone");
}

#[test]
fn pools_and_exclusive_actions_limit_what_runs_beside_them() {
    let mut iactfile = String::from("[pool.net]\nslots = 2\n");
    for n in 0..6 {
        writeln!(
            iactfile,
            "[target.n{n}]\npool = \"net\"\nrun = \"echo + >> @LOG@; sleep 0.05; echo - >> @LOG@\"\n\
             [target.x{n}]\nexclusive = {}\nrun = \"echo + >> @LOG@; sleep 0.03; echo - >> @LOG@\"",
            n == 0
        )
        .unwrap();
    }
    let space = Space::new(&iactfile);
    let goals = |letter: &str| (0..6).map(|n| format!("{letter}{n}")).collect::<Vec<_>>();
    let most = || {
        let mut running = 0_i32;
        space
            .trail()
            .iter()
            .map(|line| {
                running += if line == "+" { 1 } else { -1 };
                running
            })
            .max()
    };
    let build = |goals: Vec<String>| {
        let args = ["build".to_owned(), "--json".into(), "-j6".into()].into_iter().chain(goals);
        space.iact(args).run().expect_code(0);
    };
    build(goals("n"));
    assert_eq!(most(), Some(2));
    build(vec!["x0".into()]);
    assert_eq!(most(), Some(1));
}

#[test]
fn two_makes_share_the_jobs_of_one_run() {
    if !has_program("make") {
        return skipped("no make");
    }
    let mut makefile = String::from("all:");
    (0..8).for_each(|n| write!(makefile, " j{n}").unwrap());
    makefile.push('\n');
    for n in 0..8 {
        writeln!(makefile, "j{n}:\n\t@echo + >> $(TRAIL); sleep 0.1; echo - >> $(TRAIL)").unwrap();
    }
    let space = Space::new(
        r#"
        [target.one]
        inputs = []
        run = "make -s -f Makefile TRAIL=@LOG@ all"
        [target.two]
        inputs = []
        run = "make -s -f Makefile TRAIL=@LOG@ all"
        "#,
    );
    space.write("Makefile", makefile);
    for (jobs, at_least) in [("-j4", 3), ("-j1", 1)] {
        let run = space.build(&["one", "two", jobs, "--force"]);
        let mut running = 0_i32;
        let steps = space.trail().into_iter().map(|line| {
            running += if line == "+" { 1 } else { -1 };
            running
        });
        let most = steps.max().unwrap();
        let limit = jobs[2..].parse::<i32>().unwrap();
        assert!(most <= limit && most >= at_least, "{most} at once under {jobs}: {run}");
        assert!(!run.said().contains("jobserver"), "make is content: {run}");
    }
}

#[test]
fn a_missing_folder_for_temporary_files_costs_no_jobserver() {
    let space = Space::new("[target.t]\nrun = 'echo \"$MAKEFLAGS\"'\n");
    let run = space.iact(["build", "--json", "t"]).env("TMPDIR", space.base().join("none")).run();
    assert!(run.output("t", "stdout").contains("--jobserver-auth="), "{run}");
}

#[test]
fn output_modes_show_what_they_say() {
    let space = Space::new(
        r#"
        [target.good]
        run = "echo $((6*7)) fine; echo $((6*8)) loud >&2"
        [target.bad]
        run = "echo $((6*9)) broken; exit 1"
        "#,
    );
    for (mode, good, bad) in
        [("group", true, true), ("stream", true, true), ("errors", false, true), ("none", false, false)]
    {
        let flag = format!("--output={mode}");
        let run = space.iact(["build", "-k", "-j1", &flag, "good", "bad"]).run().expect_code(1);
        let said = format!("{}{}", run.out, run.err);
        for words in ["42 fine", "48 loud"] {
            assert_eq!(said.contains(words), good, "{mode}, {words}: {run}");
        }
        assert_eq!(said.contains("54 broken"), bad, "{mode}: {run}");
        assert!(!said.contains('\x1b'), "no colours into a file: {run}");
    }
}

#[test]
fn lines_of_parallel_commands_are_never_mixed() {
    let mut iactfile = String::new();
    for n in 0..6 {
        writeln!(
            iactfile,
            "[target.t{n}]\nrun = \"for i in $(seq 200); do printf '%s' {n}{n}{n}{n}; printf '%s\\\\n' {n}{n}{n}{n}; done\""
        )
        .unwrap();
    }
    let space = Space::new(&iactfile);
    for mode in ["--output=stream", "--output=group"] {
        let args = ["build", mode, "-j6", "t0", "t1", "t2", "t3", "t4", "t5"];
        let run = space.iact(args).run().expect_code(0);
        let said = format!("{}{}", run.out, run.err);
        for n in 0..6 {
            let whole = said.lines().filter(|line| line.ends_with(&n.to_string().repeat(8))).count();
            assert_eq!(whole, 200, "{mode}, t{n}");
        }
    }
}

#[test]
fn two_runs_at_once_wait_for_each_other_and_say_so() {
    let space = Space::new(
        "[target.t]\ninputs = [\"in\"]\noutputs = [\"o\"]\nrun = \"echo t >> @LOG@; until [ -e @BASE@/go ]; do sleep 0.02; done; cp in o\"\n",
    );
    space.write("in", "1");
    let first = space.iact(["build", "--json", "t"]).start();
    until("it runs", || space.base().join("trail").exists());
    let second = space.iact(["build", "--json", "t"]).start();
    let pid = first.pid().as_raw_nonzero().to_string();
    until("it says that it waits", || second.out().contains("waiting") || second.err().contains("waiting"));
    assert!(second.out().contains(&pid) || second.err().contains(&pid), "it says for whom: {}", second.out());
    std::fs::write(space.base().join("go"), "").unwrap();
    assert_eq!(first.wait().expect_code(0).kinds(), ["executed"]);
    assert_eq!(second.wait().expect_code(0).kinds(), ["up_to_date"]);
    assert_eq!(space.trail(), ["t"]);
}

#[test]
fn whoever_waits_can_be_interrupted() {
    let mark = mark();
    let space = sleeper(&mark, "sleep MARK");
    let first = space.iact(["build", "t"]).start();
    until("it runs", || space.base().join("there").exists());
    let second = space.iact(["build", "--json", "t"]).limit(10).start();
    until("it says that it waits", || second.out().contains("waiting") || second.err().contains("waiting"));
    second.signal(Signal::INT);
    let run = second.wait();
    assert!(run.code == Some(130) || run.signal == Some(2), "{run}");
    first.signal(Signal::INT);
    first.wait();
    assert!(left_over(&mark).is_empty());
}

#[test]
fn many_runs_with_one_cache_in_many_checkouts_are_safe() {
    let mut iactfile = String::new();
    for n in 0..10 {
        writeln!(
            iactfile,
            "[target.t{n}]\ntags = [\"all\"]\ninputs = [\"in\"]\noutputs = [\"o/{n}\"]\nrun = \"cp in o/{n}; head -c 20000 /dev/zero >> o/{n}\""
        )
        .unwrap();
    }
    let space = Space::new(&iactfile);
    space.write("in", "same");
    let checkouts: Vec<Space> = (0..4).map(|n| space.checkout(&format!("checkout{n}"))).collect();
    let started: Vec<_> =
        checkouts.iter().map(|checkout| checkout.iact(["build", "--json", "--tag", "all"]).start()).collect();
    for run in started {
        run.wait().expect_code(0);
    }
    for checkout in &checkouts {
        assert!((0..10).all(|n| checkout.read(format!("o/{n}")).len() == 20_004));
        assert_eq!(checkout.build(&["--tag", "all"]).kinds(), ["up_to_date"]);
    }
    assert_eq!(space.build(&["--tag", "all"]).kinds(), ["cached"]);
}

#[test]
fn a_child_left_in_the_background_does_not_hang_the_run() {
    let mark = mark();
    let space = Space::new(&format!("[target.t]\nrun = \"sleep {mark} & echo done; exit 1\"\n"));
    let run = space.iact(["build", "--json", "t"]).limit(20).run().expect_code(1);
    assert!(run.took < Duration::from_secs(10), "{:?}", run.took);
    left_over(&mark);
}

#[test]
fn commands_read_nothing_and_inherit_no_descriptors() {
    // What this test itself was started with is not iact's doing.
    let own: Vec<_> = std::fs::read_dir("/proc/self/fd").unwrap().map(|fd| fd.unwrap().file_name()).collect();
    let space = Space::new(
        "[target.t]\nrun = \"cat; for fd in /proc/$$/fd/*; do echo ${fd##*/} $(readlink $fd); done\"\n",
    );
    let run = space.build(&["t"]);
    let listed = run.output("t", "stdout");
    assert!(listed.contains("0 /dev/null"), "{listed}");
    for line in listed.lines() {
        let (fd, what) = line.split_once(' ').unwrap();
        let known = ["0", "1", "2"].contains(&fd) || own.contains(&fd.into()) || what.contains("iact-jobs");
        assert!(known || what.is_empty() || fd == "255", "{listed}");
    }
}

#[test]
fn a_token_that_something_left_behind_took_holds_up_nobody() {
    if !has_program("python3") {
        return skipped("no python3");
    }
    let mark = mark();
    let space = Space::new(&format!(
        "[target.a]\nrun = 'python3 thief.py {mark}'\n[target.b]\nrun = 'sleep 0.1; echo b >> @LOG@'\ndeps = ['a']\n\
         [target.c]\nrun = 'sleep 0.3'\nafter = ['a']\n",
    ));
    space.write(
        "thief.py",
        "import os, re, sys, time\n\
         flags = os.environ['MAKEFLAGS']\n\
         pair = re.search(r'--jobserver-auth=(\\d+),', flags)\n\
         fd = int(pair.group(1)) if pair else os.open(re.search(r'fifo:(\\S+)', flags).group(1), os.O_RDWR)\n\
         if os.fork(): sys.exit(0)\n\
         os.setsid()\n\
         for to in (0, 1, 2): os.dup2(os.open('/dev/null', os.O_RDWR), to)\n\
         os.read(fd, 1)\n\
         time.sleep(30)\n",
    );
    let run = space.iact(["build", "--json", "-j1", "b", "c"]).limit(20).run().expect_code(0);
    assert_eq!(space.trail(), ["b"], "{run}");
    for pid in left_over(&mark) {
        let _ = rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL);
    }
}
