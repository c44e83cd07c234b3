//! What makes the workspace another one while it is watched: names that come and go, conditions, mistakes.

use super::{Watching, now};
use crate::space::{Space, until};
use std::time::Duration;

const NAMES: &str = "[workspace]\ndefault = ['t', 'x']\ninclude = ['libs/*']\n\
    [target.t]\nfor_each = 'src/**/*.c'\noutputs = ['out/{{ file.stem }}']\nrun = 'touch {{ out }}'\n\
    [target.x]\ndeps = ['t[src/a/x.c]']\ninputs = ['i']\noutputs = ['o']\nrun = 'cp i o'\n";

/// Clock ticks that the watch has computed for.
fn ticks(watching: &Watching<'_>) -> u64 {
    let stat = format!("/proc/{}/stat", watching.started.pid().as_raw_nonzero());
    let text = std::fs::read_to_string(stat).unwrap();
    let fields: Vec<&str> = text.rsplit_once(')').unwrap().1.split_whitespace().collect();
    fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
}

#[test]
fn a_name_that_makes_the_workspace_invalid_is_said_once_and_the_last_good_one_is_built_until_it_is_mended() {
    let space = Space::new(NAMES);
    space.write("src/a/x.c", "");
    space.write("i", "0\n");
    let watching = Watching::of(&space, &[]);
    let said = |what: &str| watching.started.err().matches(what).count();
    // What is said; by what; whether the last good one can be built meanwhile; what mends it.
    type Act<'a> = &'a dyn Fn();
    let rows: [(&str, Act<'_>, bool, Act<'_>); 4] = [
        ("both make", &|| drop(space.write("src/b/x.c", "")), true, &|| space.remove("src/b")),
        ("selects no", &|| space.remove("src/a/x.c"), false, &|| drop(space.write("src/a/x.c", ""))),
        ("libs/q/Iactfile.toml:1", &|| space.iactfile_in("libs/q", "[target.half\n"), true, &|| {
            space.iactfile_in("libs/q", "[target.whole]\nrun = 'true'\n")
        }),
        ("`app` has no", &|| space.iactfile(&NAMES.replace("'libs/*'", "'libs/*', 'app'")), true, &|| {
            space.iactfile_in("app", "[target.whole]\nrun = 'true'\n")
        }),
    ];
    for (what, broken, builds, mended) in rows {
        broken();
        until(what, || said(what) == 1);
        watching.settle();
        let (began, runs, errors) = (ticks(&watching), watching.runs(), said("error:"));
        std::thread::sleep(Duration::from_millis(1_500));
        let used = ticks(&watching) - began;
        assert_eq!((watching.runs(), said("error:")), (runs, errors), "{what}: {}", watching.started.err());
        assert!(said(what) == 1 && used < 50, "{what}: {used} ticks in 1.5 s: {}", watching.started.err());
        if builds {
            space.write("i", format!("{what}\n"));
            until("it is built", || now(&space, "o") == format!("{what}\n"));
            watching.settle();
        }
        let runs = watching.runs();
        mended();
        until("it is opened again", || watching.runs() > runs);
        watching.expect_fresh(what);
        assert_eq!(said(what), 1, "{}", watching.started.err());
    }
    space.iactfile_in("libs/r", "[target.half\n");
    until("it is broken", || said("libs/r/Iactfile.toml:1") == 1);
    watching.end();
}

#[test]
fn conditions_are_asked_again_when_their_files_come_and_go_and_before_each_build() {
    let space = Space::new("");
    space.iactfile(
        &"[workspace]\ndefault = ['t', 'u', 'v']\n\
         [target.t]\nwhen = { exists = 'flags/t' }\ninputs = ['i']\noutputs = ['o']\nrun = 'cp i o'\n\
         [target.u]\nrequires = [{ file = '@WS@/flags/u', optional = true }]\ninputs = ['i']\noutputs = ['p']\nrun = 'cp i p'\n\
         [target.v]\nrequires = [{ tool = '@BASE@/tool', optional = true }]\ninputs = ['i']\noutputs = ['q']\nrun = 'cp i q'\n"
            .replace("@WS@", space.path("").to_str().unwrap().trim_end_matches('/')),
    );
    space.write("i", "1\n");
    space.write("flags/t", "");
    let watching = Watching::of(&space, &[]);
    let outputs = || ["o", "p", "q"].map(|name| now(&space, name).trim_end().to_owned());
    assert_eq!(outputs(), ["1", "", ""], "{}", watching.started.out());
    type Row<'a> = (&'a str, &'a dyn Fn(), [&'a str; 3]);
    let rows: [Row<'_>; 7] = [
        ("a flag goes", &|| space.remove("flags/t"), ["1", "", ""]),
        ("an input moves", &|| drop(space.write("i", "2\n")), ["1", "", ""]),
        ("a flag comes back", &|| drop(space.write("flags/t", "")), ["2", "", ""]),
        ("another comes", &|| drop(space.write("flags/u", "")), ["2", "2", ""]),
        ("a tool comes, which nobody watches", &|| drop(space.write("../tool", "")), ["2", "2", ""]),
        ("an input moves", &|| drop(space.write("i", "3\n")), ["3", "3", "3"]),
        ("the folder of both goes", &|| space.remove("flags"), ["3", "3", "3"]),
    ];
    for (what, act, expected) in rows {
        act();
        watching.settle();
        assert_eq!(outputs(), expected, "{what}: {}", watching.started.out());
    }
    space.write("i", "4\n");
    watching.settle();
    assert_eq!(outputs(), ["3", "3", "4"], "{}", watching.started.out());
    let run = space.build(&[]);
    assert_eq!(
        (run.with("skipped"), run.with("up_to_date")),
        (vec!["t".into(), "u".into()], vec!["v".into()])
    );
    watching.end();
}

#[test]
fn a_condition_that_building_moves_itself_is_named_and_left() {
    let space = Space::new(
        "[target.t]\nwhen = { exists = 'flag' }\nafter = ['u']\nrun = 'rm -f flag'\n\
         [target.u]\nrun = 'test -e flag || touch flag'\n",
    );
    let watching = Watching::of(&space, &["t", "u"]);
    let (runs, said) = (watching.runs(), watching.started.out());
    assert!(runs < 12 && said.contains("`flag` changes whenever `t` is built"), "{runs} builds: {said}");
    watching.end();
}

#[test]
fn where_there_is_nothing_to_do_yet_nothing_is_done_over_and_over() {
    for nothing in [
        "[target.t]\ninputs = ['a']\nwhen = { exists = 'flag' }\nrun = 'true'\n",
        "[target.t]\nfor_each = 's/*.x'\nrun = 'true'\n",
        "[target.t]\ndeps = []\n",
        "[target.t]\ninputs = []\nrequires = [{ tool = 'nobody-has-it', optional = true }]\nrun = 'true'\n",
    ] {
        let space = Space::new(nothing);
        space.write("a", "");
        let watching = Watching::of(&space, &["t"]);
        assert!(watching.runs() <= 2, "{nothing}: {}", watching.started.out());
        watching.end();
    }
}
