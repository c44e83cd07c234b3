//! Values reach real shells as the data they are, wherever in a script they stand.
#![allow(clippy::disallowed_methods, reason = "shell: asks bash and sh what they understood")]

use iact::template::{Layer, Quoting, Scope, Templates, Value};
use proptest::prelude::*;
use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;

/// What a shell prints for a script, as bytes.
fn says(shell: &str, script: &str) -> Vec<u8> {
    let mut child = Command::new(shell)
        .env_clear()
        .env("PATH", "/usr/bin:/bin")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the shell is installed");
    let written = child.stdin.take().expect("piped").write_all(script.as_bytes());
    let output = child.wait_with_output().expect("the shell ends");
    written.expect("the shell reads its script");
    assert!(output.status.success(), "{shell}: {script:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

fn scope(values: &[String]) -> Scope {
    let mut layer = Layer::default();
    layer.set("v", Value::Text(values[0].clone()));
    layer.set("list", Value::List(values.to_vec()));
    Scope::new([Arc::new(layer)])
}

/// Scripts that print the value and a NUL, for every place a value can stand in.
const PLACES: &[&str] = &[
    "printf '%s\\0' {{ v }}",
    "printf '%s\\0' \"{{ v }}\"",
    "printf '%s\\0' '{{ v }}'",
    "printf '%s\\0' \"$(printf '%s.' {{ v }})\" | sed -z 's/\\.$//'",
    "printf '%s\\0' \"$(printf '%s.' \"{{ v }}\")\" | sed -z 's/\\.$//'",
    "x={{ v }}; printf '%s\\0' \"$x\"",
    "x=\"{{ v }}\"; printf '%s\\0' \"$x\"",
    "# it's {{ v }}\nprintf '%s\\0' {{ v }}",
    "case {{ v }} in \"{{ v }}\") printf '%s\\0' {{ v }};; esac",
    "echo \"$(case a in a) echo b;; esac)\" >/dev/null; printf '%s\\0' {{ v }}",
    "echo $((1 << 2)) > /dev/null; printf '%s\\0' {{ v }}",
    "f() ( printf '%s\\0' \"$1\" ); f {{ v }}",
    "{ printf '%s\\0' {{ v }}; }",
    "if true; then printf '%s\\0' {{ v }}; fi # it's {{ v }}",
];

/// The same for places only bash knows.
const BASH_PLACES: &[&str] = &[
    "printf '%s\\0' $'{{ v }}'",
    "a=({{ v }}); printf '%s\\0' \"${a[0]}\"",
    "[[ x{{ v }} == \"x{{ v }}\" ]] && printf '%s\\0' {{ v }}",
    "[[ {{ v }} == \"{{ v }}\" ]] && printf '%s\\0' {{ v }}",
    "printf '%s\\0' ${nothing:-\"{{ v }}\"}",
    "IFS= read -r -d '' x <<< {{ v }} || true; printf '%s\\0' \"${x%?}\"",
];

/// Where a value with a single quote or an arrow is refused.
const QUOTED_PARAMETER: &[&str] = &["printf '%s\\0' \"${nothing:-{{ v }}}\""];

fn every_place(values: &[String]) {
    let (templates, scope) = (Templates::new(), scope(values));
    let in_shell = |shell: &str, places: &[&str]| {
        let mut script = String::new();
        for place in places {
            script += &templates.render(place, &scope, Quoting::Shell).expect("a value can stand there");
            script.push('\n');
        }
        let list =
            templates.render("printf '%s\\0' {{ list }}\n", &scope, Quoting::Shell).expect("a list can");
        let said = says(shell, &format!("{script}{list}"));
        let mut said: Vec<&[u8]> = said.split(|byte| *byte == 0).collect();
        assert_eq!(said.pop(), Some(&b""[..]));
        assert_eq!(said.len(), places.len() + values.len(), "{shell}: {script}");
        let expected = std::iter::repeat_n(&values[0], places.len()).chain(values);
        for (at, (said, meant)) in said.iter().zip(expected).enumerate() {
            assert_eq!(said, &meant.as_bytes(), "{shell}: {:?}", places.get(at));
        }
    };
    in_shell("sh", PLACES);
    in_shell("bash", PLACES);
    in_shell("bash", BASH_PLACES);
    if !values[0].contains(['\'', '<', '>']) {
        in_shell("sh", QUOTED_PARAMETER);
        in_shell("bash", QUOTED_PARAMETER);
    }
}

#[test]
fn every_character_arrives() {
    let ascii: String = (1u8..=127).map(char::from).collect();
    every_place(&[
        ascii,
        String::new(),
        (128..0x250).filter_map(char::from_u32).collect(),
        "\u{10FFFF}".into(),
    ]);
    for code in 1u8..=127 {
        let (templates, c) = (Templates::new(), char::from(code));
        let scope = scope(&[c.to_string()]);
        let script =
            templates.render("printf %s {{ v }}x{{ v }}", &scope, Quoting::Shell).expect("a character can");
        assert_eq!(says("sh", &script), format!("{c}x{c}").into_bytes());
    }
}

#[test]
fn nothing_of_a_value_is_executed() {
    for evil in [
        "$(printf pwned)",
        "`printf pwned`",
        "'; printf pwned; '",
        "\"; printf pwned; \"",
        "\\'; printf pwned; \\'",
        "\n printf pwned \n",
        "}; printf pwned; {",
        ") printf pwned;; esac",
        "* ? [a-z] ~ {a,b} !! #",
        "a=b",
        "if",
        "-n",
        "trailing newlines\n\n",
        "\\",
        "\\\\",
        "'",
        "\"",
    ] {
        every_place(&[evil.to_owned(), format!("x{evil}y")]);
    }
}

#[test]
fn a_here_document_holds_values() {
    let templates = Templates::new();
    for (script, shell) in [
        ("cat <<END\nit's {{ v }} \"x\"\nEND\nprintf %s {{ v }}", "sh"),
        ("cat <<-END\n\tit's {{ v }} \"x\"\n\tEND\nprintf %s {{ v }}", "sh"),
        ("cat <<'END'\nit's {{ v }} \"x\"\nEND\nprintf %s {{ v }}", "bash"),
        ("cat << \\END\nit's {{ v }} \"x\"\nEND\nprintf %s {{ v }}", "bash"),
    ] {
        for value in ["$(x)`y`\\ '\"$HOME", "plain", "END x", "a\nb"] {
            let rendered = templates
                .render(script, &scope(&[value.into()]), Quoting::Shell)
                .expect("it does not end it");
            assert_eq!(
                String::from_utf8_lossy(&says(shell, &rendered)),
                format!("it's {value} \"x\"\n{value}")
            );
        }
    }
}

#[test]
fn a_number_before_an_arrow_is_no_descriptor() {
    let rendered =
        Templates::new().render("printf %s {{ v }}>/dev/stdout", &scope(&["2".into()]), Quoting::Shell);
    assert_eq!(says("sh", &rendered.expect("it can")), b"2");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_text_arrives(first in "[^\0]{0,24}", nasty in "[ '\"$`\\\\(){}\\[\\]#~*?!;&|<>=\n\t%@a-c1-2-]{0,24}") {
        every_place(&[nasty, first]);
    }
}
