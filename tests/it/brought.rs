//! What a dependency makes may be named among the inputs, too: a file of it, a folder, a part of one. It is what the
//! dependency brought, and no source.

use crate::space::Space;

const MAKER: &str = "[target.a]\ninputs = ['seed']\noutputs = ['x', 'd/']\n\
     run = 'cp seed x; mkdir -p d/e d/empty; cp seed d/e/f; ln -s e/f d/l; ln -s nowhere d/dangling'\n";

#[test]
fn naming_it_changes_nothing() {
    for named in
        ["'x'", "'d'", "'d/e'", "'d/e/f', 'x'", "'d/l', 'd/dangling'", "'x', 'd', 'src/*'", "'src', 'd/'"]
    {
        let user = format!(
            "[target.b]\ndeps = ['a']\ninputs = [{named}]\noutputs = ['o']\nrun = 'cat x d/e/f > o'\n"
        );
        let space = Space::new(&format!("{MAKER}{user}"));
        space.write("seed", "1\n");
        space.write("src/one", "1\n");
        let first = space.build(&["b"]);
        assert_eq!(
            (first.outcomes()["b"].as_str(), first.warnings()),
            ("executed", vec![]),
            "{named}: {first}"
        );
        let again = space.build(&["b"]);
        assert_eq!(again.kinds(), ["up_to_date"], "{named}: {again}");
        for path in ["o", "x", "d", ".iact"] {
            space.remove(path);
        }
        let restored = space.build(&["b"]);
        assert_eq!(restored.kinds(), ["cached"], "{named}: {restored}");
        assert_eq!(restored.fingerprint("b"), first.fingerprint("b"), "{named}");
        space.write("seed", "2\n");
        let run = space.build(&["b"]);
        assert_eq!(
            (run.outcomes()["b"].as_str(), space.read("o").as_str()),
            ("executed", "2\n2\n"),
            "{named}: {run}"
        );
        space.write("seed", "1\n");
        assert_eq!(space.build(&["b"]).kinds(), ["cached"], "{named}");
        assert_eq!(space.read("o"), "1\n1\n", "{named}");
    }
}

#[test]
fn a_dependency_that_nobody_asked_to_repair_vouches_for_nothing() {
    let space = Space::new(&format!(
        "{MAKER}[target.b]\ndeps = ['a']\ninputs = []\noutputs = ['o']\nrun = 'cat x > o; ls d >> o'\n"
    ));
    space.write("seed", "1\n");
    space.build(&["b"]);
    let good = space.read("o");
    for spoil in [("x", "spoilt\n"), ("d/e/f", "spoilt\n"), ("d/stray", "")] {
        space.write(spoil.0, spoil.1);
        space.remove("o");
        space.remove(".iact/journal");
        space.build(&["--only", "a"]);
        space.write(spoil.0, spoil.1);
        let run = space.build(&["--only", "b"]);
        assert_eq!(run.kinds(), ["executed"], "{run}");
        // What was made of it is nobody's result.
        let run = space.build(&["b"]);
        assert_eq!(
            (space.read("o"), run.outcomes()["b"].as_str()),
            (good.clone(), "cached"),
            "{spoil:?}: {run}"
        );
    }
    assert_eq!(space.build(&["--only", "b"]).kinds(), ["up_to_date"]);
}

#[test]
fn an_output_that_is_a_link_counts_by_what_it_leads_to() {
    let space = Space::new(
        "[target.a]\ninputs = []\noutputs = ['l']\nrun = 'ln -s seed l'\n\
         [target.b]\ndeps = ['a']\ninputs = []\noutputs = ['o']\nrun = 'cat l > o'\n",
    );
    for text in ["1", "2", "1"] {
        space.write("seed", text);
        space.build(&["b"]);
        assert_eq!(space.read("o"), text);
        assert_eq!(space.build(&["b"]).kinds(), ["up_to_date"]);
    }
}
