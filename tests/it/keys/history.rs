//! `.iact/runs`: what the runs of a workspace did.

use crate::space::Space;

#[test]
fn each_run_that_did_something_is_a_line() {
    let space = Space::new(
        "[target.good]\ninputs = ['in']\nrun = 'echo good'\n\
         [target.bad]\ndeps = ['good']\nseverity = 'warn'\nrun = 'exit 3'\n",
    );
    let told = || -> Vec<String> {
        let runs = space.read(".iact/runs");
        let lines = runs.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        lines
            .map(|line| {
                assert!(
                    line["schema"] == 1 && line["unix_ms"].as_u64().unwrap() > 1_600_000_000_000,
                    "{line}"
                );
                let targets = line["targets"].as_array().unwrap();
                let ends = targets.iter().map(|end| format!("{} {}", end["target"], end["outcome"]));
                format!(
                    "{} {} {}: {}",
                    line["goals"],
                    line["ok"],
                    line["cached"],
                    ends.collect::<Vec<_>>().join(", ")
                )
            })
            .map(|line| line.replace('"', ""))
            .collect()
    };
    space.write("in", "1");
    space.build(&["good"]);
    space.build(&["good"]);
    assert_eq!(told(), ["[good] true 0: good executed"]);
    space.write("in", "2");
    space.build(&["bad"]);
    space.write("in", "1");
    space.build(&["good"]);
    assert_eq!(told()[1..], ["[bad] true 0: good executed, bad failed", "[good] true 1: "]);
}

#[test]
fn the_history_stays_bounded() {
    let space = Space::new("[target.t]\nrun = 'true'\n");
    space.build(&["t"]);
    space.write(".iact/runs", "x".repeat(5 << 20));
    space.build(&["t"]);
    assert_eq!(space.read(".iact/runs").lines().count(), 1);
    assert_eq!(space.read(".iact/runs.old").len(), 5 << 20);
}
