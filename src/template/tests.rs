//! Templates: values, quoting, mistakes and their places.

use super::*;

#[derive(Debug)]
struct Answers;

impl Lookup for Answers {
    fn outs_of(&self, target: &str) -> Result<Vec<String>, String> {
        match target {
            "app" => Ok(vec!["dist/a b".into(), "dist/c".into()]),
            "lint" => Ok(Vec::new()),
            _ => Err(format!("`{target}` is not a dependency")),
        }
    }

    fn exported(&self, target: &str, name: &str) -> Result<String, String> {
        if name == "KEY" { Ok("v 1".into()) } else { Err(format!("`{target}` exports no `{name}`")) }
    }

    fn exporters(&self, target: &str, _: &str) -> Result<Vec<String>, String> {
        Ok(vec![target.into()])
    }

    fn port_of(&self, service: &str) -> Result<String, String> {
        if service == "db" { Ok("5432".into()) } else { Err(format!("no service `{service}`")) }
    }
}

fn scope() -> Scope {
    let mut weak = Layer::default();
    for (name, text) in [("who", "weak"), ("python", "3.12.6"), ("empty", ""), ("evil", "a'; $(b)")] {
        weak.set_text(name, text);
    }
    weak.set("files", Value::Files(vec![File { path: "src/a b.sh".into() }, File { path: "c.sh".into() }]));
    weak.set("file", Value::File(File { path: "src/a b.sh".into() }));
    weak.set("args", Value::List(vec!["x".into(), "".into(), "y z".into()]));
    weak.set("none_at_all", Value::List(Vec::new()));
    let mut strong = Layer::default();
    strong.set_text("who", "strong");
    Scope::new([Arc::new(strong), Arc::new(weak)]).with_lookup(Arc::new(Answers))
}

#[test]
fn a_text_without_braces_is_not_touched() {
    let rendered = Templates::new().render("echo { } %} #} \\n", &Scope::default(), Quoting::Shell).unwrap();
    assert!(matches!(rendered, Cow::Borrowed("echo { } %} #} \\n")));
}

#[test]
fn values_are_rendered_quoted_or_plain() {
    let templates = Templates::new();
    for (text, shell, plain) in [
        ("{{ who }}", "strong", "strong"),
        ("{{ evil }}", r"'a'\''; $(b)'", "a'; $(b)"),
        ("{{ evil | raw }}", "a'; $(b)", "a'; $(b)"),
        ("\"{{ evil }}\"", "\"a'; \\$(b)\"", "\"a'; $(b)\""),
        ("x{{ empty }}", "x''", "x"),
        ("{{ files }}", "'src/a b.sh' c.sh", "src/a b.sh c.sh"),
        ("{{ files | raw }}", "src/a b.sh c.sh", "src/a b.sh c.sh"),
        ("{{ args }}", "x '' 'y z'", "x  y z"),
        ("[{{ none_at_all }}]", "[]", "[]"),
        ("{{ file }}", "'src/a b.sh'", "src/a b.sh"),
        ("{{ file.stem }}/{{ file.dir }}", "'a b'/src", "a b/src"),
        ("{{ file ~ '.o' }}", "'src/a b.sh.o'", "src/a b.sh.o"),
        ("{{ file | replace('.sh', '.o') }}", "'src/a b.o'", "src/a b.o"),
        ("{% for f in files %}{{ f.stem }};{% endfor %}", "'a b';c;", "a b;c;"),
        ("{{ files | join(',') }}", "'src/a b.sh,c.sh'", "src/a b.sh,c.sh"),
        ("{{ '-g' if who == 'weak' }}|", "|", "|"),
        ("{% if python is startingwith '3' %}y{% else %}n{% endif %}", "y", "y"),
        ("{{ nobody | default('d e') }}", "'d e'", "d e"),
        ("{% set x %}-o {{ evil }}{% endset %}{{ x }}", r"-o 'a'\''; $(b)'", "-o a'; $(b)"),
        ("{% autoescape false %}{{ evil }}{% endautoescape %}", r"'a'\''; $(b)'", "a'; $(b)"),
        ("{# no #}{{ 1 + 2 }}{{ true }}", "3true", "3true"),
        ("echo ${#x} {{ who }} ${y#}", "echo ${#x} strong ${y#}", "echo ${#x} strong ${y#}"),
        ("{{ out_of('app') }}", "'dist/a b'", "dist/a b"),
        ("{{ outs_of('app') }}", "'dist/a b' dist/c", "dist/a b dist/c"),
        ("{{ exports('x').KEY }}", "'v 1'", "v 1"),
        ("{{ service.db.port }}", "5432", "5432"),
        ("{{ python.split('.') | first if false else python }}", "3.12.6", "3.12.6"),
        ("{% raw %}{{ x }}{% endraw %}", "{{ x }}", "{{ x }}"),
        ("a\n{{ who }}\n", "a\nstrong\n", "a\nstrong\n"),
    ] {
        assert_eq!(templates.render(text, &scope(), Quoting::Shell).as_deref(), Ok(shell), "{text}");
        assert_eq!(templates.render(text, &scope(), Quoting::None).as_deref(), Ok(plain), "{text}");
    }
}

#[test]
fn mistakes_say_what_and_where() {
    const RAW: Option<&str> =
        Some("braces meant for the command stand between `{% raw %}` and `{% endraw %}`");
    let templates = Templates::new();
    for (text, message, part, undefined, hint) in [
        (
            "echo {{ pyhton }} x",
            "undefined name `pyhton`",
            "pyhton",
            Some("pyhton"),
            Some("did you mean `python`?"),
        ),
        ("{{ nope }}", "undefined name `nope`", "nope", Some("nope"), None),
        ("{% if nope %}{% endif %}", "undefined name `nope`", "nope", Some("nope"), None),
        (
            "{{ file.stm }}",
            "undefined name `file.stm`",
            "file.stm",
            Some("file.stm"),
            Some("`file` has `stem` and `dir`"),
        ),
        (
            "{{ out_off('x') }}",
            "unknown function `out_off`",
            "out_off('x')",
            Some("out_off"),
            Some("did you mean `out_of`?"),
        ),
        ("{{ outs_of('x') }}", "`x` is not a dependency", "outs_of('x')", None, None),
        ("{{ out_of('lint') }}", "`lint` has no outputs", "out_of('lint')", None, None),
        ("{{ outs_of() }}", "it takes one argument, the name of a target", "outs_of()", None, None),
        ("{{ exports('x').NO }}", "`x` exports no `NO`", "('x').NO", None, None),
        ("{{ service.no.port }}", "no service `no`", ".no.port", None, None),
        ("{{ who | safe }}", "unknown filter `safe`", "safe", None, None),
        ("{{ who is odder }}", "unknown test `odder`", "odder", None, None),
        (
            "a {{ who",
            "not a template: unexpected end of input, expected end of variable block",
            "who",
            None,
            RAW,
        ),
        ("{{ {'a': 1} }}", "a table can not be inserted; ask for one of its entries", "{'a': 1}", None, None),
        ("{{ none }}", "`none` is no value to insert", "none", None, None),
        ("{{ [[1]] }}", "a list of lists or tables can not be inserted", "[[1]]", None, None),
        (
            "{{ '\\u0000' }}",
            "a value holds a NUL, which no command, path or variable can",
            "'\\u0000'",
            None,
            None,
        ),
        ("\\{{ who }}", "a value can not follow a backslash", "\\{{ who }}", None, None),
        ("{% include 'x' %}", "not a template: unknown statement include", "include", None, RAW),
        ("docker ps --format '{{.Names}}'", "not a template: unexpected `.`", ".", None, RAW),
    ] {
        let wrong = templates.render(text, &scope(), Quoting::Shell).unwrap_err();
        let found = (
            wrong.message.as_str(),
            &text[wrong.range.clone()],
            wrong.undefined.as_deref(),
            wrong.hint.as_deref(),
        );
        assert_eq!(found, (message, part, undefined, hint), "{text}");
    }
}

#[test]
fn a_template_ends_soon_and_stays_small() {
    let templates = Templates::new();
    for text in [
        "{% for a in range(9999) %}{% for b in range(9999) %}{{ a }}{% endfor %}{% endfor %}",
        "{{ 'x' * 99999999 }}",
        "{% for a in range(99999) %}{{ 'x' * 1000 }}{% endfor %}",
    ] {
        assert!(templates.render(text, &scope(), Quoting::None).is_err(), "{text}");
    }
    let deep = format!("{{{{ {}1{} }}}}", "(".repeat(100_000), ")".repeat(100_000));
    assert!(templates.render(&deep, &scope(), Quoting::None).is_err());
}

#[test]
fn the_names_a_text_uses_are_known_without_rendering() {
    let templates = Templates::new();
    assert_eq!(templates.uses("echo").unwrap(), None);
    let uses = templates
        .uses("{{ python }} {% set x = 1 %}{{ x }}{% for f in files %}{{ f.stem }}{% endfor %}{{ service.db.port }}{{ out_of('a') }}")
        .unwrap()
        .unwrap();
    assert_eq!(uses.names().collect::<Vec<_>>(), ["files", "out_of", "python", "service"]);
    assert_eq!(uses.services().collect::<Vec<_>>(), ["db"]);
    assert!(uses.is_late() && uses.has("python") && !uses.has("x"));
    assert!(!templates.uses("{{ python }}").unwrap().unwrap().is_late());
    assert!(templates.uses("{{ exports('a').B }}").unwrap().unwrap().is_late());
    assert!(templates.uses("{{ a").is_err());
}

#[test]
fn a_file_knows_its_parts() {
    for (path, stem, dir) in [
        ("tasks/db/dump.sh", "dump", "tasks/db"),
        ("dump.sh", "dump", "."),
        ("a/.env", ".env", "a"),
        ("a/x.tar.gz", "x.tar", "a"),
        ("a/Makefile", "Makefile", "a"),
    ] {
        let file = File { path: path.into() };
        assert_eq!((file.stem(), file.dir()), (stem, dir));
    }
}

#[test]
fn the_engine_is_shared_between_threads() {
    fn shared<T: Send + Sync>() {}
    shared::<(Templates, Scope, Layer)>();
}
