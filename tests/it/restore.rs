//! What of a result may come from where: other checkouts, switches, postconditions and proofs.

use crate::space::{Space, remove};

const T: &str = "[target.t]\ninputs = ['in']\noutputs = ['o']\nrun = 'echo t >> @LOG@; cp in o'\n";

#[test]
fn switches_decide_what_is_read_and_written() {
    let space = Space::new(T);
    space.write("in", "1");
    space.build(&["t", "--no-cache"]);
    assert!(space.cache_files().is_empty(), "nothing is written");
    space.remove("o");
    assert_eq!(space.outcome("t"), "executed", "there was nothing to read");
    space.remove("o");
    assert_eq!(space.build(&["t", "--no-cache"]).kinds(), ["executed"], "nothing is read");
    space.remove("o");
    assert_eq!(space.outcome("t"), "cached");
    let run = space.build(&["t", "--force"]);
    assert_eq!((run.kinds(), run.reason("t")), (vec!["executed".into()], "forced".into()));
    let run = space.build(&["t", "--force=t"]);
    assert_eq!(run.kinds(), ["executed"], "{run}");
}

#[test]
fn a_target_without_cache_is_incremental_here_and_nowhere_else() {
    let space = Space::new(&T.replace("inputs", "cache = false\ninputs"));
    space.write("in", "1");
    assert_eq!(space.outcome("t"), "executed");
    assert_eq!(space.outcome("t"), "up_to_date");
    space.write("in", "2");
    space.outcome("t");
    space.write("in", "1");
    assert_eq!(space.outcome("t"), "executed", "no way back");
    let other = space.checkout("other");
    other.remove("o");
    assert_eq!(other.outcome("t"), "executed");
}

#[test]
fn a_restored_entry_needs_its_postcondition_and_no_second_proof() {
    let space = Space::new(&format!(
        "{T}check = 'test -e @BASE@/present'\nverify = 'echo proof >> @LOG@; grep -q good {{{{ out }}}}'\n"
    ));
    let present = space.base().join("present");
    std::fs::write(&present, "").unwrap();
    space.write("in", "good");
    space.build(&["t"]);
    assert_eq!(space.trail(), ["t", "proof"]);
    space.remove("o");
    assert_eq!(
        (space.outcome("t"), space.trail().len()),
        ("cached".into(), 0),
        "proven once, before it was stored"
    );
    remove(&present);
    let run = space.try_build(&["t"]).expect_code(1);
    assert_eq!(run.reason("t"), "check_failed", "{run}");
    space.trail();
    std::fs::write(&present, "").unwrap();
    space.write("in", "rotten");
    for _ in 0..2 {
        space.try_build(&["t"]).expect_code(1);
        assert_eq!(space.trail(), ["t", "proof"], "what is not proven is not stored");
    }
}

#[test]
fn what_a_command_said_comes_back_with_its_result() {
    let space =
        Space::new("[target.t]\ninputs = ['in']\nrun = 'echo $((6*7)) words; echo $((6*8)) loud >&2'\n");
    space.write("in", "1");
    space.build(&["t"]);
    let said = |space: &Space| {
        let run = space.iact(["log", "t"]).run().expect_code(0);
        run.out + &run.err
    };
    let first = said(&space);
    assert!(first.contains("42 words") && first.contains("48 loud"), "{first}");
    space.remove(".iact");
    assert_eq!(space.outcome("t"), "cached");
    let again = said(&space);
    assert!(again.contains("42 words") && again.contains("48 loud"), "{again}");
}

#[test]
fn dependents_do_not_care_how_an_output_came_to_be() {
    let space = Space::new(
        "[target.a]\ninputs = ['in']\noutputs = ['a']\nrun = 'echo a >> @LOG@; grep -v ^# in > a'\n[target.b]\ndeps = ['a']\ninputs = []\noutputs = ['b']\nrun = 'echo b >> @LOG@; cp a b'\n",
    );
    space.write("in", "1\n");
    let prints = |run: &crate::space::Run| [run.fingerprint("a"), run.fingerprint("b")];
    let first = prints(&space.build(&["b"]));
    let again = prints(&space.build(&["b"]));
    space.remove("a");
    let one_restored = prints(&space.build(&["b"]));
    space.remove(".iact");
    let all_restored = prints(&space.build(&["b"]));
    let forced = prints(&space.build(&["b", "--force"]));
    for (what, other) in [("again", again), ("one", one_restored), ("all", all_restored), ("forced", forced)]
    {
        assert_eq!(first, other, "{what}");
    }
    space.trail();
    space.write("in", "# other\n1\n");
    let run = space.build(&["b"]);
    assert_eq!((space.trail(), run.outcomes()["b"].as_str()), (vec!["a".into()], "up_to_date"), "{run}");
}
