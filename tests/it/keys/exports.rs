//! `exports`: values that dependents read.

use crate::space::Space;

const SNAP: &str = "[target.snap]\ninputs = ['in']\nexports = ['id']\nrun = 'echo ran >> @LOG@; echo \"id=$(cat in)\" >> $IACT_EXPORTS'\n";

#[test]
fn a_value_reaches_dependents_quoted_and_enters_their_fingerprint() {
    let space = Space::new(&format!(
        "{SNAP}[target.use]\ndeps = ['snap']\ninputs = []\nenv = {{ ID = \"{{{{ exports('snap').id }}}}\" }}\n\
         run = \"echo {{{{ exports('snap').id }}}} =\\\"$ID\\\"= >> @LOG@\"\n"
    ));
    space.write("in", "a  b'$(x)");
    space.build(&["use"]);
    assert_eq!(space.trail(), ["ran", "a  b'$(x) =a  b'$(x)="]);
    assert_eq!(space.build(&["use"]).kinds(), ["up_to_date"]);
    space.write("in", "other");
    let run = space.build(&["use"]);
    assert_eq!(run.reason("use"), "dependency_changed id", "{run}");
    assert_eq!(space.trail(), ["ran", "other =other="]);
    space.write("in", "a  b'$(x)");
    let run = space.build(&["use"]);
    assert_eq!(run.kinds(), ["cached"], "the same value, the same result: {run}");
}

#[test]
fn an_equal_value_rebuilds_nobody() {
    let space = Space::new(
        "[target.snap]\ninputs = ['in']\nexports = ['id']\nrun = 'echo id=1 > $IACT_EXPORTS'\n\
         [target.use]\ndeps = ['snap']\ninputs = []\nrun = \"echo {{ exports('snap').id }} >> @LOG@\"\n",
    );
    space.write("in", "1");
    space.build(&["use"]);
    space.write("in", "2");
    let run = space.build(&["use"]);
    assert_eq!((run.outcomes()["snap"].as_str(), run.outcomes()["use"].as_str()), ("executed", "up_to_date"));
}

#[test]
fn a_value_is_kept_when_up_to_date_in_the_cache_and_for_only() {
    let space = Space::new(&format!(
        "{SNAP}[target.use]\ndeps = ['snap']\nrun = \"echo {{{{ exports('snap').id }}}} >> @LOG@\"\n"
    ));
    space.write("in", "42");
    space.build(&["use"]);
    space.build(&["use"]);
    space.build(&["--only", "use"]);
    assert_eq!(space.trail(), ["ran", "42", "42", "42"]);
    let other = space.checkout("other");
    assert_eq!(other.build(&["use"]).outcomes()["snap"], "cached");
    assert_eq!(space.trail(), ["42"]);
}

#[test]
fn what_is_written_has_to_be_what_is_declared() {
    let rows = [
        ("echo id=1; echo id=2", 0, ""),
        ("true", 1, "it did not export `id`"),
        ("echo id=1; echo more=2", 1, "it exported `more`"),
        ("echo nonsense", 1, "line 1"),
        ("printf 'id=\\\\377\\\\n'", 1, "not UTF-8"),
    ];
    for (script, code, why) in rows {
        let space = Space::new(&format!(
            "[target.t]\ninputs = []\nexports = ['id']\nrun = \"({script}) > $IACT_EXPORTS\"\n"
        ));
        let run = space.try_build(&["t"]).expect_code(code);
        assert!(run.said().contains(why), "{script}: {run}");
        let again = space.try_build(&["t"]);
        assert_eq!(again.code, Some(code), "a failure is not remembered as a success: {again}");
    }
}

#[test]
fn mistakes_are_found_before_anything_runs() {
    for (text, why) in [
        (
            "deps = ['snap']\nrun = \"echo {{ exports('snap').idd }}\"",
            "`snap` does not export `idd`, did you mean `id`?",
        ),
        ("run = \"echo {{ exports('snap').id }}\"", "`snap` is not a dependency of this target"),
    ] {
        let space = Space::new(&format!("{SNAP}[target.use]\n{text}\n"));
        space.write("in", "1");
        let run = space.try_build(&["use"]).expect_code(2);
        assert!(run.err.contains(why), "{run}");
        assert_eq!(space.trail(), Vec::<String>::new());
    }
}

#[test]
fn a_dependency_that_failed_harmlessly_has_no_values() {
    let space = Space::new(
        "[target.snap]\nseverity = 'warn'\nexports = ['id']\nrun = 'exit 1'\n\
         [target.use]\ndeps = ['snap']\nrun = \"echo {{ exports('snap').id }} >> @LOG@\"\n",
    );
    let run = space.try_build(&["use"]).expect_code(1);
    assert!(run.said().contains("`snap` has exported no `id`"), "{run}");
}

#[test]
fn a_dependency_that_is_skipped_has_no_values_whatever_it_exported_before() {
    let space = Space::new(
        "[target.snap]\nwhen = { exists = 'flag' }\ninputs = ['in']\nexports = ['id']\nrun = 'echo id=$(cat in) > $IACT_EXPORTS'\n\
         [target.use]\ndeps = ['snap']\ninputs = []\noutputs = ['o']\nconfirm = 'Sure?'\nrun = \"echo {{ exports('snap').id }} > o\"\n",
    );
    space.write("in", "1");
    for built_before in [false, true, true] {
        if built_before {
            space.write("flag", "");
            space.build(&["use", "--yes"]);
            space.remove("flag");
        }
        for _ in 0..2 {
            let run = space.try_build(&["use", "--yes"]).expect_code(1);
            assert!(run.said().contains("`snap` has exported no `id`"), "{run}");
        }
    }
}

#[test]
fn instances_of_a_matrix_are_asked_by_name() {
    let space = Space::new(
        "[target.m]\nmatrix = { db = ['pg', 'my'] }\nexports = ['port']\nrun = 'echo port=port-of-{{ db }} > $IACT_EXPORTS'\n\
         [target.use]\ndeps = ['m[db=pg]', 'm[db=my]']\nrun = \"echo {{ exports('m[db=pg]').port }} {{ exports('m[db=my]').port }} >> @LOG@\"\n\
         [target.both]\ndeps = ['m']\nrun = \"echo {{ exports('m').port }}\"\n",
    );
    space.build(&["use"]);
    assert_eq!(space.trail(), ["port-of-pg port-of-my"]);
    let run = space.try_build(&["both"]).expect_code(1);
    assert!(run.said().contains("different values"), "{run}");
}

#[test]
fn an_exported_secret_is_refused() {
    let space = Space::new(
        "[target.t]\nexports = ['id']\nsecrets = ['TOKEN']\nrun = 'echo id=x$TOKEN > $IACT_EXPORTS'\n",
    );
    let run = space.iact(["build", "--json", "t"]).env("TOKEN", "canary-1").run().expect_code(1);
    assert!(run.said().contains("it exported a secret") && !run.out.contains("canary"), "{run}");
}
