//! What a watch remembers from one build to the next, and when it must not.

use super::{Watching, expected, now, space};
use crate::space::{Space, until};
use std::fs;

#[test]
fn another_build_in_between_confuses_nothing() {
    let space = space();
    let watching = Watching::of(&space, &[]);
    for round in 0..4 {
        space.write("src/a.c", format!("{round}\n"));
        space.build(&[]);
        space.write("src/deep/er/b.c", format!("{round}\n"));
        until("it is built", || now(&space, "out/all") == expected(&space));
        space.build(&["--force"]);
    }
    watching.expect_fresh("others");
    watching.end();
}

#[test]
fn a_journal_that_the_first_round_writes_anew_is_read_again() {
    let space = Space::new(
        "[workspace]\ndefault = ['many', 'other']\n\
         [target.many]\ninputs = ['in/*']\noutputs = ['o']\nrun = 'cat in/* > o'\n\
         [target.other]\ninputs = ['x']\noutputs = ['p']\nrun = 'cp x p'\n",
    );
    (0..400).for_each(|number| drop(space.write(format!("in/{number}"), "1\n")));
    space.write("x", "1\n");
    let length = || fs::metadata(space.journal()).unwrap().len();
    space.build(&[]);
    // It is written anew when it has 256 KiB and most of that is outdated.
    let mut grown = 0;
    while length() + grown <= 256 * 1024 {
        let before = length();
        space.write("in/0", format!("{before}\n"));
        space.build(&[]);
        grown = length() - before;
    }
    let long = length();
    space.write("in/0", "last\n");
    let watching = Watching::of(&space, &[]);
    assert!(length() < long / 2, "it was not written anew: {} of {long} bytes", length());
    for text in ["2\n", "3\n"] {
        space.write("in/1", text);
        let built = || now(&space, "o").lines().filter(|line| *line == text.trim()).count() == 1;
        until("it is built", built);
        watching.expect_fresh("a new journal");
    }
    watching.end();
}
