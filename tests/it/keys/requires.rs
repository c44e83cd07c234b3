//! `requires` and `iact doctor`.

use crate::space::{Space, set_mode};

#[test]
fn what_is_required_is_checked_before_anything_starts() {
    let rows = [
        ("{ tool = 'sh' }", None),
        ("{ tool = 'no-such-tool-xyz' }", Some("it is not on PATH")),
        ("{ tool = './mine', version = '>=2.3' }", None),
        ("{ tool = './mine', version = '>=2.4' }", Some("is 2.3.1")),
        ("{ tool = './mute', version = '>=1' }", Some("does not tell its version")),
        ("{ env = 'HOME' }", None),
        ("{ env = 'NO_SUCH' }", Some("it is not set")),
        ("{ file = 'mine' }", None),
        ("{ file = '/no/such' }", Some("it does not exist")),
        ("{ disk = '1KiB' }", None),
        ("{ disk = '9000PiB' }", Some("free")),
        ("{ memory = '1MiB' }", None),
        ("{ memory = '9000PiB' }", Some("in the machine")),
    ];
    for (row, why) in rows {
        let space = Space::new(&format!(
            "[target.first]\nrun = 'echo first >> @LOG@'\n[target.t]\ndeps = ['first']\nrequires = [{row}]\nrun = 'true'\n"
        ));
        set_mode(&space.write("mine", "#!/bin/sh\necho 'mine version 2.3.1 (of today)'\n"), 0o755);
        set_mode(&space.write("mute", "#!/bin/sh\nexit 0\n"), 0o755);
        let run = space.try_build(&["t"]);
        match why {
            None => assert_eq!((run.code, space.trail()), (Some(0), vec!["first".into()]), "{row}: {run}"),
            Some(why) => {
                assert_eq!((run.code, space.trail()), (Some(4), vec![]), "{row}: {run}");
                assert!(run.err.contains(why) && run.err.contains("Iactfile.toml:"), "{row}: {run}");
            }
        }
    }
}

#[test]
fn all_that_is_missing_is_told_at_once_with_what_helps() {
    let space = Space::new(
        "[target.a]\nrequires = [{ tool = 'no-such-a', hint = 'install a' }, { env = 'NO_B', hint = 'set b' }]\nrun = 'true'\n\
         [target.b]\nrequires = [{ tool = 'no-such-a', hint = 'install a' }]\nrun = 'true'\n[target.all]\ndeps = ['a', 'b']\n",
    );
    let run = space.try_build(&["all"]).expect_code(4);
    for part in ["tool `no-such-a`", "hint: install a", "variable `NO_B`", "hint: set b"] {
        assert_eq!(run.err.matches(part).count(), 1, "{part}: {run}");
    }
}

#[test]
fn a_version_has_to_be_one() {
    let space = Space::new("[target.t]\nrequires = [{ tool = 'sh', version = 'new' }]\nrun = 'true'\n");
    let run = space.try_build(&["t"]).expect_code(2);
    assert!(run.err.contains("Iactfile.toml:2") && run.err.contains("`new`"), "{run}");
}

#[test]
fn doctor_shows_everything_and_its_exit_code_tells_whether_something_is_missing() {
    let space = Space::new(
        "[target.a]\ntools = ['sh']\nrequires = [{ tool = 'no-such-a', hint = 'install a' }, { env = 'HOME' }]\nrun = 'echo a >> @LOG@'\n\
         [target.b]\nwhen = { exists = 'no' }\nrequires = [{ tool = 'no-such-b', hint = 'install b' }]\nrun = 'true'\n",
    );
    let run = space.iact(["doctor"]).run().expect_code(4);
    for part in [
        "missing  the tool `no-such-a`",
        "hint: install a",
        "ok  the variable `HOME`",
        "absent  the tool `no-such-b`",
        "ok  the tool `sh`",
    ] {
        assert!(run.out.contains(part), "{part}: {run}");
    }
    let run = space.iact(["doctor", "--json"]).run().expect_code(4);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&run.out).unwrap();
    assert_eq!(rows.len(), 4);
    assert_eq!(rows.iter().filter(|row| row["ok"] == false).count(), 2);
    assert_eq!(space.trail(), Vec::<String>::new());
    assert!(!space.has(".iact"), "it writes nothing");
    space.iactfile("[target.a]\nrequires = [{ env = 'HOME' }]\nrun = 'true'\n");
    space.iact(["doctor"]).run().expect_code(0);
    space.iactfile("[target.a]\nrun = 'true'\n");
    space.iact(["doctor"]).run().expect_code(0);
}

#[test]
fn without_what_is_optional_a_target_is_skipped_and_takes_its_dependents_along_but_no_group() {
    let space = Space::new(
        "[target.images]\nrequires = [{ tool = 'no-such-engine', hint = 'apt-get install engine', optional = true }]\n\
         run = 'echo images >> @LOG@'\n\
         [target.scan]\ndeps = ['images']\nrun = 'echo scan >> @LOG@'\n\
         [target.push]\ndeps = ['scan']\nrun = 'echo push >> @LOG@'\n\
         [target.there]\nrequires = [{ tool = 'sh', optional = true }]\nrun = 'echo there >> @LOG@'\n\
         [target.ci]\ndeps = ['push', 'there']\n\
         [target.after]\ndeps = ['ci']\nrun = 'echo after >> @LOG@'\n\
         [target.summary]\nafter = ['push']\nrun = 'echo summary >> @LOG@'\n",
    );
    let run = space.try_build(&["after", "summary"]).expect_code(0);
    let mut trail = space.trail();
    trail.sort();
    assert_eq!(trail, ["after", "summary", "there"], "{run}");
    let outcomes = run.outcomes();
    for name in ["images", "scan", "push"] {
        assert_eq!(outcomes[name], "skipped", "{run}");
    }
    let why = run.finished("images")["message"].as_str().unwrap().to_owned();
    assert!(why.contains("`no-such-engine`") && why.contains("apt-get install engine"), "{why}");
    assert!(run.finished("push")["message"].as_str().unwrap().contains("`scan` is skipped"));
    let forecast = space.iact(["build", "-n", "after"]).run().expect_code(0);
    assert!(forecast.out.contains("skip     scan"), "{forecast}");
    space.iact(["doctor"]).run().expect_code(0);
}

#[test]
fn a_group_cannot_be_optional() {
    let space = Space::new(
        "[target.t]\nrun = 'true'\n[target.g]\ndeps = ['t']\nrequires = [{ tool = 'sh', optional = true }]\n",
    );
    let run = space.try_build(&["g"]).expect_code(2);
    assert!(run.err.contains("Iactfile.toml:5") && run.err.contains("a group"), "{run}");
}
