//! Times of whole seconds (`mkfs.ext2 -I 128`): the one place where a file can be rewritten without any trace in its stat.

use crate::dice::Dice;
use crate::mounted::{COARSE, Mounted};
use crate::sizes::{Tries, tries};
use crate::space::{Space, is_root, skipped};

/// A workspace on such a file system; says why there can be none.
fn coarse(iactfile: &str) -> Option<(Space, Mounted)> {
    if !is_root() {
        skipped("only the superuser mounts file systems");
        return None;
    }
    let space = Space::bare();
    let image = space.base().join("image");
    let Some(mounted) = COARSE.image(&image).and_then(|()| COARSE.mount(&image, &space.ws)) else {
        skipped("no ext2 with small inodes can be made and mounted here");
        return None;
    };
    space.iactfile(iactfile);
    Some((space, mounted))
}

/// Edits its header, where it is told to, after it has read it.
pub(crate) const HEADER_EDITED: &str = "[target.t]\ninputs = []\noutputs = ['o']\ndepfile = 'd'\n\
    run = 'cat x.h > o; stat x.h >/dev/null; if [ -e @BASE@/edit ]; then cat @BASE@/edit > @HEADER@; rm @BASE@/edit; fi; echo o: x.h > d'\n";

#[test]
fn a_rewrite_within_one_tick_is_noticed() {
    let iactfile = "[target.t]\ninputs = ['in*']\noutputs = ['o']\nrun = 'cat in* > o'\n";
    let Some((space, _mounted)) = coarse(iactfile) else { return };
    let mut tries = tries("coarse", 60);
    let mut dice = Dice::new(tries.seed);
    space.write("in", "0000\n");
    space.write("in2", "x\n");
    space.build(&["t"]);
    while tries.done < tries.count {
        let content = format!("{:04}\n", dice.below(10_000));
        space.write("in", &content);
        if dice.one_in(8) {
            // Somebody spoils the output in the same second, without changing its size.
            space.build(&["t"]);
            space.write("o", "....\nx\n");
        }
        let run = space.build(&["t"]);
        assert_eq!(space.read("o"), format!("{content}x\n"), "seed {}, {}: {run}", tries.seed, tries.done);
        tries.done += 1;
    }
    tries.held();
}

#[test]
fn a_header_edited_within_the_tick_in_which_the_command_read_it_is_not_stored() {
    let Some((space, _mounted)) = coarse(&HEADER_EDITED.replace("@HEADER@", "x.h")) else { return };
    edit_the_header(&space, tries("coarse_headers", 4));
}

/// Each time it is new to the action, and older than a tick of a second.
pub(crate) fn edit_the_header(space: &Space, mut tries: Tries) {
    while tries.done < tries.count {
        let (old, new) = (format!("{:04}a\n", tries.done), format!("{:04}b\n", tries.done));
        space.write("x.h", &old);
        std::fs::write(space.base().join("edit"), &new).unwrap();
        space.remove(".iact");
        crate::space::remove(&space.cache);
        std::thread::sleep(std::time::Duration::from_millis(1100));
        space.build(&["t"]);
        let run = space.build(&["t"]);
        assert_eq!((space.read("o"), run.outcomes()["t"].as_str()), (new, "executed"), "{run}");
        tries.done += 1;
    }
    tries.held();
}

#[test]
fn an_input_edited_within_the_tick_in_which_the_command_read_it_is_not_stored() {
    let iactfile = "[target.t]\ninputs = ['in']\noutputs = ['o']\n\
                    run = 'if [ -e @BASE@/edit ]; then cat @BASE@/edit > in; rm @BASE@/edit; fi; cat in > o'\n";
    let Some((space, _mounted)) = coarse(iactfile) else { return };
    let mut tries = tries("coarse_edits", 8);
    while tries.done < tries.count {
        let (old, new) = (format!("{:04}a\n", tries.done), format!("{:04}b\n", tries.done));
        space.write("in", &old);
        std::fs::write(space.base().join("edit"), &new).unwrap();
        space.build(&["t"]);
        let run = space.build(&["t"]);
        assert_eq!(space.read("o"), new, "{run}");
        // What was made of the old content was not stored under the new one, nor the other way round.
        space.write("in", &old);
        space.remove("o");
        let run = space.build(&["t"]);
        assert_eq!(space.read("o"), old, "{run}");
        tries.done += 1;
    }
    tries.held();
}
