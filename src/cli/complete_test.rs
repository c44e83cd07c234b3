//! Completion by hand: what is offered after a half-typed line.

use super::*;

fn offered(line: &str) -> Vec<String> {
    let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
    let names = |place: &Place| {
        let name = |word: &str| Candidate { word: word.into(), help: String::new() };
        match &place.directory {
            Some(folder) => vec![name(&format!("in-{}", folder.display()))],
            None => ["api:test", "api:build", "cpython", "$(touch pwned)"].map(name).to_vec(),
        }
    };
    candidates(&words, names).into_iter().map(|candidate| candidate.word).collect()
}

#[test]
fn what_could_stand_at_the_cursor_is_offered_and_nothing_else() {
    for (line, wanted) in [
        ("cpy", &["cpython"] as &[&str]),
        ("li", &["list"]),
        ("-C sub li", &["list"]),
        ("cpython li", &[]),
        ("he", &["help"]),
        ("build ", &["$(touch pwned)", "api:build", "api:test", "cpython"]),
        ("build api:", &["api:build", "api:test"]),
        ("cpython api:t", &["api:test"]),
        ("-k -j 3 cpy", &["cpython"]),
        ("why cp", &["cpython"]),
        ("why wh", &[]),
        ("-C sub build in", &["in-sub"]),
        ("build --out", &["--output"]),
        ("--keep", &["--keep-going"]),
        ("build --output s", &["stream"]),
        ("build --output=s", &["--output=stream"]),
        ("--color n", &["never"]),
        ("--force=cp", &["--force=cpython"]),
        ("cache v", &["verify"]),
        ("cache d", &["du"]),
        ("cache forget cp", &["cpython"]),
        ("completions ", &["bash", "fish", "zsh"]),
        ("graph --format ", &["dot", "json", "mermaid"]),
        ("build --summary su", &[]),
        ("build x -- cp", &[]),
        ("wat", &["watch"]),
        ("repo", &[]),
        ("build --tra", &[]),
        ("$", &["$(touch pwned)"]),
    ] {
        assert_eq!(offered(line), wanted, "{line}");
    }
}
