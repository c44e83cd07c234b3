//! A file system whose files are written behind this kernel's back, as on a network or in a machine's host: a folder seen
//! through FUSE, whose stats may be an hour old. No stat tells of a rewrite there; only reading does.

use crate::coarse::{HEADER_EDITED, edit_the_header};
use crate::mounted::{Mounted, seen_through_fuse};
use crate::sizes::tries;
use crate::space::{Space, skipped};
use std::path::PathBuf;

/// A workspace seen through FUSE, and the folder behind it.
fn foreign(iactfile: &str) -> Option<(Space, Mounted, PathBuf)> {
    let space = Space::bare();
    let behind = space.base().join("behind");
    std::fs::create_dir_all(&behind).unwrap();
    let mounted = seen_through_fuse(&behind, &space.ws)?;
    space.iactfile(iactfile);
    Some((space, mounted, behind))
}

const NO_FUSE: &str = "no folder can be seen through FUSE here (bindfs)";

#[test]
fn a_rewrite_behind_a_foreign_file_system_is_noticed_and_its_cost_is_said_once() {
    let mut tries = tries("foreign", 20);
    let iactfile = "[target.t]\ninputs = ['in*']\noutputs = ['o']\nrun = 'cat in* > o'\n";
    let Some((space, _mounted, behind)) = foreign(iactfile) else { return skipped(NO_FUSE) };
    space.write("in", "0000\n");
    space.write("in2", "x\n");
    let first = space.build(&["t"]);
    assert!(first.warnings().len() == 1 && first.warnings()[0].contains("(FUSE)"), "{first}");
    while tries.done < tries.count {
        let content = format!("{:04}\n", tries.done + 1);
        std::fs::write(behind.join("in"), &content).unwrap();
        let run = space.build(&["t"]);
        assert_eq!(space.read("o"), format!("{content}x\n"), "{run}");
        assert!(run.warnings().is_empty(), "it was said: {run}");
        assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"]);
        tries.done += 1;
    }
    tries.held();
}

#[test]
fn an_input_rewritten_behind_a_foreign_file_system_while_the_command_ran_is_not_stored() {
    let mut tries = tries("foreign_edits", 8);
    let iactfile = "[target.t]\ninputs = ['in']\noutputs = ['o']\n\
                    run = 'cat in > o; stat in >/dev/null; if [ -e @BASE@/edit ]; then cat @BASE@/edit > @BASE@/behind/in; rm @BASE@/edit; fi'\n";
    let Some((space, _mounted, _behind)) = foreign(iactfile) else { return skipped(NO_FUSE) };
    while tries.done < tries.count {
        let (old, new) = (format!("{:04}a\n", tries.done), format!("{:04}b\n", tries.done));
        space.write("in", &old);
        std::fs::write(space.base().join("edit"), &new).unwrap();
        let run = space.build(&["t"]);
        assert!(run.warnings().iter().any(|warning| warning.contains("`in`")), "{run}");
        let run = space.build(&["t"]);
        assert_eq!(space.read("o"), new, "{run}");
        assert_eq!(run.kinds(), ["executed"], "{run}");
        tries.done += 1;
    }
    tries.held();
}

#[test]
fn a_header_rewritten_behind_a_foreign_file_system_while_the_command_ran_is_not_stored() {
    let iactfile = HEADER_EDITED.replace("@HEADER@", "@BASE@/behind/x.h");
    let Some((space, _mounted, _behind)) = foreign(&iactfile) else { return skipped(NO_FUSE) };
    edit_the_header(&space, tries("foreign_headers", 4));
}
