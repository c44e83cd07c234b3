//! Outputs: what is made ready before, demanded after, and brought back from the cache.

use crate::dice::Dice;
use crate::mounted::Mounted;
use crate::space::{Space, is_root, set_mode, skipped, tree};
use rustix::process::Signal;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::Path;

/// A random tree: files, programs, links, empty folders, files with the same content.
fn grow(dice: &mut Dice, at: &Path, depth: usize) {
    std::fs::create_dir_all(at).unwrap();
    for number in 0..dice.below(6) {
        let path = at.join(format!("n{number}"));
        match dice.below(7) {
            0 | 1 if depth > 0 => grow(dice, &path, depth - 1),
            2 => std::fs::create_dir(&path).unwrap(),
            3 => symlink(["n0", "nowhere", "../n1", "."][dice.below(4)], &path).unwrap(),
            kind => {
                let length = [0, 1, 10, 5000, 70_000][dice.below(5)];
                std::fs::write(&path, vec![b'a' + u8::try_from(dice.below(2)).unwrap(); length]).unwrap();
                set_mode(&path, if kind == 4 { 0o755 } else { 0o644 });
            }
        }
    }
}

#[test]
fn any_tree_comes_back_as_it_was() {
    let space = Space::new("[target.t]\ninputs = ['seed']\noutputs = ['d']\nrun = 'cp -a @BASE@/made d'\n");
    let made = space.base().join("made");
    for seed in 0..40 {
        crate::space::remove(&made);
        grow(&mut Dice::new(seed), &made, 3);
        space.write("seed", format!("{seed}"));
        space.build(&["t"]);
        let expected = tree(&made);
        assert_eq!(tree(&space.path("d")), expected, "seed {seed}, executed");
        // From nothing, and from what another tree left behind.
        if seed % 2 == 0 {
            space.remove("d");
        } else {
            space.remove("d");
            grow(&mut Dice::new(seed + 1000), &space.path("d"), 3);
        }
        let run = space.build(&["t"]);
        let restored = tree(&space.path("d"));
        assert!(run.kinds() == ["cached"] || run.kinds() == ["up_to_date"], "seed {seed}: {run}");
        assert_eq!(restored, expected, "seed {seed}, restored");
        assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"], "seed {seed}");
    }
}

#[test]
fn modes_come_back_whatever_the_umask() {
    let space = Space::new(
        "[target.t]\ninputs = ['in']\noutputs = ['d']\nrun = 'mkdir d; echo 1 > d/plain; echo 2 > d/program; chmod 755 d/program; echo 3 > d/odd; chmod 4711 d/odd'\n",
    );
    space.write("in", "1");
    for umask in ["000", "022", "077"] {
        let line = format!("umask {umask}; exec \"$0\" build t");
        for _ in 0..2 {
            let done = space.program("bash").args(["-c", &line, crate::space::IACT]).output().unwrap();
            assert!(done.status.success());
            let bits = |name: &str| std::fs::metadata(space.path(name)).unwrap().mode() & 0o7777;
            assert!(bits("d/plain") & 0o111 == 0 && bits("d/program") & 0o100 != 0, "{umask}");
            assert!(bits("d/plain") & 0o600 == 0o600, "{umask}: its owner may write it");
            space.remove("d");
        }
    }
    space.build(&["t"]);
    assert_eq!(std::fs::metadata(space.path("d/odd")).unwrap().mode() & 0o7000, 0, "no setuid from a cache");
}

#[test]
fn what_was_there_before_goes_unless_it_is_kept() {
    for (keep, expected) in [("", "fresh\n"), ("keep_outputs = true\n", "old\nfresh\n")] {
        let space = Space::new(&format!(
            "[target.t]\ninputs = ['in']\noutputs = ['far/down/o']\n{keep}run = 'echo fresh >> far/down/o'\n"
        ));
        space.write("in", "1");
        space.write("far/down/o", "old\n");
        space.build(&["t"]);
        assert_eq!(space.read("far/down/o"), expected);
    }
}

#[test]
fn leftovers_are_removed_as_links_and_never_through_them() {
    let space = Space::new(
        "[target.t]\ninputs = ['in']\noutputs = ['o', 'd']\nrun = 'cp in o; mkdir -p d; cp in d/x'\n",
    );
    let precious = space.base().join("precious");
    std::fs::create_dir(&precious).unwrap();
    std::fs::write(precious.join("x"), "precious").unwrap();
    for content in ["1", "2", "1"] {
        space.write("in", content);
        for (link, to) in [("o", precious.join("x")), ("d", precious.clone())] {
            space.remove(link);
            symlink(to, space.path(link)).unwrap();
        }
        space.build(&["t"]);
        assert_eq!((space.read("o"), space.read("d/x")), (content.into(), content.into()));
        assert_eq!(std::fs::read_to_string(precious.join("x")).unwrap(), "precious");
    }
    // A link in the way to an output that leaves the workspace.
    let space = Space::new("[target.t]\ninputs = ['in']\noutputs = ['way/o']\nrun = 'cp in way/o'\n");
    space.write("in", "1");
    space.build(&["t"]);
    let outside = space.base().join("outside");
    std::fs::create_dir(&outside).unwrap();
    space.remove("way");
    symlink(&outside, space.path("way")).unwrap();
    let run = space.try_build(&["t"]);
    assert_eq!(std::fs::read_dir(&outside).unwrap().count(), 0, "nothing is restored outside: {run}");
}

#[test]
fn an_output_that_is_no_file_fails_the_action() {
    for (what, make) in
        [("FIFO", "mkfifo o"), ("device", "ln -s /dev/null o; mknod o c 1 3 2>/dev/null || mkfifo o")]
    {
        if what == "device" && !is_root() {
            skipped("only the superuser makes devices");
            continue;
        }
        let make = if what == "device" { "mknod o c 1 3" } else { make };
        let space = Space::new(&format!("[target.t]\ninputs = []\noutputs = ['o']\nrun = '{make}'\n"));
        let run = space.iact(["build", "--json", "t"]).limit(15).run();
        assert_eq!((run.code, run.kinds()), (Some(1), vec!["failed".into()]), "{what}: {run}");
        assert!(run.said().contains('o'), "{run}");
    }
}

#[test]
fn a_command_that_changes_its_own_inputs_is_found_out() {
    let space = Space::new(
        "[target.t]\ninputs = ['in']\noutputs = ['o']\nrun = 'echo t >> @LOG@; echo more >> in; cp in o'\n",
    );
    space.write("in", "1\n");
    for _ in 0..2 {
        let run = space.build(&["t"]);
        assert_eq!((run.kinds(), space.trail().len()), (vec!["executed".into()], 1), "{run}");
        assert!(run.warnings().iter().any(|warning| warning.contains("`in`")), "{run}");
    }
}

#[test]
fn an_input_edited_during_the_run_in_any_way_is_not_stored() {
    let edits = [
        ("in place", "echo new > in"),
        ("same size, time put back", "touch -r in @BASE@/time; echo New > in; touch -r @BASE@/time in"),
        ("renamed over", "echo new > in.new; mv in.new in"),
        ("there and back", "cp in @BASE@/old; echo new > in; cp @BASE@/old in"),
        ("a file more", "echo new > src/more"),
        ("a file less", "rm src/one"),
        ("behind a link", "echo new > behind"),
        ("the executable bit", "chmod 755 in"),
    ];
    // A folder by its name is as open as a pattern.
    let folders = ["src/*", "src"].into_iter();
    for (folder, (what, edit)) in folders.flat_map(|folder| edits.map(|edit| (folder, edit))) {
        let what = format!("{what}, {folder}");
        let space = Space::new(&format!(
            "[target.t]\ninputs = ['in', '{folder}', 'link']\noutputs = ['o']\nrun = 'cat in > o; ls src >> o; if [ -e @BASE@/edit ]; then sh @BASE@/edit; rm @BASE@/edit; fi; echo t >> @LOG@'\n",
        ));
        for (name, content) in [("in", "old\n"), ("src/one", "1\n"), ("behind", "x\n")] {
            space.write(name, content);
        }
        symlink("behind", space.path("link")).unwrap();
        let base = space.base().to_str().unwrap().to_owned();
        std::fs::write(space.base().join("edit"), edit.replace("@BASE@", &base)).unwrap();
        let run = space.build(&["t"]);
        assert_eq!(run.warnings().len(), 1, "{what}: it is said: {run}");
        space.trail();
        let run = space.build(&["t"]);
        assert_eq!((run.kinds(), space.trail().len()), (vec!["executed".into()], 1), "{what}: {run}");
        assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"], "{what}");
    }
}

/// No stat of the file tells. Folders are no such thing: what else moves their times keeps no result from being stored.
#[test]
fn a_link_on_the_way_that_is_switched_while_the_command_reads_and_back_is_seen() {
    let switch = "ln -sfn other cur; cat cur/x.h > o; ln -sfn inc cur";
    let touch = "chmod 755 inc; touch -d 2020-01-01 inc; cat inc/x.h > o";
    let rows = [
        (switch, "cur/x.h", true),
        (switch, "cur/x.h", false),
        (touch, "inc/x.h", true),
        (touch, "inc/x.h", false),
    ];
    for (reads, header, declared) in rows {
        let inputs = if declared { format!("['{header}']") } else { "[]\ndepfile = 'd'".to_owned() };
        let space = Space::new(&format!(
            "[target.t]\ninputs = {inputs}\noutputs = ['o']\nrun = 'if [ -e @BASE@/go ]; then rm @BASE@/go; {reads}; else cat {header} > o; fi; echo o: {header} > d'\n",
        ));
        space.write("inc/x.h", "inc");
        space.write("other/x.h", "other");
        symlink("inc", space.path("cur")).unwrap();
        std::fs::write(space.base().join("go"), "").unwrap();
        std::thread::sleep(std::time::Duration::from_millis(15));
        let run = space.build(&["t"]);
        let (is_led, what) = (reads == switch, format!("{reads}, declared: {declared}: {run}"));
        assert_eq!(space.read("o"), if is_led { "other" } else { "inc" }, "{what}");
        assert_eq!(run.warnings().len(), usize::from(is_led), "{what}");
        let run = space.build(&["t"]);
        let then = if is_led { "executed" } else { "up_to_date" };
        assert_eq!((space.read("o").as_str(), run.kinds()), ("inc", vec![then.to_owned()]), "{what}, {run}");
        assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"], "{what}");
    }
}

#[test]
fn many_restored_programs_can_be_run_at_once() {
    let space = Space::new(
        "[target.make]\ninputs = []\noutputs = ['bin']\nrun = 'mkdir bin; for i in $(seq 60); do cp /bin/true bin/p$i; done'\n\
         [target.use]\nmatrix = { n = ['1','2','3','4'] }\ndeps = ['make']\nrun = 'for p in bin/*; do ./$p; done'\n",
    );
    space.build(&["make"]);
    space.remove("bin");
    let run = space.build(&["use", "-j4"]);
    assert_eq!(run.outcomes()["make"], "cached", "{run}");
    assert!(std::fs::metadata(space.path("bin/p1")).unwrap().nlink() == 1, "no hard link into the cache");
}

/// Tools protect what they have unpacked (Go's module cache): folders that nobody may write to, not even their owner.
#[test]
fn read_only_folders_among_the_outputs_are_no_obstacle() {
    let space = Space::new(
        "[target.t]\ninputs = ['in']\noutputs = ['mod']\nrun = 'mkdir -p mod/a/b; cp in mod/a/b/f; chmod 0555 mod/a/b mod/a mod'\n",
    );
    space.write("in", "1");
    // Who may do anything is stopped by no mode.
    let is_root = rustix::process::geteuid().is_root();
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let wrapper: &[&str] = if is_root { &nobody } else { &["env"] };
    if is_root {
        let given =
            std::process::Command::new("chown").args(["-R", "65534:65534"]).arg(space.base()).status();
        let runs = space.iact(["--version"]).below(wrapper).run().code == Some(0);
        if !given.is_ok_and(|status| status.success()) || !runs {
            return crate::space::skipped("this program cannot be run as somebody else");
        }
    }
    let build = |content: Option<&str>| {
        if let Some(content) = content {
            std::fs::write(space.path("in"), content).unwrap();
        }
        space.iact(["build", "--json", "t"]).below(wrapper).run().expect_code(0)
    };
    for content in ["1", "2"] {
        assert_eq!(build(Some(content)).kinds(), ["executed"]);
        assert_eq!(space.read("mod/a/b/f"), content);
    }
    assert_eq!(build(Some("1")).kinds(), ["cached"], "restored over what is read-only");
    assert_eq!(space.read("mod/a/b/f"), "1");
    assert_eq!(build(Some("2")).kinds(), ["cached"]);
    assert_eq!(build(Some("3")).kinds(), ["executed"]);
    space.iact(["clean"]).below(wrapper).run().expect_code(0);
    assert!(!space.has("mod"));
}

#[test]
fn what_a_killed_restore_leaves_on_another_file_system_is_nobodys_input_and_goes() {
    let space = Space::new(
        r#"
[target.big]
inputs  = ["in"]
outputs = ["out/big"]
run     = "head -c 100000000 /dev/zero > out/big"
[target.list]
deps    = ["big"]
inputs  = ["out"]
outputs = ["names"]
run     = "ls -A out > names"
"#,
    );
    space.write("in", "1");
    let Some(_mounted) = Mounted::tmpfs(&space.path("out"), "size=300M") else {
        return skipped("no file system can be mounted here");
    };
    space.build(&["list"]);
    let litter = || {
        let mut names = std::fs::read_dir(space.path("out")).unwrap().map(|entry| entry.unwrap().file_name());
        names.any(|name| name.to_string_lossy().starts_with(".iact"))
    };
    for _ in 0..50 {
        space.remove("out/big");
        let build = space.iact(["build", "big"]).start();
        while !litter() && !space.has("out/big") {
            std::thread::yield_now();
        }
        build.signal(Signal::KILL);
        build.wait();
        space.wait_for_the_dead();
        if litter() {
            let run = space.build(&["list"]);
            let outcomes = run.outcomes();
            assert_eq!(
                (outcomes["big"].as_str(), outcomes["list"].as_str()),
                ("cached", "up_to_date"),
                "{run}"
            );
            assert!(!litter() && space.has("out/big"), "{run}");
            return;
        }
    }
    panic!("no restore was killed while it copied");
}

#[test]
fn a_result_whose_log_is_lost_is_not_stored() {
    let space = Space::new(
        "[target.t]\ninputs = ['in']\noutputs = ['o']\nrun = 'echo said; cp in o; test ! -e lose || until rm .iact/log/* 2> /dev/null; do sleep 0.01; done'\n",
    );
    space.write("in", "1");
    space.write("lose", "");
    let run = space.build(&["t"]);
    assert_eq!(run.kinds(), ["executed"], "{run}");
    assert!(run.warnings().iter().any(|said| said.contains("`t` is not in the cache, for its log")), "{run}");
    space.remove("lose");
    for (kind, why) in [("executed", "its log was lost"), ("cached", "its log was kept")] {
        space.remove("o");
        let run = space.build(&["t"]);
        assert_eq!(run.kinds(), [kind], "{why}: {run}");
    }
    assert!(space.iact(["log", "t"]).run().expect_code(0).out.contains("said"));
}
