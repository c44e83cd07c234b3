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

/// A target that concatenates what `script` says it reads, with `in` declared.
fn reader(script: &str) -> Space {
    let space = Space::new(&format!(
        "[target.t]\ninputs = ['in']\noutputs = ['o']\ndepfile = 'd'\nrun = \"\"\"echo t >> @LOG@; {script}\"\"\"\n"
    ));
    space.write("in", "in\n");
    space
}

/// Reads what `in` names, as a compiler reads what a source includes.
const INCLUDES: &str = "cat in $(cat in) > o; echo o: $(cat in) > d";

#[test]
fn branches_that_include_different_headers_never_get_each_others_result() {
    let space = reader(INCLUDES);
    space.write("common", "common\n");
    let branches = [
        ("a", vec!["a.h"]),
        ("b", vec!["b1.h", "b2.h", "common"]),
        ("c", vec![]),
        ("d", vec!["a.h", "common"]),
    ];
    let all = ["a.h", "b1.h", "b2.h"];
    let check_out = |(name, headers): &(&str, Vec<&str>)| {
        all.iter().filter(|header| space.has(header)).for_each(|header| space.remove(header));
        for header in headers.iter().filter(|header| **header != "common") {
            space.write(header, format!("{header} of {name}\n"));
        }
        space.write("in", headers.join(" ") + "\n");
        std::thread::sleep(std::time::Duration::from_millis(15));
    };
    let mut dice = crate::dice::Dice::new(7);
    for _ in 0..24 {
        let branch = &branches[dice.below(branches.len())];
        check_out(branch);
        let run = space.build(&["t"]);
        let headers: String = branch.1.iter().map(|header| space.read(header)).collect();
        assert_eq!(space.read("o"), format!("{}{headers}", space.read("in")), "{}: {run}", branch.0);
        assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"], "{}", branch.0);
    }
    assert_eq!(space.trail().len(), branches.len(), "each ran once and was restored from then on");
}

#[test]
fn a_discovered_header_may_become_a_declared_one_and_back() {
    let space = reader("cat in x.h > o; echo o: in x.h > d");
    let plain = space.read("Iactfile.toml");
    let declared = plain.replace("['in']", "['in', 'x.h']");
    for (at, text) in [&plain, &declared, &plain, &declared].into_iter().enumerate() {
        space.write("Iactfile.toml", text);
        space.write("x.h", format!("{at}\n"));
        std::thread::sleep(std::time::Duration::from_millis(15));
        space.build(&["t"]);
        assert_eq!(space.read("o"), format!("in\n{at}\n"));
        assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"]);
    }
}

#[test]
fn a_command_that_does_not_write_its_depfile_fails_and_an_old_one_does_not_count() {
    for (write, says) in [
        ("true", "did not write its depfile `d`"),
        ("rm -f d", "did not write its depfile `d`"),
        ("mkdir -p d", "its depfile `d` cannot be read"),
    ] {
        let space = reader(&format!("cp in o; {write}"));
        for _ in 0..2 {
            let run = space.try_build(&["t"]).expect_code(1);
            assert!(run.said().contains(says), "{write}: {run}");
        }
    }
    let space = reader("cat in x > o; test -e skip || echo o: x > d");
    space.write("x", "1");
    std::thread::sleep(std::time::Duration::from_millis(15));
    space.build(&["t"]);
    space.write("skip", "");
    space.write("in", "other");
    space.try_build(&["t"]).expect_code(1);
}

#[test]
fn a_file_is_followed_however_the_depfile_names_it() {
    for (named, file) in [
        ("../outside.h", "../outside.h"),
        ("@BASE@/outside.h", "../outside.h"),
        ("$PWD/sub/../x.h", "x.h"),
        ("./sub/.././x.h", "x.h"),
        ("sub/../x.h x.h", "x.h"),
        ("link/y.h", "real/y.h"),
        // Of the folder that the link leads to, not of the one it lies in.
        ("link/../z.h", "far/z.h"),
        ("declared/y.h", "real/y.h"),
        ("$(printf 'caf\\\\351.h')", "caf\u{fffd}.h"),
    ] {
        let space = reader(&format!("cat {named} > o; echo o: {named} > d"));
        let text = space.read("Iactfile.toml").replace("['in']", "['in', 'declared']");
        space.write("Iactfile.toml", text);
        for folder in ["sub", "real", "far/in"] {
            std::fs::create_dir_all(space.path(folder)).unwrap();
        }
        let in_far = named.starts_with("link/..");
        std::os::unix::fs::symlink(if in_far { "far/in" } else { "real" }, space.path("link")).unwrap();
        std::os::unix::fs::symlink("real", space.path("declared")).unwrap();
        space.write("z.h", "not this one");
        let write = |text: &str| {
            let name: std::ffi::OsString = match file.strip_suffix("\u{fffd}.h") {
                Some(stem) => {
                    std::os::unix::ffi::OsStringExt::from_vec([stem.as_bytes(), b"\xe9.h"].concat())
                }
                None => file.into(),
            };
            std::fs::write(space.path(name), text).unwrap();
            std::thread::sleep(std::time::Duration::from_millis(15));
        };
        for text in ["1", "2", "1"] {
            write(text);
            let run = space.build(&["t"]);
            assert!(space.read("o").starts_with(text), "{named}: {run}");
            assert_eq!(run.warnings(), Vec::<String>::new(), "{named}");
            let again = space.build(&["t"]);
            assert_eq!(again.kinds(), ["up_to_date"], "{named}: {again}");
        }
    }
}

#[test]
fn what_moves_behind_a_depfile_while_the_command_runs_is_seen() {
    for (during, left) in [
        ("rm x.h", false),
        ("echo later > x.h", true),
        // The end of a link.
        ("echo later > end.h", true),
    ] {
        let space = reader(&format!("cat x.h > o; if test -e trouble; then {during}; fi; echo o: x.h > d"));
        match during.ends_with("end.h") {
            true => std::os::unix::fs::symlink("end.h", space.path("x.h")).unwrap(),
            false => drop(space.write("x.h", "x")),
        }
        space.write("end.h", "x");
        space.write("trouble", "");
        std::thread::sleep(std::time::Duration::from_millis(15));
        let run = space.build(&["t"]);
        assert!(run.warnings().iter().any(|warning| warning.contains("`x.h` changed")), "{during}: {run}");
        space.remove("trouble");
        if !left {
            space.write("x.h", "again");
        }
        std::thread::sleep(std::time::Duration::from_millis(15));
        let run = space.build(&["t"]);
        assert_eq!(run.kinds(), ["executed"], "{during}: {run}");
        assert_eq!(space.read("o"), space.read("x.h"), "{during}");
        assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"], "{during}");
    }
}

#[test]
fn a_header_from_the_future_is_no_trouble() {
    let space = reader("cat x.h > o; echo o: x.h > d");
    let header = space.write("x.h", "x");
    crate::space::set_time(&header, 4_000_000_000);
    std::thread::sleep(std::time::Duration::from_millis(15));
    assert_eq!(space.build(&["t"]).warnings(), Vec::<String>::new());
    assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"]);
}

const CHAIN: &str = r#"
[target.gen]
inputs = ["seed"]
outputs = ["gen.h"]
run = "cp seed gen.h"
[target.middle]
deps = ["gen"]
inputs = []
outputs = ["middle"]
run = "echo constant > middle"
[target.user]
deps = ["@DEP@"]
inputs = []
outputs = ["o"]
depfile = "d"
run = "cat gen.h > o; echo 'o: gen.h' > d"
"#;

#[test]
fn a_header_that_an_indirect_dependency_makes_is_an_input() {
    for (dep, is_linked) in [("middle", false), ("middle", true), ("gen", true)] {
        let chain = CHAIN.replace("@DEP@", dep);
        let space = Space::new(&if is_linked { behind_link(&chain) } else { chain });
        std::os::unix::fs::symlink("made", space.path("inc")).unwrap();
        for text in ["1", "2", "1"] {
            space.write("seed", text);
            let first = space.build(&["user"]);
            assert_eq!(
                (space.read("o").as_str(), first.warnings().len()),
                (text, 0),
                "{dep} {is_linked} {first}"
            );
            let again = space.build(&["user"]);
            assert_eq!(again.kinds(), ["up_to_date"], "{dep} {is_linked} {first}{again}");
        }
    }
}

/// The header lies in `made`, the command finds it through the link `inc`.
fn behind_link(chain: &str) -> String {
    chain.replace("cat gen.h", "cat inc/gen.h").replace("'o: gen.h", "'o: inc/gen.h").replace(
        "outputs = [\"gen.h\"]\nrun = \"cp seed gen.h\"",
        "outputs = [\"made/gen.h\"]\nrun = \"cp seed made/gen.h\"",
    )
}

#[test]
fn a_header_that_somebody_else_makes_is_refused() {
    let chain = CHAIN.replace("deps = [\"@DEP@\"]\n", "");
    for (chain, header) in [(behind_link(&chain), "made/gen.h"), (chain, "gen.h")] {
        let space = Space::new(&chain);
        std::os::unix::fs::symlink("made", space.path("inc")).unwrap();
        space.write("seed", "1");
        space.build(&["gen"]);
        let run = space.try_build(&["user"]).expect_code(1);
        let told = format!("it read `{header}`, which `gen` makes: add `gen` to its `deps`");
        assert!(run.said().contains(&told), "{run}");
    }
}

#[test]
fn a_depfile_belongs_to_one_action_and_is_nobodys_input() {
    let target = |name: &str, depfile: &str| {
        format!(
            "[target.{name}]\ninputs = ['in']\noutputs = ['{name}.o']\ndepfile = '{depfile}'\nrun = \"touch {name}.o; echo 'x: in' > {depfile}\"\n"
        )
    };
    for (other, says) in [
        ("d", "`a` and `b` both make `d`"),
        ("a.o", "`a` and `b` both make `a.o`"),
        ("Iactfile.toml", "would replace"),
    ] {
        let space = Space::new(&(target("a", "d") + &target("b", other)));
        let run = space.try_build(&["b"]).expect_code(2);
        assert!(run.err.contains(says), "{run}");
    }
    let space = Space::new(
        &(target("a", "src/d").replace("['in']", "['in', 'src/**']")
            + "[target.b]\ninputs = ['src/*']\noutputs = ['o']\nrun = 'ls src > o'\ndeps = ['a']\n"),
    );
    space.write("in", "");
    space.write("src/file", "");
    space.build(&["b"]);
    assert_eq!(space.build(&["b"]).kinds(), ["up_to_date"]);
    // Whatever stands there is no input.
    space.write("src/d", "other");
    assert_eq!(space.build(&["b"]).kinds(), ["up_to_date"]);
}

#[test]
fn without_its_depfile_an_action_reads_what_it_declares() {
    let space = reader("cat in x.h > o; echo o: x.h > d");
    let plain = space.read("Iactfile.toml").replace("depfile = 'd'\n", "");
    let with = space.read("Iactfile.toml");
    space.write("x.h", "1");
    space.write("Iactfile.toml", &plain);
    space.build(&["t"]);
    std::thread::sleep(std::time::Duration::from_millis(15));
    space.write("Iactfile.toml", &with);
    space.build(&["t"]);
    space.write("Iactfile.toml", &plain);
    assert_eq!(space.build(&["t"]).kinds(), ["cached"]);
}

#[test]
fn what_is_used_outlives_what_is_not_with_the_list_of_its_headers() {
    let space = reader("cat in x.h > o; echo o: x.h > d");
    let text = space.read("Iactfile.toml")
        + "[target.filler]\ninputs = []\nmatrix = { n = ['1', '2', '3', '4'] }\noutputs = ['f{{ n }}']\nrun = 'head -c 200000 /dev/zero > f{{ n }}'\n";
    space.write("Iactfile.toml", text);
    space.write("x.h", "1");
    std::thread::sleep(std::time::Duration::from_millis(15));
    space.build(&["t"]);
    space.build(&["filler"]);
    space.remove("o");
    assert_eq!(space.build(&["t"]).kinds(), ["cached"]);
    space.iact(["cache", "gc", "--max-size", "100KB"]).run().expect_code(0);
    let other = space.checkout("other");
    other.remove("o");
    assert_eq!(other.build(&["t"]).kinds(), ["cached"]);
}

#[test]
fn what_is_no_list_of_files_is_refused_and_waited_for_by_nobody() {
    for (wrote, said) in [
        ("mkfifo d", "is a FIFO"),
        ("head -c 3 /dev/zero > d", "NUL byte"),
        ("echo x.h > d", "no rule"),
        ("mkdir dir; echo o: dir > d", "names the folder `dir`"),
        ("echo 'o: . .. in' > d", "names the folder"),
    ] {
        let space = reader(&format!("echo > o; {wrote}"));
        let run = space.iact(["build", "--json", "t"]).limit(20).run().expect_code(1);
        assert!(run.finished("t")["message"].as_str().unwrap().contains(said), "{wrote}: {run}");
    }
    let space = reader("cat x.h > o; echo o:x.h > d");
    space.write("x.h", "1");
    std::thread::sleep(std::time::Duration::from_millis(15));
    space.build(&["t"]);
    space.write("x.h", "2");
    space.build(&["t"]);
    assert_eq!(space.read("o"), "2", "a rule without a space");
}

#[test]
fn a_header_of_a_target_that_only_comes_before_asks_for_a_dependency() {
    let space = Space::new(
        "[target.c]\ninputs = ['c.src']\noutputs = ['x.h']\nrun = 'cp c.src x.h'\n\
         [target.t]\nafter = ['c']\ninputs = []\noutputs = ['o']\ndepfile = 'd'\nrun = 'cat x.h > o; echo o: x.h > d'\n",
    );
    space.write("c.src", "1");
    let run = space.try_build(&["c", "t"]).expect_code(1);
    assert!(run.said().contains("add `c` to its `deps`"), "{run}");
}

#[test]
fn a_header_of_a_stranger_is_refused_however_the_graph_came_to_be() {
    let space = Space::new(
        "[target.gen]\ninputs = ['gen.src']\noutputs = ['gen.h']\nrun = 'cp gen.src gen.h'\n\
         [target.obj]\ninputs = ['a.c']\noutputs = ['o']\ndepfile = 'd'\n\
         run = 'cat $(cat a.c) > o; echo \"o: $(cat a.c)\" > d'\n",
    );
    space.write("gen.src", "1");
    space.write("plain.h", "1");
    space.write("a.c", "plain.h");
    let rest = || std::thread::sleep(std::time::Duration::from_millis(2300));
    rest();
    for _ in 0..2 {
        space.build(&["obj", "gen"]);
        rest();
    }
    space.write("a.c", "gen.h");
    // A part of the graph does not know enough, and does not vouch for it.
    let first = space.try_build(&["obj", "gen"]);
    let run = if first.code == Some(0) { space.try_build(&["obj", "gen"]) } else { first };
    assert!(run.code == Some(1) && run.said().contains("to its `deps`"), "{run}");
}

#[test]
fn files_beside_a_checkout_are_its_own() {
    let text = "[target.t]\ninputs = []\noutputs = ['o']\ndepfile = 'd'\nrun = 'cat ../common/x.h > o; echo o: ../common/x.h > d'\n";
    let outer = Space::new("");
    for name in ["a", "b"] {
        std::fs::create_dir_all(outer.path(name).join("ws")).unwrap();
        outer.write(format!("{name}/common/x.h"), name);
        outer.write(format!("{name}/ws/Iactfile.toml"), text);
    }
    std::thread::sleep(std::time::Duration::from_millis(15));
    for (name, content) in [("a", "a"), ("b", "b"), ("b", "edited"), ("a", "a")] {
        outer.write(format!("{name}/common/x.h"), content);
        std::thread::sleep(std::time::Duration::from_millis(15));
        let run = outer.iact(["build", "--json", "t"]).dir(outer.path(name).join("ws")).run().expect_code(0);
        assert_eq!(outer.read(format!("{name}/ws/o")), content, "{name}: {run}");
    }
}

#[test]
fn a_header_behind_an_output_that_is_a_link_to_a_folder_is_an_input() {
    for own in [false, true] {
        let link = "ln -sfn src/inc inc";
        let (made, first) = if own { ("'o', 'inc'", link) } else { ("'o'", "true") };
        let space = Space::new(&format!(
            "[target.mk]\ninputs = []\noutputs = ['{}']\nrun = 'ln -sfn src/inc {}'\n\
             [target.t]\ndeps = ['mk']\ninputs = []\noutputs = [{made}]\ndepfile = 'd'\n\
             run = '{first}; cat inc/x.h > o; echo o: inc/x.h > d'\n",
            if own { "other" } else { "inc" },
            if own { "other" } else { "inc" },
        ));
        for content in ["1", "2"] {
            space.write("src/inc/x.h", content);
            std::thread::sleep(std::time::Duration::from_millis(15));
            let run = space.build(&["t"]);
            assert_eq!(space.read("o"), content, "{own}: {run}");
        }
    }
}

#[test]
fn a_link_on_the_way_that_is_switched_while_the_command_runs_is_seen() {
    let space = reader("cat cur/x.h > o; if test -e go; then rm go; ln -sfn v2 cur; fi; echo o: cur/x.h > d");
    space.write("v1/x.h", "one");
    space.write("v2/x.h", "two");
    std::os::unix::fs::symlink("v1", space.path("cur")).unwrap();
    space.write("go", "");
    std::thread::sleep(std::time::Duration::from_millis(15));
    let run = space.build(&["t"]);
    assert!(run.warnings().iter().any(|warning| warning.contains("`cur/x.h` changed")), "{run}");
    std::thread::sleep(std::time::Duration::from_millis(15));
    let run = space.build(&["t"]);
    assert_eq!((space.read("o").as_str(), run.kinds()), ("two", vec!["executed".to_owned()]), "{run}");
}
