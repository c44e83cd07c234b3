//! What several actions of one run see of one file: each its own content, and nobody is told to be up to date for another's.

use crate::space::Space;
use std::os::unix::fs::symlink;
use std::time::Duration;

/// Longer than times are young.
fn rest() {
    std::thread::sleep(Duration::from_millis(2300));
}

#[test]
fn a_header_that_was_another_for_the_action_before_is_settled_for_none() {
    let space = Space::new(
        "[target.a]\ninputs = ['h.h']\noutputs = ['ao']\nrun = 'cat h.h > ao'\n\
         [target.edit]\ninputs = ['edit.c']\nrun = 'if test -e later; then mv later h.h; sleep 0.1; fi'\n\
         [target.b]\ndeps = ['edit']\ninputs = ['b.c']\noutputs = ['bo']\ndepfile = 'b.d'\n\
         run = \"echo 'bo: b.c h.h' > b.d; grep -q v2 h.h; cat h.h > bo\"\n",
    );
    let goals = ["a", "edit", "b"];
    space.write("h.h", "v1\n");
    space.write("edit.c", "1\n");
    space.write("b.c", "b\n");
    rest();
    assert_eq!(space.try_build(&goals).code, Some(1), "`b` fails, so nothing is known of it");
    rest();
    space.write("edit.c", "2\n");
    space.write("later", "v2\n");
    rest();
    space.build(&goals);
    for _ in 0..2 {
        let run = space.build(&goals);
        assert_eq!([space.read("ao"), space.read("bo")], ["v2\n", "v2\n"], "{run}");
        rest();
    }
}

#[test]
fn what_a_link_leads_to_is_read_after_it_was_made() {
    for (kept, inputs) in [("inputs = ['inc/*.h']", "inc/x.h"), ("inputs = ['inc/x.h']", "inc/x.h")] {
        let text = format!(
            "[target.c]\ninputs = ['c.src']\noutputs = ['gen/x.h']\nrun = 'cp c.src gen/x.h'\n\
             [target.t]\ndeps = ['c']\ninputs = []\nrun = 'true'\n\
             [target.a]\ndeps = ['t']\n{kept}\noutputs = ['ao']\nrun = 'cat {inputs} > ao'\n"
        );
        let one = Space::new(&text);
        for (space, content) in [(&one, "one\n"), (&one.checkout("two"), "two\n")] {
            std::fs::create_dir_all(space.path("inc")).unwrap();
            symlink("../gen/x.h", space.path("inc/x.h")).unwrap();
            space.iactfile(&text);
            space.write("c.src", content);
            let run = space.build(&["a"]);
            assert_eq!(space.read("ao"), content, "{run}");
            space.write("c.src", "edited\n");
            let run = space.build(&["a"]);
            assert_eq!(space.read("ao"), "edited\n", "{run}");
        }
    }
}

#[test]
fn a_link_to_nothing_is_an_input_that_may_lead_to_something() {
    let space = Space::new(
        "[target.a]\ninputs = ['lnk']\noutputs = ['ao']\nrun = 'cat lnk > ao || echo none > ao'\n",
    );
    symlink("sub/later", space.path("lnk")).unwrap();
    std::fs::create_dir(space.path("sub")).unwrap();
    rest();
    for _ in 0..2 {
        space.build(&["a"]);
        rest();
    }
    space.write("sub/later", "now\n");
    let run = space.build(&["a"]);
    assert_eq!(space.read("ao"), "now\n", "{run}");
}

#[test]
fn what_a_link_to_nothing_leads_to_while_the_command_runs_is_not_stored() {
    let space = Space::new(
        "[target.a]\ninputs = ['lnk']\noutputs = ['ao']\nrun = 'if test -e new; then mv new later; fi; cat lnk > ao || echo none > ao'\n",
    );
    symlink("later", space.path("lnk")).unwrap();
    space.write("new", "now\n");
    space.build(&["a"]);
    space.remove("later");
    space.remove("ao");
    let run = space.build(&["a"]);
    assert_eq!(space.read("ao"), "none\n", "{run}");
}

#[test]
fn what_a_dependency_makes_no_more_is_not_there_for_anybody() {
    let space = Space::new(
        "[target.c]\ninputs = ['c.src']\noutputs = ['gen/']\nrun = 'mkdir -p gen; echo 1 > gen/$(cat c.src)'\n\
         [target.b]\ndeps = ['c']\ninputs = []\nrun = 'true'\n\
         [target.a]\ndeps = ['b']\ninputs = []\noutputs = ['ao']\ndepfile = 'ao.d'\n\
         run = \"cat gen/* > ao; echo ao: gen/* > ao.d\"\n",
    );
    space.write("c.src", "x.h");
    std::thread::sleep(Duration::from_millis(25));
    space.build(&["a"]);
    space.write("c.src", "y.h");
    let run = space.build(&["a"]);
    assert_eq!(run.outcomes()["a"], "executed", "{run}");
}

#[test]
fn what_stands_beside_the_only_target_is_looked_at_each_time() {
    let space = Space::new(
        "[target.c]\ninputs = ['c.src']\noutputs = ['x.h']\nrun = 'cp c.src x.h'\n\
         [target.a]\ndeps = ['c']\ninputs = ['a.c']\noutputs = ['ao']\nrun = 'cat x.h > ao'\n",
    );
    space.write("c.src", "1\n");
    space.write("a.c", "a\n");
    rest();
    space.build(&["a"]);
    rest();
    space.build(&["--only", "a"]);
    space.write("x.h", "edited\n");
    let run = space.build(&["--only", "a"]);
    assert_eq!(space.read("ao"), "edited\n", "{run}");
}
