//! Instances: matrix, for_each and batches.

use crate::space::Space;

#[test]
fn every_combination_is_an_action_of_its_own() {
    let space = Space::new(
        r#"
        [target.m]
        matrix = { db = ["pg", "maria"], py = ["3.11", "3.12"] }
        inputs = []
        outputs = ["m-{{ db }}-{{ py }}"]
        run = "echo {{ db }} {{ py }} >> @LOG@; echo {{ db }}{{ py }} > {{ out }}"
        [target.one]
        deps = ["m[db=pg,py=3.11]"]
        run = "cat m-pg-3.11 >> @LOG@"
        [target.all]
        deps = ["m"]
        inputs = []
        outputs = ["joined"]
        run = "cat {{ outs_of('m') }} > joined"
        "#,
    );
    space.build(&["one"]);
    assert_eq!(space.trail(), ["pg 3.11", "pg3.11"], "only what is asked for");
    let run = space.build(&["all"]);
    assert_eq!(run.with("executed").len(), 4, "{run}");
    assert_eq!(space.read("joined"), "pg3.11\npg3.12\nmaria3.11\nmaria3.12\n");
    assert_eq!(space.build(&["m[db=pg]"]).outcomes().len(), 2, "a part of the name means all that have it");
    for wrong in ["m[db=x,py=3.11]", "m[py=3.11,db=pg]", "m[", "one[db=pg]"] {
        let run = space.try_build(&[wrong]);
        assert!(run.code == Some(2) && run.out.is_empty() || wrong == "m[py=3.11,db=pg]", "{wrong}: {run}");
    }
}

#[test]
fn a_file_more_or_less_is_an_action_more_or_less() {
    let space = Space::new(
        r#"
        [target.cc]
        for_each = "src/**/*.c"
        inputs = ["common.h"]
        outputs = ["obj/{{ file.dir }}/{{ file.stem }}.o"]
        run = "echo {{ file }} >> @LOG@; cat {{ file }} common.h > {{ out }}"
        [target.link]
        deps = ["cc"]
        inputs = []
        outputs = ["prog"]
        run = "cat {{ outs_of('cc') }} > prog"
        "#,
    );
    space.write("common.h", "h\n");
    space.write("src/a.c", "a\n");
    space.write("src/sub/b.c", "b\n");
    space.build(&["link"]);
    assert_eq!((space.trail_sorted().len(), space.read("prog")), (2, "a\nh\nb\nh\n".into()));
    space.write("src/c.c", "c\n");
    let run = space.build(&["link"]);
    assert_eq!(
        (space.trail(), space.read("prog")),
        (vec!["src/c.c".into()], "a\nh\nc\nh\nb\nh\n".into()),
        "{run}"
    );
    space.remove("src/a.c");
    space.build(&["link"]);
    assert_eq!((space.trail().len(), space.read("prog")), (0, "c\nh\nb\nh\n".into()));
    space.write("common.h", "H\n");
    space.build(&["link"]);
    assert_eq!(space.trail_sorted(), ["src/c.c", "src/sub/b.c"]);
    space.remove("src");
    let run = space.try_build(&["cc"]);
    assert!(
        run.code == Some(0) && run.outcomes().is_empty() || run.code == Some(2),
        "no file, no action: {run}"
    );
}

#[test]
fn a_failed_batch_gives_every_file_its_own_outcome() {
    let space = Space::new(
        "[target.check]\nfor_each = { glob = 'src/*', batch = 10 }\nrun = 'echo {{ files }} | wc -w >> @LOG@; if grep -l bad {{ files }}; then exit 1; fi'\n",
    );
    for name in ["a", "b", "c", "d"] {
        space.write(format!("src/{name}"), "good");
    }
    space.write("src/b", "bad");
    let run = space.try_build(&["check", "-k"]).expect_code(1);
    assert_eq!((run.with("failed"), run.with("executed").len()), (vec!["check[src/b]".into()], 3), "{run}");
    space.trail();
    space.write("src/b", "good too");
    let run = space.build(&["check"]);
    assert_eq!(
        (run.with("executed"), space.trail()),
        (vec!["check[src/b]".into()], vec!["1".into()]),
        "{run}"
    );
    space.remove(".iact");
    assert_eq!(space.build(&["check"]).with("cached").len(), 4, "one entry per file");
}

#[test]
fn what_a_batch_has_only_once_is_shared_only_by_files_for_which_it_is_equal() {
    // The key, the files per command, what `out/b` holds.
    let rows = [
        ("", "2", "b  ."),
        ("env = { NAME = '{{ file.stem }}' }", "1 1", "b b ."),
        ("env = { NAME = 'x' }", "2", "b x ."),
        ("cwd = '{{ file.dir }}'", "1 1", "b  b"),
        ("lock = 'iact-it-{{ file.stem }}'", "1 1", "b  ."),
        ("lock = 'iact-it-batch'", "2", "b  ."),
    ];
    for (key, sizes, made) in rows {
        let space = Space::new(&format!(
            "[target.l]\nfor_each = {{ glob = 'src/*/*.txt', batch = 10 }}\noutputs = ['out/{{{{ file.stem }}}}']\n{key}\n\
             run = 'echo {{{{ files }}}} | wc -w >> @LOG@; root=@BASE@/ws; here=$(basename \"${{PWD#$root}}\"); \
             for f in {{{{ files }}}}; do echo \"$(cat $root/$f) ${{NAME-}} ${{here:-.}}\" > $root/out/$(basename $f .txt); done'\n"
        ));
        space.write("src/a/a.txt", "a");
        space.write("src/b/b.txt", "b");
        let run = space.build(&["l", "-j1"]);
        assert_eq!(space.trail().join(" "), sizes, "{key}: {run}");
        assert_eq!(space.read("out/b").trim(), made, "{key}: {run}");
    }
}

#[test]
fn each_file_of_a_batch_is_proved_by_itself() {
    for key in ["check", "verify"] {
        let space = Space::new(&format!(
            "[target.l]\nfor_each = {{ glob = 'src/*', batch = 10 }}\noutputs = ['out/{{{{ file.stem }}}}']\n\
             run = 'echo {{{{ files }}}} >> @LOG@; {{% for file in files %}}cp {{{{ file }}}} out/{{{{ file.stem }}}}; {{% endfor %}}'\n\
             {key} = 'test -s {{{{ out }}}} && test {{{{ files }}}} = {{{{ file }}}}'\n"
        ));
        for (name, text) in [("a", "1"), ("b", ""), ("c", "3")] {
            space.write(format!("src/{name}"), text);
        }
        let run = space.try_build(&["l", "-k"]).expect_code(1);
        assert_eq!(space.trail(), ["src/a src/b src/c"], "{key}: {run}");
        assert_eq!(
            (run.with("executed"), run.with("failed")),
            (vec!["l[src/a]".into(), "l[src/c]".into()], vec!["l[src/b]".into()]),
            "{key}: {run}"
        );
        let other = space.checkout("other").try_build(&["l", "-k"]).expect_code(1);
        assert_eq!((other.with("cached").len(), other.with("failed").len()), (2, 1), "{key}: {other}");
    }
}
