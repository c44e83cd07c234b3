//! Inputs that only the compiler knows, with a real compiler.

use crate::space::{Space, has_program, skipped};

const IACTFILE: &str = r#"
[target.obj]
inputs = ["main.c"]
outputs = ["main.o"]
depfile = "main.d"
run = "echo obj >> @LOG@; gcc -MMD -MF main.d -c main.c -o main.o"
[target.prog]
deps = ["obj"]
inputs = []
outputs = ["prog"]
run = "echo prog >> @LOG@; gcc main.o -o prog"
"#;

fn project() -> Option<Space> {
    if !has_program("gcc") {
        skipped("no gcc");
        return None;
    }
    let space = Space::new(IACTFILE);
    space.write("main.c", "#include \"a.h\"\nint main(void) { return A; }\n");
    space.write("a.h", "#include \"inc/b.h\"\n#define A (B + 1)\n");
    space.write("inc/b.h", "#define B 1\n");
    Some(space)
}

/// A header that was written in the very tick of the file system's clock in which the command starts counts as moved: it may have
/// been read before. So a tick is let pass.
fn build(space: &Space) -> crate::space::Run {
    std::thread::sleep(std::time::Duration::from_millis(25));
    space.build(&["prog"])
}

fn answer(space: &Space) -> i32 {
    std::process::Command::new(space.path("prog")).status().unwrap().code().unwrap()
}

#[test]
fn a_header_is_an_input_once_it_was_included() {
    let Some(space) = project() else { return };
    build(&space);
    assert_eq!((space.trail(), answer(&space)), (vec!["obj".into(), "prog".into()], 2));
    assert_eq!(build(&space).kinds(), ["up_to_date"]);
    space.write("inc/b.h", "#define B 5\n");
    let run = build(&space);
    assert_eq!((run.reason("obj").as_str(), answer(&space)), ("input_changed inc/b.h", 6), "{run}");
    // A header the sources begin to include.
    space.write("c.h", "#define C 10\n");
    space.write("main.c", "#include \"a.h\"\n#include \"c.h\"\nint main(void) { return A + C; }\n");
    build(&space);
    space.write("c.h", "#define C 20\n");
    let run = build(&space);
    assert_eq!((run.reason("obj").as_str(), answer(&space)), ("input_changed c.h", 26), "{run}");
    // One they stop to include.
    space.write("main.c", "#include \"c.h\"\nint main(void) { return C; }\n");
    build(&space);
    space.trail();
    space.write("inc/b.h", "#define B 7\n");
    assert_eq!((build(&space).kinds(), space.trail().len()), (vec!["up_to_date".into()], 0));
    space.remove("inc");
    space.remove("a.h");
    assert_eq!(build(&space).kinds(), ["up_to_date"], "nobody asks for it any more");
}

#[test]
fn going_back_to_earlier_headers_is_a_hit() {
    let Some(space) = project() else { return };
    for (b, expected) in [("1", 2), ("5", 6), ("1", 2), ("5", 6)] {
        space.write("inc/b.h", format!("#define B {b}\n"));
        let run = build(&space);
        assert_eq!(answer(&space), expected, "{run}");
    }
    assert!(space.trail().len() <= 6, "at worst the compiler runs again, the linker does not need to");
}

#[test]
fn another_checkout_with_another_header_gets_no_wrong_hit() {
    let Some(space) = project() else { return };
    build(&space);
    let (same, other) = (space.checkout("same"), space.checkout("other"));
    for checkout in [&same, &other] {
        ["main.o", "prog", "main.d"].iter().for_each(|made| checkout.remove(made));
    }
    other.write("inc/b.h", "#define B 41\n");
    space.trail();
    let run = build(&same);
    assert_eq!((run.kinds(), answer(&same)), (vec!["cached".into()], 2), "{run}");
    let run = build(&other);
    assert_eq!((run.outcomes()["obj"].as_str(), answer(&other)), ("executed", 42), "{run}");
    // And the first is not disturbed by what the second stored.
    same.remove("prog");
    same.remove("main.o");
    same.remove(".iact");
    build(&same);
    assert_eq!(answer(&same), 2);
}

#[test]
fn a_depfile_that_is_missing_or_nonsense_is_no_trouble() {
    for write in
        ["true", "echo nonsense > d", "head -c 1000 /dev/zero > d", "mkdir d", "echo 'o: nowhere.h \\\\' > d"]
    {
        let space = Space::new(&format!(
            "[target.t]\ninputs = ['in']\noutputs = ['o']\ndepfile = 'd'\nrun = \"rm -rf d; {write}; cp in o\"\n"
        ));
        space.write("in", "1");
        space.build(&["t"]);
        space.write("in", "2");
        space.build(&["t"]);
        assert_eq!(space.read("o"), "2", "{write}");
        assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"], "{write}");
    }
}
