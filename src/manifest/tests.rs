//! What an Iactfile may say, and that nothing it says brings the parser down.

mod mistakes;

use super::decl::{Amount, Need, Port, Probe, Severity, Text, Token, Work};
use super::shape::{Fields, Rule, Shape};
use super::*;
use proptest::prelude::*;

/// Line and column of a place, from 1, in characters.
fn line_and_column(error: &Error) -> (usize, usize) {
    let Some(place) = &error.place else { return (0, 0) };
    let before = &place.source.text[..place.span.start as usize];
    let line_start = before.rfind('\n').map_or(0, |at| at + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn source(text: &str) -> Arc<Source> {
    Arc::new(Source { path: "Iactfile.toml".into(), text: text.into() })
}

fn parsed(text: &str) -> error::Result<Manifest> {
    parse(source(text), "")
}

/// Reads a file whatever features are there yet.
fn read(text: &str) -> Manifest {
    match parsed(text) {
        Err(wrong) if !wrong.message.ends_with("is not there yet") => panic!("{wrong}: {text}"),
        _ => read::manifest(source(text), "", DeTable::parse(text).unwrap().get_ref()),
    }
}

fn values(texts: &[Text]) -> Vec<&str> {
    texts.iter().map(|text| text.value.as_str()).collect()
}

const WHOLE: &str = include_str!("tests/whole.toml");

#[test]
fn a_whole_file_is_read() {
    let manifest = read(WHOLE);
    assert_eq!(manifest.requires.as_ref().unwrap().value.to_string(), ">=0.1");
    assert_eq!(manifest.workspace.name.as_ref().unwrap().value, "iact-infra");
    assert_eq!(values(&manifest.workspace.default), ["lint", "test"]);
    assert_eq!(values(manifest.workspace.shell.as_ref().unwrap()), ["bash", "-euo", "pipefail", "-c"]);
    assert_eq!(manifest.workspace.gitignore, Some(true));
    let vars: Vec<_> =
        manifest.vars.iter().map(|(name, value)| (name.value.as_str(), value.value.as_str())).collect();
    assert_eq!(
        vars,
        [("python", "3.12.6"), ("build", "1"), ("minor", "3.10"), ("debug", "true"), ("hex", "0xff")]
    );
    assert_eq!((manifest.cache.max_size, manifest.cache.max_age_ms), (Some(20 << 30), Some(7_776_000_000)));
    assert_eq!(
        (manifest.cache.digest, manifest.cache.durable),
        (Some(iact_cache::DigestFunction::Sha256), Some(false))
    );
    let remote = manifest.remote.unwrap().value;
    assert_eq!(
        (remote.url.value.as_str(), remote.writes, remote.execute),
        ("grpcs://cache.example.org", Some(true), false)
    );
    assert!(matches!(remote.token, Some(Token::Env(name)) if name.value == "IACT_REMOTE_TOKEN"));
    assert_eq!((remote.require_signature, remote.keys.len(), remote.headers.len()), (Some(true), 1, 1));
    assert_eq!(
        manifest.pools.iter().map(|(name, slots)| (name.value.as_str(), *slots)).collect::<Vec<_>>(),
        [("network", 2)]
    );
    let names: Vec<_> = manifest.targets.iter().map(|target| target.name.value.as_str()).collect();
    assert_eq!(names, ["cpython-build", "shellcheck", "db-dump", "all", "everything"]);
}

#[test]
fn a_target_is_read_key_by_key() {
    let manifest = read(WHOLE);
    let [build, check, _, group, target] = &manifest.targets[..] else { panic!("five targets") };
    assert_eq!(values(&build.aliases), ["cpython"]);
    assert!(
        matches!(&build.work, Work::Run(run) if run.value == "tasks/cpython/build.sh {{ python }} {{ build }}")
    );
    assert_eq!((build.timeout_ms, build.cpus), (Some(10_800_000), Some(Amount::Count(2))));
    assert_eq!(values(&build.probes), ["gcc --version", "dpkg-query -W libssl-dev"]);
    assert!(build.rare.is_none() && build.inputs.is_some());
    assert_eq!(
        check.for_each.as_ref().map(|each| (each.glob.value.as_str(), each.batch)),
        Some(("tasks/**/*.sh", None))
    );
    assert!(matches!(group.work, Work::Group) && group.inputs.is_none());
    assert_eq!(group.deps[1].target.value, "m[db=pg]");
    assert_eq!(group.deps[2].vars[0].1.value, "2");

    assert!(matches!(&target.work, Work::Exec(argv) if values(argv) == ["make", ""]));
    assert_eq!(target.for_each.as_ref().unwrap().batch, Some(8));
    let axes: Vec<_> =
        target.matrix.iter().map(|(axis, values_of)| (axis.value.as_str(), values(values_of))).collect();
    assert_eq!(axes, [("py", vec!["3.11", "3.12"]), ("db", vec!["pg", "maria"])]);
    assert_eq!((target.cache, target.remote, target.relocatable), (Some(false), Some(false), Some(false)));
    assert_eq!((target.cpus, target.exclusive, target.keep_outputs), (Some(Amount::All), true, true));
    let rare = target.rare.as_ref().unwrap();
    assert_eq!(
        (rare.valid_for_ms, rare.memory_bytes, rare.severity),
        (Some(86_400_000), Some(2 << 30), Severity::Warn)
    );
    let retain = rare.retain.unwrap();
    assert_eq!((retain.age_ms, retain.last), (Some(2_592_000_000), Some(3)));
    let retry = rare.retry.as_ref().unwrap();
    assert_eq!(
        (retry.attempts, retry.delay_ms, retry.max_delay_ms, &retry.on_exit[..]),
        (3, 50, Some(5000), &[7, 9][..])
    );
    let when = rare.when.as_ref().unwrap();
    assert_eq!((values(&when.os), values(&when.exists)), (vec!["linux"], vec!["a", "b"]));
    assert!(
        matches!(&rare.requires[0].need, Need::Tool { version: Some(version), .. } if version.value == ">=2.3")
    );
    assert!(matches!(rare.requires[1].need, Need::DiskBytes(size) if size == 50 << 30));
    assert_eq!((rare.interactive, values(&rare.finally), rare.platform.len()), (true, vec!["report"], 1));
}

#[test]
fn a_service_is_read_key_by_key() {
    let manifest = read(WHOLE);
    let [postgres, web] = &manifest.services[..] else { panic!("two services") };
    assert_eq!(postgres.port, Some(Port::Auto));
    let ready = postgres.ready.as_ref().unwrap();
    assert!(matches!(&ready.probe, Probe::Run(run) if run.value.starts_with("pg_isready")));
    assert_eq!((ready.interval_ms, ready.timeout_ms), (Some(200), Some(30_000)));
    assert_eq!((web.port, web.keep_data, web.stop_grace_ms), (Some(Port::Fixed(8080)), true, Some(5000)));
    assert_eq!(web.stop_signal.as_ref().unwrap().value, "SIGINT");
}

#[test]
fn forms_people_write_are_accepted() {
    for text in [
        "",
        "\n# nothing\n",
        "\u{feff}[target.a]\nrun = \"x\"",
        "[target.a]\r\nrun = \"x\"\r\n",
        "[target]\na = { run = \"x\" }\nb = { deps = [\"a\"] }",
        "target.a.run = \"x\"",
        "[target.a]\nrun = '''\nset -e\nx\n'''\n",
        "[target.a]\nvars.x = 1\nenv.A = true\nrun = \"x\"",
        "[target.\"a.b/c-d_1\"]\nrun = \"x\"",
        "[target.1]\nrun = \"x\"",
        "[target.a]\nrun = \"x\"\n[target.a.env]\nA = \"\"\n[target.b]\nrun = \"y\"",
        "[target.a]\nrun = \"x\"\ninputs = []",
        "[target.a]\ndeps = [\"x\"]",
        "[[target.a.requires]]\ntool = \"git\"\n[[target.a.requires]]\nmemory = 4096",
        "[target.a]\nrun = \"x\"\nwhen = { os = [\"linux\", \"macos\"], env = \"CI\" }",
        "[pool]\nnet.slots = 2",
        "iact = \"*\"",
    ] {
        read(text);
    }
}

#[test]
fn targets_and_tables_keep_the_order_of_the_file() {
    let manifest =
        parsed("[target.z]\nrun = \"x\"\nenv = { Z = \"1\", A = \"2\" }\n[target.a]\nrun = \"x\"").unwrap();
    assert_eq!(manifest.targets[0].name.value, "z");
    assert_eq!(manifest.targets[0].env[0].0.value, "Z");
}

/// A value of a shape.
fn minimal(shape: &Shape) -> String {
    match shape {
        Shape::Text | Shape::Word | Shape::Name(_) | Shape::EnvName => "\"w\"".into(),
        Shape::Bool => "true".into(),
        Shape::Count { .. } | Shape::Amount | Shape::Port | Shape::Size => "1".into(),
        Shape::Duration => "\"1s\"".into(),
        Shape::Version => "\"*\"".into(),
        Shape::Choice(of) => format!("{:?}", of[0]),
        Shape::List { of, .. } | Shape::OneOrMore(of) => format!("[{}]", minimal(of)),
        Shape::Values(_) => "{ x = \"y\" }".into(),
        Shape::Axes => "{ x = [\"y\"] }".into(),
        Shape::Axis => "[\"y\"]".into(),
        Shape::Table(fields) => format!("{{ {} }}", enough(fields, None)),
        Shape::Named(_, fields) => format!("{{ x = {{ {} }} }}", enough(fields, None)),
        Shape::TextOr(text, _) => minimal(text),
    }
}

/// One key with a value, and what the rules want beside it.
fn enough(fields: &Fields, key: Option<(&str, String)>) -> String {
    let mut keys: Vec<&str> = key.iter().map(|(name, _)| *name).collect();
    for rule in fields.rules {
        let none_of = |of: &[&str]| !of.iter().any(|name| keys.contains(name));
        let wanted = match rule {
            Rule::Needs(name) => *name,
            Rule::ExactlyOne(of) | Rule::AtLeastOne(of) if none_of(of) => of[0],
            Rule::OnlyWith(names, of) if !none_of(names) && none_of(of) => of[0],
            _ => continue,
        };
        if !keys.contains(&wanted) {
            keys.push(wanted);
        }
    }
    let value = |name: &&str| match &key {
        Some((key, value)) if key == name => format!("{name} = {value}"),
        _ => format!("{name} = {}", minimal(&fields.row(name).unwrap().shape)),
    };
    keys.iter().map(value).collect::<Vec<_>>().join(", ")
}

/// A file for every key there is.
fn files_with_every_key(fields: &'static Fields, wrap: &dyn Fn(String) -> String, found: &mut Vec<String>) {
    for row in fields.rows {
        found.push(wrap(enough(fields, Some((row.name, minimal(&row.shape))))));
        let mut inside = |inner: &'static Fields, open: &str, close: &str| {
            let wrap = |text: String| wrap(enough(fields, Some((row.name, format!("{open}{text}{close}")))));
            files_with_every_key(inner, &wrap, found);
        };
        match &row.shape {
            Shape::Table(inner) | Shape::TextOr(_, inner) => inside(inner, "{ ", " }"),
            Shape::List { of: Shape::Table(inner) | Shape::TextOr(_, inner), .. } => {
                inside(inner, "[{ ", " }]")
            }
            Shape::Named(_, inner) => inside(inner, "{ x = { ", " } }"),
            _ => {}
        }
    }
}

#[test]
fn every_key_is_either_there_or_said_to_be_missing() {
    let mut files = Vec::new();
    files_with_every_key(&keys::ROOT, &|text| text, &mut files);
    assert!(files.len() > 120, "{}", files.len());
    for file in files {
        read(&file);
    }
}

#[test]
fn a_part_of_a_text_has_its_own_place() {
    for (written, part, found) in [
        (r#""echo {{ x }}""#, "{{ x }}", "{{ x }}"),
        (r#"'echo {{ x }}'"#, "{{ x }}", "{{ x }}"),
        (r#""\"é\" \u00e9 {{ x }}""#, "{{ x }}", "{{ x }}"),
        ("'''\na\n{{ x }}\n'''", "{{ x }}", "{{ x }}"),
        ("\"\"\"\na \\\n   b\\t\n{{ x }} c\"\"\"", "{{ x }}", "{{ x }}"),
        (r#""a\tb""#, "\t", r"\t"),
        ("\"\"\"\r\na\r\n{{ x }}\"\"\"", "{{ x }}", "{{ x }}"),
        (r#""x""#, "x", "x"),
        ("12", "12", "12"),
    ] {
        let manifest = parsed(&format!("# é\n[vars]\nv = {written}\n")).unwrap();
        let text = &manifest.vars[0].1;
        let at = text.value.find(part).unwrap();
        let span = text.within(&manifest.source, at..at + part.len());
        assert_eq!(&manifest.source.text[span.start as usize..span.end as usize], found, "{written}");
    }
}

#[test]
fn bytes_that_are_no_text_are_refused_where_they_are() {
    let wrong = decode("Iactfile.toml", b"a = 1\nb = \"\xff\"".to_vec()).unwrap_err();
    assert_eq!((line_and_column(&wrong), wrong.message.as_str()), ((2, 6), "not UTF-8"));
    let wrong = decode("x/Iactfile.toml", vec![b' '; MAX_BYTES + 1]).unwrap_err();
    assert_eq!(wrong.message, "`x/Iactfile.toml` is larger than 10.0 MiB");
    assert!(parsed(&" ".repeat(MAX_BYTES + 1)).is_err());
}

#[test]
fn nesting_does_not_exhaust_the_stack() {
    let many = 200_000;
    for text in [
        format!("a = {}", "[".repeat(many)),
        format!("a = {}{}", "[".repeat(100), "]".repeat(100)),
        format!("a = {}", "{a=".repeat(many)),
        format!("a = {}1{}", "{a=".repeat(129), "}".repeat(129)),
        format!("{}a = 1", "a.".repeat(many)),
        format!("[{}a]", "a.".repeat(many)),
        format!("[[{}a]]", "a.".repeat(many)),
        "[".repeat(many),
        "[a]\n".repeat(1000) + &"[[".repeat(many),
        format!("target.a.run = {}", "\"\"\"".repeat(many)),
    ] {
        let wrong = parsed(&text).unwrap_err();
        assert!(wrong.place.is_some() && wrong.message.len() < 200, "{wrong}");
    }
    assert_eq!(parsed(&format!("a = {}", "[".repeat(129))).unwrap_err().message, "nested too deeply");
}

fn survives(text: &str) -> Result<(), TestCaseError> {
    match parsed(text) {
        Ok(manifest) => {
            for target in &manifest.targets {
                prop_assert!(
                    text.get(target.name.span.start as usize..target.name.span.end as usize).is_some()
                );
            }
        }
        Err(wrong) => {
            let place = wrong.place.expect("a mistake in a file has a place");
            prop_assert!(
                text.get(place.span.start as usize..place.span.end as usize).is_some(),
                "{:?}",
                place.span
            );
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes_give_a_manifest_or_a_mistake(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(source) = decode("x", bytes) {
            survives(&source.text)?;
        }
    }

    #[test]
    fn any_toml_like_text_gives_a_manifest_or_a_mistake(text in "([\\[\\]{}=.,\"'#\n a-cé]|target|run|vars|= \"x\"\n|\\[target\\.a\\]\n){0,60}") {
        survives(&text)?;
    }

    #[test]
    fn a_changed_file_gives_a_manifest_or_a_mistake(
        changes in proptest::collection::vec((0..WHOLE.len(), 0..6usize, "[\\[\\]{}=.,\"'#\n \\\\0-9a-cé]{0,3}"), 1..4),
    ) {
        let mut text: Vec<char> = WHOLE.chars().collect();
        for (at, gone, new) in changes {
            let at = at.min(text.len());
            let end = (at + gone).min(text.len());
            text.splice(at..end, new.chars());
        }
        survives(&text.into_iter().collect::<String>())?;
    }
}

#[test]
fn a_matrix_has_a_limit() {
    let axis = |name: &str, count: usize| {
        let values: Vec<String> = (0..count).map(|value| value.to_string()).collect();
        format!("{name} = [{}]", values.join(", "))
    };
    let file = |first: usize| {
        format!(
            "[target.a]\nrun = \"x\"\nmatrix = {{ {}, {}, {} }}",
            axis("a", first),
            axis("b", 10),
            axis("c", 100)
        )
    };
    parsed(&file(10)).expect("ten thousand are enough");
    let wrong = parsed(&file(11)).expect_err("more are not");
    assert_eq!(line_and_column(&wrong), (3, 10));
    assert_eq!(wrong.message, "`matrix` has 11000 combinations, and at most 10000 may be");
}
