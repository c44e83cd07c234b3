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
