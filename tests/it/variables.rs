//! Variables: which value wins, how it is quoted, and what it is part of.

use crate::space::Space;

#[test]
fn the_strongest_value_wins() {
    let space = Space::new(
        r#"
        [vars]
        v = "file"
        w = "file"
        [target.plain]
        run = "echo plain {{ v }} {{ w }} >> @LOG@"
        [target.own]
        vars = { v = "own" }
        run = "echo own {{ v }} {{ w }} >> @LOG@"
        [target.edge]
        deps = [{ target = "own", vars = { v = "edge" } }]
        run = "echo edge {{ v }} >> @LOG@"
        "#,
    );
    space.build(&["plain", "own", "-j1"]);
    assert_eq!(space.trail_sorted(), ["own own file", "plain file file"]);
    space.build(&["edge", "-j1"]);
    assert_eq!(space.trail(), ["own edge file", "edge file"]);
    space.build(&["edge", "v=line", "-j1"]);
    assert_eq!(space.trail(), ["own line file", "edge line"]);
}

#[test]
fn an_edge_that_gives_what_is_so_anyway_makes_no_instance() {
    let space = Space::new(
        r#"
        [vars]
        v = "1"
        [target.made]
        inputs = []
        outputs = ["made"]
        run = "echo {{ v }} | tee made >> @LOG@"
        [target.user]
        deps = [{ target = "made", vars = { v = "{{ v }}" } }]
        inputs = []
        run = "cat {{ out_of('made') }} >> @LOG@"
        [target.both]
        matrix = { v = ["1", "2"] }
        deps = [{ target = "user", vars = { v = "{{ v }}" } }]
        "#,
    );
    let run = space.try_build(&["both"]).expect_code(2);
    assert!(run.err.contains("`made` and `made[v=2]` both make `made`"), "{run}");
    space.write(
        "Iactfile.toml",
        space
            .read("Iactfile.toml")
            .replace("[\"made\"]", "[\"made{{ v }}\"]")
            .replace("tee made", "tee made{{ v }}"),
    );
    space.build(&["both", "made", "-j1"]);
    assert_eq!(space.trail_sorted(), ["1", "1", "2", "2"]);
}

#[test]
fn an_instance_is_what_its_variables_are_however_an_edge_writes_them() {
    let space = Space::new(
        r#"
        [vars]
        base = "0"
        [target.x]
        vars = { a = "1", b = "{{ base }}{{ a is defined }}", c = "-" }
        run = "echo {{ base }} {{ a }} {{ b }} {{ c }} >> @LOG@"
        [target.default]
        deps = [{ target = "x", vars = { b = "0false" } }, { target = "x", vars = { c = "-" } }, "x"]
        [target.order]
        deps = [{ target = "x", vars = { b = "2", a = "3" } }, { target = "x", vars = { a = "3", b = "2" } }]
        [target.given]
        deps = [{ target = "x", vars = { a = "4", b = "0true" } }, { target = "x", vars = { a = "4" } }]
        [target.base]
        deps = [{ target = "x", vars = { base = "5", b = "5false" } }, { target = "x", vars = { base = "5" } }]
        [target.comma]
        deps = [{ target = "x", vars = { c = "-Wl,a" } }, { target = "x", vars = { c = "-Wl,b" } }]
        "#,
    );
    for (goal, ran) in [
        ("default", &["0 1 0false -"][..]),
        ("order", &["0 3 2 -"]),
        ("given", &["0 4 0true -"]),
        ("base", &["5 1 5false -"]),
        ("comma", &["0 1 0false -Wl,a", "0 1 0false -Wl,b"]),
    ] {
        let run = space.build(&[goal]);
        assert_eq!(space.trail_sorted(), ran, "{goal}: {run}");
    }
}

#[test]
fn an_instance_that_only_an_edge_makes_is_meant_by_its_name() {
    let space = Space::new(
        r#"
        [target.d]
        vars = { env = "dev", more = "" }
        confirm = "sure?"
        inputs = []
        outputs = ["o-{{ env }}"]
        retain = { last = 1 }
        run = "echo {{ env }} | tee {{ out }} >> @LOG@; echo said"
        [target.all]
        deps = [{ target = "d", vars = { env = "prod" } }, { target = "d", vars = { env = "x", more = "a,b" } }]
        "#,
    );
    let name = "d[env=prod]";
    space.build(&["all", "--approve", name, "--approve", "d[env=x,more=a,b]"]);
    assert_eq!(space.trail_sorted(), ["prod", "x"]);
    for (args, says) in [
        (&["log", name][..], "said"),
        (&["why", name], name),
        (&["show", name], "o-prod"),
        (&["status", name], ""),
        (&["artifact", "list", name], name),
        (&["cache", "forget", name], ""),
        (&["clean", name], "o-prod"),
        (&["build", "--yes", name], ""),
        (&["build", "--yes", ":d[env=x,more=a,b]"], ""),
    ] {
        let run = space.iact(args).run().expect_code(0);
        assert!(run.out.contains(says) || run.err.contains(says), "{args:?}: {run}");
    }
    assert_eq!(
        space.trail(),
        ["prod"],
        "forgotten and cleaned, it was made again; the other was not touched"
    );
    let run = space.try_build(&["d[env=nobody]"]).expect_code(2);
    assert!(run.err.contains("selects no instance"), "{run}");
}

#[test]
fn every_value_reaches_the_shell_as_it_is() {
    let space = Space::new(
        "[target.t]\nvars = { v = 'x' }\ninputs = []\noutputs = ['o']\nrun = 'printf %s {{ v }} > o; printf %s \"{{ v }}\" > @BASE@/inside'\n",
    );
    for value in [
        "",
        " ",
        "'",
        "\"",
        "a b",
        "$HOME",
        "$(touch pwned)",
        "`touch pwned`",
        "\\",
        "*",
        "-n",
        "é\u{1F600}",
        "a\nb",
        "!x",
        "~",
        "%s",
        "&& touch pwned",
        "{{ v }}",
    ] {
        space.build(&["t", &format!("v={value}")]);
        assert_eq!(space.read("o"), value, "{value:?}");
        let inside = std::fs::read_to_string(space.base().join("inside")).unwrap();
        assert_eq!(inside, value, "{value:?} between double quotes");
        assert!(!space.has("pwned"), "{value:?}");
    }
}

#[test]
fn raw_is_spelled_and_arguments_are_passed() {
    let space = Space::new(
        "[target.t]\nvars = { v = 'x' }\nrun = 'echo {{ v | raw }} >> @LOG@'\n[target.u]\nrun = 'for a in {{ args }}; do echo \"<$a>\" >> @LOG@; done'\n",
    );
    space.build(&["t", "v=1; echo 2"]);
    assert_eq!(space.trail(), ["2"], "two commands");
    space.build(&["u", "--", "a b", "$x", "--json"]);
    assert_eq!(space.trail(), ["<a b>", "<$x>", "<--json>"]);
}

#[test]
fn variables_name_outputs_and_dependents_find_them() {
    let space = Space::new(
        r#"
        [vars]
        n = "1"
        [target.make]
        inputs = []
        outputs = ["dist/x-{{ n }}-{{ os }}.txt"]
        run = "echo {{ n }} > {{ out }}"
        [target.use]
        deps = ["make"]
        inputs = []
        outputs = ["used"]
        run = "cat {{ out_of('make') }} > {{ out }}"
        "#,
    );
    space.build(&["use"]);
    assert_eq!((space.read("used"), space.read("dist/x-1-linux.txt")), ("1\n".into(), "1\n".into()));
    space.build(&["use", "n=2"]);
    assert_eq!(space.read("used"), "2\n");
    assert_eq!(space.build(&["use"]).kinds(), ["cached"]);
    assert_eq!(space.read("used"), "1\n");
}

#[test]
fn the_place_of_the_workspace_is_no_part_of_the_fingerprint_unless_asked_for() {
    let space = Space::new(
        "[target.t]\ninputs = []\nrun = 'test -d {{ workspace }} && echo t >> @LOG@'\n[target.fixed]\ninputs = []\nrelocatable = false\nrun = 'echo fixed >> @LOG@'\n",
    );
    space.build(&["t", "fixed"]);
    let other = space.checkout("other");
    let run = other.build(&["t", "fixed"]);
    assert_eq!((run.with("cached"), run.with("executed")), (vec!["t".into()], vec!["fixed".into()]), "{run}");
}
