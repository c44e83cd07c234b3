//! Times of whole seconds (`mkfs.ext2 -I 128`): the one place where a file can be rewritten without any trace in its stat.

use crate::dice::Dice;
use crate::mounted::COARSE;
use crate::sizes::tries;
use crate::space::{Space, is_root, skipped};

#[test]
fn a_rewrite_within_one_tick_is_noticed() {
    if !is_root() {
        return skipped("only the superuser mounts file systems");
    }
    let mut tries = tries("coarse", 60);
    let mut dice = Dice::new(tries.seed);
    let space = Space::bare();
    let image = space.base().join("image");
    let mounted = COARSE.image(&image).and_then(|()| COARSE.mount(&image, &space.ws));
    if mounted.is_none() {
        return skipped("no ext2 with small inodes can be made and mounted here");
    }
    space.iactfile("[target.t]\ninputs = ['in*']\noutputs = ['o']\nrun = 'cat in* > o'\n");
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
fn an_input_edited_within_the_tick_in_which_the_command_read_it_is_not_stored() {
    if !is_root() {
        return skipped("only the superuser mounts file systems");
    }
    let mut tries = tries("coarse_edits", 8);
    let space = Space::bare();
    let image = space.base().join("image");
    let mounted = COARSE.image(&image).and_then(|()| COARSE.mount(&image, &space.ws));
    if mounted.is_none() {
        return skipped("no ext2 with small inodes can be made and mounted here");
    }
    space.iactfile(
        "[target.t]\ninputs = ['in']\noutputs = ['o']\n\
         run = 'if [ -e @BASE@/edit ]; then cat @BASE@/edit > in; rm @BASE@/edit; fi; cat in > o'\n",
    );
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
