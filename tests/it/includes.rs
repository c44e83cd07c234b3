//! Folders with an Iactfile of their own.

use crate::space::{Space, set_mode};

fn tree() -> Space {
    let space = Space::new(
        "[workspace]\ninclude = ['libs/*', 'app']\n[vars]\nv = 'root'\n[env]\nROOT = '1'\n[target.test]\nrun = 'echo root {{ v }} >> @LOG@'\n[target.all]\ndeps = ['libs/a:test', 'libs/b:test', 'app:test']\n",
    );
    for folder in ["libs/a", "libs/b"] {
        space.iactfile_in(folder, "[target.test]\ninputs = ['x']\noutputs = ['o/y']\nrun = 'echo $(basename $PWD) >> @LOG@; cp x o/y'\n");
        space.write(format!("{folder}/x"), folder);
    }
    space.iactfile_in(
        "app",
        "[target.test]\ndeps = ['libs/a:test', ':test', 'lint']\ninputs = ['x']\nrun = 'cat ../libs/a/o/y >> @LOG@; echo >> @LOG@'\n[target.lint]\nrun = 'echo lint $PWD >> @LOG@'\n",
    );
    space.write("app/x", "1");
    space
}

#[test]
fn names_are_looked_up_in_the_own_folder_first() {
    let space = tree();
    let run = space.build(&["all", "-j1"]);
    let names: Vec<String> = run.outcomes().into_keys().collect();
    assert_eq!(names, ["app:lint", "app:test", "libs/a:test", "libs/b:test", "test"]);
    let run = space.iact(["build", "--json", "test"]).dir("libs/b").run().expect_code(0);
    assert_eq!(run.with("up_to_date"), ["libs/b:test"], "{run}");
    let run = space.iact(["build", "--json", ":test"]).dir("libs/b/o").run().expect_code(0);
    assert_eq!(run.with("executed"), ["test"], "{run}");
    let run = space.iact(["build", "--json", "all"]).dir("app").run().expect_code(0);
    assert_eq!(run.outcomes().len(), 5, "the root's, where the nearer has none: {run}");
    assert!(!space.has("app/.iact") && !space.has("libs/a/.iact"), "one memory for all");
}

#[test]
fn another_folder_and_another_file_can_be_meant() {
    let space = tree();
    let run = space.iact(["build", "--json", "-C", "libs/a", "test"]).run().expect_code(0);
    assert_eq!(run.with("executed"), ["libs/a:test"], "{run}");
    space.write("other.toml", "[target.only]\nrun = 'true'\n");
    let run = space.iact(["build", "--json", "-f", "other.toml", "only"]).run().expect_code(0);
    assert_eq!(run.with("executed"), ["only"], "{run}");
}

#[test]
fn a_mistake_in_a_folder_is_told_with_its_file() {
    let space = tree();
    space.iactfile_in("libs/b", "[target.test]\ndeps = ['tset']\nrun = 'x'\n");
    let run = space.iact(["build", "all"]).run().expect_code(2);
    assert!(run.err.contains("libs/b/Iactfile.toml:2:9") && run.err.contains("`tset`"), "{run}");
}

#[test]
fn an_iactfile_further_up_that_does_not_include_this_one_is_not_meant() {
    let space = tree();
    space.iactfile_in("alone", "[target.mine]\nrun = 'echo mine >> @LOG@'\n");
    let run = space.iact(["build", "--json", "mine"]).dir("alone").run().expect_code(0);
    assert_eq!(run.with("executed"), ["mine"], "{run}");
    assert!(space.has("alone/.iact"));
    space.iact(["build", "--json", "all"]).dir("alone").run().expect_code(2);
}

#[test]
fn a_folder_below_an_included_one_is_not_included() {
    for include in ["app", "./app", "app/", "a*", "[a]pp"] {
        let space =
            Space::new(&format!("[workspace]\ninclude = ['{include}']\n[target.outer]\nrun = 'true'\n"));
        for folder in ["app", "app/tool"] {
            space.iactfile_in(folder, "[target.mine]\nrun = 'true'\n");
        }
        let meant = |folder: &str| {
            let run = space.iact(["build", "--json", "mine"]).dir(folder).run().expect_code(0);
            (run.with("executed"), space.has(format!("{folder}/.iact")))
        };
        assert_eq!(meant("app"), (vec!["app:mine".to_owned()], false), "{include}");
        assert_eq!(meant("app/tool"), (vec!["mine".to_owned()], true), "{include}");
    }
}

#[test]
fn an_include_of_an_included_file_leads_no_further_up() {
    let space = Space::new("[workspace]\ninclude = ['app']\n[target.outer]\nrun = 'true'\n");
    space.iactfile_in("app", "[workspace]\ninclude = ['tool']\n[target.mine]\nrun = 'true'\n");
    space.iactfile_in("app/tool", "[target.mine]\nrun = 'true'\n");
    let run = space.iact(["build", "--json", "mine"]).dir("app/tool").run().expect_code(0);
    assert_eq!(run.with("executed"), ["tool:mine"], "{run}");
    assert!(space.has("app/.iact"), "the one that includes it");
}

#[test]
fn the_search_stops_at_a_repository() {
    let space = tree();
    std::fs::create_dir_all(space.path("vendor/.git")).unwrap();
    let run = space.iact(["build", "test"]).dir("vendor").run().expect_code(2);
    assert!(run.err.contains("Iactfile.toml"), "{run}");
}

#[test]
fn a_file_further_up_that_may_not_be_used_or_has_a_mistake_is_told_and_makes_no_workspace_of_a_folder() {
    let space = Space::new("");
    let root = "[workspace]\ninclude = ['api']\n[env]\nMODE = 'release'\n";
    space.iactfile_in("api", "[target.t]\ninputs = []\noutputs = ['o']\nrun = 'echo ${MODE:-debug} > o'\n");
    let rows = [
        ("[brok", 0o644, 2, "Iactfile.toml:5"),
        ("[workspaces]\n", 0o644, 2, "`workspaces`"),
        ("", 0o666, 4, "can be written by everybody"),
    ];
    let newer = format!("iact = '>=99'\n{root}");
    let rows = rows.map(|(more, mode, code, said)| (format!("{root}{more}"), mode, code, said));
    for (text, mode, code, said) in rows.into_iter().chain([(newer, 0o644, 2, ">=99")]) {
        space.iactfile(&text);
        set_mode(&space.path("Iactfile.toml"), mode);
        for verb in [&["build", "t"][..], &["check"], &["list"], &["status"]] {
            let run = space.iact(verb).dir("api").run().expect_code(code);
            assert!(run.err.contains(said) && run.err.contains("hint: "), "{verb:?}: {run}");
        }
        assert!(!space.has("api/.iact") && !space.has("api/o"), "{text}");
        set_mode(&space.path("Iactfile.toml"), 0o644);
    }
    let named = space.iact(["build", "--json", "-f", "Iactfile.toml", "t"]).dir("api").run().expect_code(0);
    assert_eq!(named.with("executed"), ["t"], "the one that is named: {named}");
    space.iactfile(root);
    let run = space.iact(["build", "--json", "t"]).dir("api").run().expect_code(0);
    assert_eq!((run.with("executed"), space.read("api/o")), (vec!["api:t".into()], "release\n".into()));
}
