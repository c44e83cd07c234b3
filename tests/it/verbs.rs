//! The verbs beside `build`: what they answer, what they leave alone, and their exit codes.

mod ask;
mod cache;
mod clean;

use crate::space::Space;
use serde_json::Value;

/// `a` makes a file from another, `b` one from that and a folder, `all` is a group of both.
const CHAIN: &str = r#"
[target.a]
description = "Make a"
aliases = ["first"]
tags = ["ci"]
inputs = ["a.txt", "src/**"]
outputs = ["out/a"]
pass_env = ["FLAG"]
run = "echo a >> @LOG@; echo said; echo shouted >&2; cp a.txt out/a"
[target.b]
group = "later"
deps = ["a"]
inputs = []
outputs = ["out/b", "made/"]
run = "echo b >> @LOG@; cp out/a out/b; mkdir -p made/deep; echo x > made/deep/file"
[target.all]
group = "later"
deps = ["b"]
"#;

fn chain() -> Space {
    let space = Space::new(CHAIN);
    space.write("a.txt", "1\n");
    space.write("src/x", "");
    space.write("src/y", "");
    space
}

/// The answer of a verb, as JSON.
fn json(space: &Space, args: &[&str], code: i32) -> Value {
    let run = space.iact(args).run().expect_code(code);
    serde_json::from_str(&run.out).unwrap_or_else(|wrong| panic!("{wrong}: {run}"))
}

/// The answer of a verb, as text.
fn out(space: &Space, args: &[&str]) -> String {
    space.iact(args).run().expect_code(0).out
}

/// One field of every member of a list.
fn each<'a>(list: &'a Value, field: &str) -> Vec<&'a str> {
    list.as_array().unwrap().iter().map(|one| one[field].as_str().unwrap_or_default()).collect()
}
