//! Services of a watched workspace: they go on between builds.

use super::Watching;
use crate::space::{Space, until};
use std::fs;

/// A service that writes into the trail when it starts and when it ends, a target that makes what it works with, and a user.
fn with_service(word: &str, more: &str) -> String {
    format!(
        r#"[workspace]
default = ["user"]
[service.s]
deps = ["data"]
run = "trap 'echo down >> @LOG@; exit' TERM; echo up {word} >> @LOG@; echo go; while :; do sleep 0.05; done"
ready = {{ log = "go", timeout = "20s" }}
[target.data]
inputs = ["data.txt"]
outputs = ["data.out"]
run = "cp data.txt data.out"
[target.user]
services = ["s"]
inputs = ["x"]
run = "echo user >> @LOG@; ! grep -q bad x"
{more}"#
    )
}

fn lines(space: &Space) -> Vec<String> {
    let text = fs::read_to_string(space.base().join("trail")).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

/// Children of a process that have ended and were not collected.
fn uncollected(parent: i32) -> Vec<i32> {
    let numbers = fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_one = |pid: &i32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let mut words = stat.rsplit(')').next().unwrap_or_default().split_whitespace();
        words.next() == Some("Z") && words.next() == Some(&parent.to_string())
    };
    numbers.filter(is_one).collect()
}

#[test]
fn whoever_watched_over_the_commands_is_collected_when_the_workspace_is_opened_again() {
    let iactfile = |word: &str| format!("[target.t]\ninputs = ['x']\nrun = 'echo {word} >> @LOG@'\n");
    let space = Space::new(&iactfile("one"));
    space.write("x", "1");
    let watching = Watching::of(&space, &["t"]);
    space.iactfile(&iactfile("two"));
    watching.settle();
    assert_eq!(lines(&space), ["one", "two"]);
    // A comment: the workspace is opened again, and nothing runs.
    space.iactfile(&(iactfile("two") + "# two\n"));
    watching.settle();
    let pid = watching.started.pid().as_raw_nonzero().get();
    until("all are collected", || uncollected(pid).is_empty());
    watching.end();
}

#[test]
fn services_stay_up_between_rounds_until_they_would_be_others() {
    let space = Space::new(&with_service("one", ""));
    space.write("x", "1");
    space.write("data.txt", "1");
    let watching = Watching::of(&space, &[]);
    let mut expected = vec!["up one", "user"];
    assert_eq!(lines(&space), expected, "{}", watching.started.out());
    for (text, what) in [("2", "an edit"), ("bad", "a failure"), ("3", "its mending")] {
        space.write("x", text);
        watching.settle();
        expected.push("user");
        assert_eq!(lines(&space), expected, "{what}: {}", watching.started.out());
    }
    space.iactfile(&with_service("one", "[target.other]\ninputs = []\nrun = \"true\"\n"));
    watching.settle();
    space.write("x", "4");
    watching.settle();
    expected.push("user");
    assert_eq!(lines(&space), expected, "another target is declared: {}", watching.started.out());
    space.iactfile(&with_service("two", ""));
    watching.settle();
    expected.extend(["down", "up two", "user"]);
    assert_eq!(lines(&space), expected, "it is declared otherwise: {}", watching.started.out());
    space.write("data.txt", "2");
    watching.settle();
    expected.extend(["down", "up two", "user"]);
    assert_eq!(lines(&space), expected, "what it works with is made anew: {}", watching.started.out());
    assert!(space.has(".iact/services/s.json"));
    watching.end();
    expected.push("down");
    assert_eq!(lines(&space), expected);
    assert!(!space.has(".iact/services/s.json"), "it outlived the watch");
}
