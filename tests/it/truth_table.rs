//! What is on disk × what the cache holds × what became of the sources → what a build does, and the reason it gives.

use crate::space::{Space, harm, remove, set_mode, set_time, tree};
use std::os::unix::fs::symlink;

const IACTFILE: &str = r#"
[target.t]
inputs = ["in"]
outputs = ["o", "d"]
run = '''
echo t >> @LOG@
cp in o
mkdir -p d/sub d/empty
cp in d/x
echo fixed > d/sub/y
printf 'exit 0\n' > d/run
chmod 755 d/run
ln -s x d/link
'''
"#;

const UP: &str = "up_to_date";
const CACHED: &str = "cached";
const RUN: &str = "executed";

/// Sources, outputs; the outcome with a sound cache, an empty one, a damaged one, and `--no-cache`; the reason.
type Row = (&'static str, &'static str, [&'static str; 4], &'static str);

const TABLE: &[Row] = &[
    ("same", "intact", [UP, UP, UP, UP], ""),
    ("same", "rewritten alike", [UP, UP, UP, UP], ""),
    ("same", "missing", [CACHED, RUN, RUN, RUN], "output_missing o"),
    ("same", "edited", [CACHED, RUN, RUN, RUN], "output_modified o"),
    ("same", "emptied", [CACHED, RUN, RUN, RUN], "output_modified o"),
    ("same", "executable", [CACHED, RUN, RUN, RUN], "output_modified o"),
    ("same", "a link", [CACHED, RUN, RUN, RUN], "output_modified o"),
    ("same", "a folder", [CACHED, RUN, RUN, RUN], "output_modified o"),
    ("same", "folder missing", [CACHED, RUN, RUN, RUN], "output_missing d"),
    ("same", "folder is a file", [CACHED, RUN, RUN, RUN], "output_modified d"),
    ("same", "folder is a link", [CACHED, RUN, RUN, RUN], "output_modified d"),
    ("same", "stray below", [CACHED, RUN, RUN, RUN], "output_modified d/sub/stray"),
    ("same", "stray folder", [CACHED, RUN, RUN, RUN], "output_modified d/stray"),
    ("same", "missing below", [CACHED, RUN, RUN, RUN], "output_missing d/sub/y"),
    ("same", "empty folder missing", [CACHED, RUN, RUN, RUN], "output_missing d/empty"),
    ("same", "edited below", [CACHED, RUN, RUN, RUN], "output_modified d/x"),
    ("same", "program no more", [CACHED, RUN, RUN, RUN], "output_modified d/run"),
    ("same", "link retargeted", [CACHED, RUN, RUN, RUN], "output_modified d/link"),
    ("touched", "intact", [UP, UP, UP, UP], ""),
    ("touched", "missing", [CACHED, RUN, RUN, RUN], "output_missing o"),
    ("touched", "edited below", [CACHED, RUN, RUN, RUN], "output_modified d/x"),
    ("changed", "intact", [RUN, RUN, RUN, RUN], "input_changed in"),
    ("changed", "missing", [RUN, RUN, RUN, RUN], "input_changed in"),
    ("changed", "a folder", [RUN, RUN, RUN, RUN], "input_changed in"),
    ("changed", "folder is a link", [RUN, RUN, RUN, RUN], "input_changed in"),
    ("changed", "stray below", [RUN, RUN, RUN, RUN], "input_changed in"),
    ("reverted", "intact", [CACHED, RUN, RUN, RUN], "input_changed in"),
    ("reverted", "missing", [CACHED, RUN, RUN, RUN], "input_changed in"),
    ("reverted", "a link", [CACHED, RUN, RUN, RUN], "input_changed in"),
    ("reverted", "a folder", [CACHED, RUN, RUN, RUN], "input_changed in"),
    ("reverted", "folder is a file", [CACHED, RUN, RUN, RUN], "input_changed in"),
    ("reverted", "stray folder", [CACHED, RUN, RUN, RUN], "input_changed in"),
    ("forgotten", "intact", [CACHED, RUN, RUN, RUN], "first_build"),
    ("forgotten", "edited", [CACHED, RUN, RUN, RUN], "first_build"),
    ("forgotten", "stray below", [CACHED, RUN, RUN, RUN], "first_build"),
];

const CACHES: [&str; 4] = ["sound", "empty", "damaged", "off"];

#[test]
fn outputs_sources_and_cache_decide_by_the_table() {
    let next = std::sync::atomic::AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let worker = || {
            let space = Space::new(IACTFILE);
            loop {
                let row = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(row) = TABLE.get(row) else { return };
                for column in 0..CACHES.len() {
                    try_cell(&space, row, column);
                }
            }
        };
        let workers: Vec<_> = (0..3).map(|_| scope.spawn(worker)).collect();
        for worker in workers {
            worker.join().expect("a cell of the table is wrong");
        }
    });
}

fn try_cell(space: &Space, (sources, outputs, outcomes, reason): &Row, column: usize) {
    let case = format!("sources {sources}, outputs {outputs}, cache {}", CACHES[column]);
    for path in [&space.cache, &space.path(".iact"), &space.path("o"), &space.path("d")] {
        remove(path);
    }
    for content in ["1", "2"] {
        space.write("in", content);
        space.build(&["t"]);
    }
    space.trail();
    spoil_outputs(space, outputs);
    let content = change_sources(space, sources);
    match CACHES[column] {
        "empty" => remove(&space.cache),
        "damaged" => space.cache_files().iter().for_each(|path| harm(path, false)),
        _ => {}
    }
    let run = if CACHES[column] == "off" { space.build(&["t", "--no-cache"]) } else { space.build(&["t"]) };
    let outcome = &run.outcomes()["t"];
    assert_eq!((outcome.as_str(), run.reason("t").as_str()), (outcomes[column], *reason), "{case}: {run}");
    assert_eq!(space.trail().len(), usize::from(outcomes[column] == RUN), "{case}: {run}");
    assert_outputs(space, content, &case);
    let again = space.build(&["t"]);
    assert_eq!(again.kinds(), [UP], "{case}, built again: {again}");
    assert_eq!(again.warnings(), [""; 0], "{case}, built again");
}

fn spoil_outputs(space: &Space, how: &str) {
    let (o, d) = (space.path("o"), space.path("d"));
    match how {
        "intact" => {}
        "rewritten alike" => {
            space.remove("o");
            space.write("o", "2");
        }
        "missing" => remove(&o),
        "edited" => drop(space.write("o", "by hand")),
        "emptied" => drop(space.write("o", "")),
        "executable" => set_mode(&o, 0o755),
        "a link" => {
            remove(&o);
            symlink("in", &o).unwrap();
        }
        "a folder" => {
            remove(&o);
            space.write("o/deep/file", "in the way");
        }
        "folder missing" => remove(&d),
        "folder is a file" => {
            remove(&d);
            space.write("d", "in the way");
        }
        "folder is a link" => {
            std::fs::rename(&d, space.base().join("elsewhere")).unwrap();
            symlink(space.base().join("elsewhere"), &d).unwrap();
        }
        "stray below" => drop(space.write("d/sub/stray", "")),
        "stray folder" => std::fs::create_dir(d.join("stray")).unwrap(),
        "missing below" => remove(&d.join("sub/y")),
        "empty folder missing" => remove(&d.join("empty")),
        "edited below" => drop(space.write("d/x", "by hand")),
        "program no more" => set_mode(&d.join("run"), 0o644),
        "link retargeted" => {
            remove(&d.join("link"));
            symlink("run", d.join("link")).unwrap();
        }
        other => panic!("no such state: {other}"),
    }
}

fn change_sources(space: &Space, how: &str) -> &'static str {
    let (content, path) = match how {
        "same" => return "2",
        "touched" => {
            set_time(&space.path("in"), 1_000_000_000);
            return "2";
        }
        "forgotten" => {
            space.remove(".iact");
            return "2";
        }
        "changed" => ("3", "in"),
        "reverted" => ("1", "in"),
        other => panic!("no such state: {other}"),
    };
    space.write(path, content);
    content
}

fn assert_outputs(space: &Space, content: &str, case: &str) {
    assert_eq!(tree(&space.path("o"))[""], format!("file - {content}"), "{case}");
    let below: Vec<(String, String)> = tree(&space.path("d")).into_iter().collect();
    let expected = [
        ("", "folder"),
        ("empty", "folder"),
        ("link", "link x"),
        ("run", "file x exit 0\n"),
        ("sub", "folder"),
        ("sub/y", "file - fixed\n"),
        ("x", &format!("file - {content}")),
    ];
    assert_eq!(below, expected.map(|(path, what)| (path.to_owned(), what.to_owned())), "{case}");
    remove(&space.base().join("elsewhere"));
}

#[test]
fn the_workspaces_own_folder_may_be_an_input() {
    for inputs in ["'.'", "'./', '!o'", "'a/..'", "'.', '!o/**'"] {
        let space = Space::new(&format!("[target.x]\ninputs = [{inputs}]\nrun = 'true'\n"));
        space.write("a/f", "1");
        space.write("o/f", "1");
        space.write(".git/f", "1");
        assert_eq!(space.build(&["x"]).kinds(), ["executed"], "{inputs}");
        space.write(".git/f", "2");
        if inputs.contains('!') {
            space.write("o/f", "2");
        }
        assert_eq!(space.build(&["x"]).kinds(), ["up_to_date"], "{inputs}");
        space.write("a/f", "2");
        assert_eq!(space.build(&["x"]).reason("x"), "input_changed a/f", "{inputs}");
        space.write("new", "1");
        assert_eq!(space.build(&["x"]).reason("x"), "input_added new", "{inputs}");
    }
}
