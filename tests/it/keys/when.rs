//! `when`: otherwise skipped, and said so.

use crate::space::Space;

#[test]
fn what_does_not_apply_is_skipped_with_the_reason_and_its_dependents_go_on() {
    let arch = std::env::consts::ARCH;
    let rows: [(&str, Option<&str>); 14] = [
        ("os = 'linux'", None),
        ("os = ['plan9', 'linux']", None),
        ("os = 'plan9'", Some("the system is `linux`, not `plan9`")),
        ("os = ['plan9', 'cpm']", Some("not `plan9` or `cpm`")),
        (&format!("arch = '{arch}'"), None),
        ("arch = 'z80'", Some("not `z80`")),
        ("exists = 'there'", None),
        ("exists = '/'", None),
        ("exists = ['there', 'no/such']", Some("`no/such` does not exist")),
        ("env = 'GIVEN'", None),
        ("env = 'EMPTY'", None),
        ("env = ['GIVEN', 'MISSING']", Some("`MISSING` is not set")),
        ("os = 'linux', env = 'MISSING'", Some("`MISSING` is not set")),
        ("exists = '{{ name }}'", None),
    ];
    for (when, why) in rows {
        let space = Space::new(&format!(
            "[vars]\nname = 'there'\n[target.t]\nwhen = {{ {when} }}\nrun = 'echo t >> @LOG@'\n\
             [target.d]\ndeps = ['t']\nrun = 'echo d >> @LOG@'\n"
        ));
        space.write("there", "");
        let build = || space.iact(["build", "--json", "d"]).env("GIVEN", "1").env("EMPTY", "");
        let run = build().run().expect_code(0);
        match why {
            None => assert_eq!(space.trail(), ["t", "d"], "{when}: {run}"),
            Some(why) => {
                assert_eq!(run.outcomes()["t"], "skipped", "{when}: {run}");
                let said = run.finished("t")["message"].as_str().unwrap().to_owned();
                assert!(said.contains(why), "{when}: {said}");
                assert_eq!(space.trail(), ["d"], "{when}: {run}");
                assert_eq!(run.events.last().unwrap()["skipped"], 1);
            }
        }
    }
}

#[test]
fn what_is_skipped_needs_nothing() {
    let space = Space::new(
        "[target.t]\nwhen = { exists = 'no' }\ntools = ['no-such-tool-xyz']\ninputs = ['no/such/file']\n\
         secrets = ['NO_SUCH']\nrequires = [{ env = 'NO_SUCH' }]\nrun = 'false'\n",
    );
    let run = space.build(&["t"]);
    assert_eq!(run.outcomes()["t"], "skipped");
    let run = space.iact(["build", "--json", "-n", "t"]).run().expect_code(0);
    assert!(
        run.events.iter().any(|event| event["event"] == "planned" && event["decision"] == "skip"),
        "{run}"
    );
    space.iact(["status", "t"]).run().expect_code(0);
}

#[test]
fn a_condition_is_not_part_of_the_fingerprint() {
    let iactfile = |when: &str| format!("[target.t]\ninputs = []\n{when}\nrun = 'echo t >> @LOG@'\n");
    let space = Space::new(&iactfile(""));
    space.build(&["t"]);
    space.iactfile(&iactfile("when = { os = 'linux' }"));
    assert_eq!(space.outcome("t"), "up_to_date");
}

#[test]
fn a_group_has_no_conditions() {
    let space = Space::new("[target.t]\nrun = 'true'\n[target.g]\ndeps = ['t']\nwhen = { os = 'linux' }\n");
    let run = space.try_build(&["g"]).expect_code(2);
    assert!(run.err.contains("when"), "{run}");
}
