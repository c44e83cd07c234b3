//! What links lead to is watched, whoever made them.

use super::{Watching, now, space};
use crate::space::{Space, until};
use std::fs;

#[test]
fn a_link_leads_to_what_it_leads_to() {
    let space = space();
    fs::write(space.base().join("far.txt"), "far\n").unwrap();
    std::os::unix::fs::symlink("../../far.txt", space.path("src/l.c")).unwrap();
    let watching = Watching::of(&space, &[]);
    fs::write(space.base().join("far.txt"), "further\n").unwrap();
    until("it is built", || now(&space, "out/all").contains("further"));
    watching.expect_fresh("link");
    watching.end();
}

#[test]
fn an_output_that_is_a_link_leads_to_what_it_leads_to() {
    let space = Space::new(
        "[workspace]\ndefault = [\"b\"]\n\
         [target.a]\ninputs = []\noutputs = ['o/l']\nrun = 'echo a >> @LOG@; ln -s ../seeds/seed o/l'\n\
         [target.b]\ndeps = ['a']\ninputs = []\noutputs = ['made']\nrun = 'echo b >> @LOG@; cat o/l > made'\n",
    );
    space.write("seeds/seed", "1\n");
    let watching = Watching::of(&space, &[]);
    assert_eq!(space.trail(), ["a", "b"]);
    for text in ["2\n", "3\n"] {
        space.write("seeds/seed", text);
        until("it is built", || now(&space, "made") == text);
        watching.settle();
        assert_eq!(space.trail(), ["b"]);
    }
    watching.expect_fresh("what a link leads to");
    let runs = watching.runs();
    for act in [|space: &Space| drop(space.write("seeds/seed", "3\n")), |space: &Space| space.remove("o/l")] {
        act(&space);
        watching.settle();
        assert_eq!(watching.runs(), runs, "{}", watching.started.out());
    }
    watching.end();
}
