//! Every part of an action is in its fingerprint, and nothing else is.

use super::*;
use crate::graph::action::{Inputs, Output};
use crate::graph::rare::{self, Rare, When};
use crate::graph::service::Use;
use crate::manifest::decl::{Retry, Severity};
use crate::scan::patterns::Patterns;
use crate::schedule::Demand;

fn content(text: &str) -> Content {
    Content::file(Digest::of(DigestFunction::Blake3, text.as_bytes()), false)
}

fn action() -> Action {
    Action {
        name: "t".into(),
        argv: vec!["bash".into(), "-c".into(), "cat in > out".into()],
        cwd: "api".into(),
        env: vec![("LANG".into(), "C".into())],
        outputs: vec![Output { path: "out".into(), is_folder: false }],
        shell: vec!["bash".into()].into(),
        ..Action::default()
    }
}

fn used(name: &str, digest: u8) -> Use {
    Use { name: name.into(), service: 0, digest: [digest; 32] }
}

fn values() -> Values<'static> {
    Values {
        os: "linux",
        arch: "x86_64",
        passed: vec![("GIVEN", Some(b"1"))],
        tools: vec![("gcc", content("gcc 12"))],
        probes: vec![("gcc --version", [7; 32])],
        workspace: None,
        exports: Vec::new(),
        given: Vec::new(),
    }
}

fn inputs() -> Vec<InputNode> {
    vec![
        InputNode { path: b"a".to_vec(), content: content("1"), link: None },
        InputNode { path: b"b/c".to_vec(), content: content("2"), link: None },
    ]
}

fn print(action: &Action, values: &Values<'_>, inputs: &[InputNode]) -> Digest {
    let definition = define(action, values);
    fingerprint(DigestFunction::Blake3, action, values, &definition, inputs.to_vec()).expect("a tree")
}

/// One change of one part; its name, and whether the fingerprint must change.
type Change = (&'static str, bool, fn(&mut Action, &mut Values<'static>, &mut Vec<InputNode>));

const CHANGES: &[Change] = &[
    ("argv", true, |a, _, _| a.argv[2].push(' ')),
    ("argv: a border between words moves", true, |a, _, _| {
        a.argv = vec!["bash-c".into(), "cat in > out".into()]
    }),
    ("cwd", true, |a, _, _| a.cwd = "ui".into()),
    ("env value", true, |a, _, _| a.env[0].1 = "C.UTF-8".into()),
    ("env name", true, |a, _, _| a.env[0].0 = "LC_ALL".into()),
    ("env: a border between name and value moves", true, |a, _, _| {
        a.env[0] = ("LANGC".into(), String::new())
    }),
    ("env: one more", true, |a, _, _| a.env.push(("X".into(), String::new()))),
    ("outputs", true, |a, _, _| a.outputs[0].path = "out2".into()),
    ("outputs: a folder", true, |a, _, _| a.outputs[0].is_folder = true),
    ("outputs: one more", true, |a, _, _| a.outputs.push(Output { path: "z".into(), is_folder: false })),
    ("depfile", true, |a, _, _| a.depfile = Some("d".into())),
    ("verify", true, |a, _, _| a.verify = Some("true".into())),
    ("services: one more", true, |a, _, _| a.services.push(used("db", 1))),
    ("services: its definition", true, |a, _, _| a.services.push(used("db", 2))),
    ("services: its name", true, |a, _, _| a.services.push(used("web", 1))),
    ("keep_outputs", true, |a, _, _| a.keep_outputs = true),
    ("os", true, |_, v, _| v.os = "macos"),
    ("arch", true, |_, v, _| v.arch = "aarch64"),
    ("pass_env value", true, |_, v, _| v.passed[0].1 = Some(b"2")),
    ("pass_env: empty", true, |_, v, _| v.passed[0].1 = Some(b"")),
    ("pass_env: unset", true, |_, v, _| v.passed[0].1 = None),
    ("tool content", true, |_, v, _| v.tools[0].1 = content("gcc 13")),
    ("probe output", true, |_, v, _| v.probes[0].1 = [8; 32]),
    ("probe text", true, |_, v, _| v.probes[0].0 = "gcc -v"),
    ("not relocatable", true, |_, v, _| v.workspace = Some(b"/w")),
    ("input content", true, |_, _, i| i[0].content = content("9")),
    ("input path", true, |_, _, i| i[0].path = b"a2".to_vec()),
    ("input: executable", true, |_, _, i| i[0].content.kind = ContentKind::Executable),
    ("input: a link of equal bytes", true, |_, _, i| {
        i[0].content.kind = ContentKind::Link;
        i[0].link = Some((b"1".to_vec(), false));
    }),
    ("input: a folder", true, |_, _, i| i[0].content.kind = ContentKind::Folder),
    ("input: one more", true, |_, _, i| {
        i.push(InputNode { path: b"z".to_vec(), content: content(""), link: None });
    }),
    ("input: one less", true, |_, _, i| drop(i.pop())),
    ("input outside", true, |_, _, i| {
        i.push(InputNode { path: b"/usr/include/x.h".to_vec(), content: content("h"), link: None });
    }),
    ("name", false, |a, _, _| a.name = "other".into()),
    ("folder", false, |a, _, _| a.folder = "api".into()),
    ("untracked_env", false, |a, _, _| a.untracked_env.push("X".into())),
    ("timeout", false, |a, _, _| a.timeout_ms = Some(1)),
    ("demand", false, |a, _, _| a.demand = Demand { cpus: 7, exclusive: true, ..a.demand }),
    ("check", false, |a, _, _| a.check = Some("true".into())),
    ("cache, remote, severity", false, |a, _, _| {
        (a.cache, a.remote, a.severity) = (false, false, Severity::Info)
    }),
    ("retry", false, |a, _, _| {
        a.retry = Some(Retry { attempts: 3, delay_ms: 1, max_delay_ms: None, on_exit: Vec::new() });
    }),
    ("exports", true, |a, _, _| {
        a.rare = Some(Box::new(Rare { exports: vec!["id".into()], ..rare::NONE.clone() }));
    }),
    ("secrets: a name", true, |a, _, _| {
        a.rare = Some(Box::new(Rare { secrets: vec!["id".into()], ..rare::NONE.clone() }));
    }),
    ("shell of verify", true, |a, _, _| {
        (a.verify, a.shell) = (Some("true".into()), vec!["sh".into()].into())
    }),
    ("shell of check", false, |a, _, _| (a.check, a.shell) = (Some("true".into()), vec!["sh".into()].into())),
    ("an exported value that is read", true, |_, v, _| {
        v.exports = vec![("snap".into(), "id".into(), "1".into())];
    }),
    ("an exported value that is read: another", true, |_, v, _| {
        v.exports = vec![("snap".into(), "id".into(), "2".into())];
    }),
    ("a variable given by the run", true, |_, v, _| v.given = vec![("IACT_EXIT_CODE".into(), "1".into())]),
    ("rare keys", false, |a, _, _| {
        a.rare = Some(Box::new(Rare {
            when: Some(When { os: vec!["linux".into()], ..When::default() }),
            confirm: Some("sure?".into()),
            lock: Some("prod".into()),
            reads_exports: true,
            valid_for_ms: Some(1),
            interactive: true,
            ..rare::NONE.clone()
        }));
    }),
    ("patterns that find the same files", false, |a, _, _| {
        let patterns = Patterns::compile(vec!["**".into()]).expect("a glob");
        a.inputs = Some(Inputs { patterns, literals: Vec::new() });
    }),
    ("order of inputs", false, |_, _, i| i.reverse()),
];

#[test]
fn every_part_that_decides_is_in_it_and_nothing_else() {
    let before = print(&action(), &values(), &inputs());
    let mut seen = vec![before];
    for (name, counts, change) in CHANGES {
        let (mut action, mut values, mut inputs) = (action(), values(), inputs());
        change(&mut action, &mut values, &mut inputs);
        let after = print(&action, &values, &inputs);
        assert_eq!(after != before, *counts, "{name}");
        if *counts {
            assert!(!seen.contains(&after), "{name} collides with another change");
            seen.push(after);
        }
    }
}

/// A field that is added has to be put into one of the two halves of the table above.
#[test]
fn no_field_of_an_action_is_forgotten() {
    let Action {
        name: _,
        is_group: _,
        folder: _,
        argv: _,
        cwd: _,
        env: _,
        pass_env: _,
        untracked_env: _,
        inputs: _,
        file: _,
        outputs: _,
        tools: _,
        probes: _,
        shell: _,
        depfile: _,
        check: _,
        verify: _,
        late: _,
        services: _,
        keep_outputs: _,
        cache: _,
        remote: _,
        relocatable: _,
        timeout_ms: _,
        demand: _,
        batch: _,
        severity: _,
        retry: _,
        rare: _,
    } = action();
}

#[test]
fn what_is_explained_is_what_is_digested() {
    let mut words = Words::default();
    walk(&action(), &values(), &mut words);
    let parts: Vec<&str> = words.0.iter().map(|(_, name, _)| name.as_str()).collect();
    assert_eq!(
        parts,
        [
            "schema",
            "argv",
            "argv",
            "argv",
            "cwd",
            "os",
            "arch",
            "out",
            "LANG",
            "GIVEN",
            "gcc",
            "gcc --version"
        ]
    );
    assert!(words.0.iter().all(|(_, _, value)| value != "C"), "values of variables are not told");
}

/// A change of these bytes puts every result of every cache out of reach: raise `SCHEMA` if it is meant.
#[test]
fn the_fingerprint_of_a_known_action_is_known() {
    assert_eq!(print(&action(), &values(), &inputs()).hex(), GOLDEN);
}

const GOLDEN: &str = "1aa0b1f63900266652ea8f54ff8b24d9ea4f208ed04a0d6f06822fc611d592b6";
