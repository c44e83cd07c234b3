//! What people read, letter by letter. The only tests that compare whole messages; a change of wording is a
//! change here.

use super::diagnostic;
use super::facts::Facts;
use super::graph::{self, Edge, EdgeKind, Node, NodeKind};
use super::look::{Look, Output};
use super::model::Model;
use super::paint::Paint;
use super::phrase;
use super::render::{Frame, render};
use super::table::{self, Column, Fact, ListRow, Style};
use super::talk::Talk;
use super::voices::{KEPT_BYTES, Piece};
use crate::cli::{self, ColorWhen, OutputMode};
use crate::decision::Reason;
use crate::error::{Error, Kind, Source, Span};
use crate::report::{Finished, Forecast, Outcome, Report, RunFinished, SCHEMA, Stream};
use console::measure_text_width;
use std::sync::Arc;

const PLAIN: Style = Style { paint: Paint(false), columns: None };

fn look(output: Output) -> Look {
    let facts = Facts { dumb_terminal: true, ..Facts::default() };
    Look { output, ..Look::new(&cli::Look::default(), None, &facts) }
}

fn begin(actions: u32) -> Report {
    Report::RunStarted { schema: SCHEMA, goals: vec!["all".into()], actions, jobs: 2 }
}

fn start(target: &str) -> Report {
    Report::Started { target: target.into(), reason: Reason::Always, expected_ms: None }
}

fn out(target: &str, text: &str) -> Report {
    Report::Output { target: target.into(), stream: Stream::Stdout, text: text.into() }
}

fn err(target: &str, text: &str) -> Report {
    Report::Output { target: target.into(), stream: Stream::Stderr, text: text.into() }
}

fn end(target: &str, outcome: Outcome) -> Finished {
    Finished {
        target: target.into(),
        outcome,
        exit_code: match outcome {
            Outcome::Executed => Some(0),
            Outcome::Failed => Some(1),
            _ => None,
        },
        duration_ms: 2100,
        fingerprint: None,
        cached_from: None,
        saved_ms: 0,
        message: None,
        reason: (outcome == Outcome::Executed).then(|| Reason::InputChanged { path: "src/a.c".into() }),
        severity: None,
        log: None,
    }
}

/// It failed, and its log holds what it wrote.
fn failure(target: &str) -> Finished {
    Finished { log: Some("/logs/it".into()), ..end(target, Outcome::Failed) }
}

fn told(look: &Look, reports: &[Report]) -> String {
    let mut talk = Talk::new(look);
    let mut text = String::new();
    for piece in reports.iter().flat_map(|report| talk.report(report)) {
        match piece {
            Piece::Own(words) | Piece::Answer(words) => text.push_str(&words),
            Piece::Said(_, lines) => {
                assert!(lines.ends_with(b"\n"), "only whole lines leave");
                text.push_str(&String::from_utf8(lines).unwrap());
            }
            Piece::Log(path) => text.push_str(&format!("<{}>\n", path.display())),
        }
    }
    text
}

fn two_at_once() -> Vec<Report> {
    vec![
        begin(5),
        Report::Finished(end("fresh", Outcome::UpToDate)),
        start("one"),
        start("two"),
        out("one", "one 1\n"),
        err("two", "two 1\ntwo "),
        out("one", "one 2\none"),
        err("two", "2"),
        Report::Finished(failure("two")),
        out("one", " 3\n"),
        Report::Finished(end("one", Outcome::Executed)),
        Report::Finished(Finished { message: Some("two failed".into()), ..end("three", Outcome::Skipped) }),
        Report::Finished(end("cached", Outcome::Cached)),
        Report::RunFinished(RunFinished {
            executed: 1,
            cached: 1,
            up_to_date: 1,
            failed: 1,
            skipped: 1,
            duration_ms: 4200,
            saved_ms: 63_000,
            ..RunFinished::default()
        }),
    ]
}

#[test]
fn a_run_in_groups() {
    let wanted = "\
── two
two 1
two 2
failed: two (exit 1) after 2.1s
── one
one 1
one 2
one 3
one  executed in 2.1s (input changed: src/a.c)
three  skipped (two failed)
hint: `iact log two` shows its output again
failed: 1 failed, 1 skipped, 1 executed, 1 cached, 1 up to date (saved 1m03s) in 4.2s
";
    assert_eq!(told(&look(Output::Group), &two_at_once()), wanted);
}

#[test]
fn a_run_live_lets_one_speak_at_a_time() {
    let wanted = "\
── one
one 1
one 2
── two
two 1
two 2
failed: two (exit 1) after 2.1s
── one
one 3
one  executed in 2.1s (input changed: src/a.c)
";
    assert!(told(&look(Output::Live), &two_at_once()).starts_with(wanted));
}

#[test]
fn a_run_live_passes_the_floor_to_who_waited_longest() {
    let reports = [
        begin(3),
        start("one"),
        start("two"),
        start("three"),
        out("one", "1\n"),
        out("three", "3\n"),
        out("two", "2\nand"),
        Report::Finished(end("one", Outcome::Executed)),
        out("three", "3 again\n"),
        out("two", " on\n"),
        Report::Finished(end("two", Outcome::Executed)),
    ];
    let wanted = "\
── one
1
one  executed in 2.1s (input changed: src/a.c)
── two
2
and on
two  executed in 2.1s (input changed: src/a.c)
── three
3
3 again
";
    assert_eq!(told(&look(Output::Live), &reports), wanted);
}

#[test]
fn a_run_as_a_stream() {
    let wanted = "\
one | one 1
two | two 1
one | one 2
two | two 2
failed: two (exit 1) after 2.1s
one | one 3
one  executed in 2.1s (input changed: src/a.c)
";
    assert!(told(&look(Output::Stream), &two_at_once()).starts_with(wanted));
}

#[test]
fn a_run_with_the_output_of_failures_only_and_with_none() {
    let errors = "\
── two
two 1
two 2
failed: two (exit 1) after 2.1s
one  executed in 2.1s (input changed: src/a.c)
";
    assert!(told(&look(Output::Errors), &two_at_once()).starts_with(errors));
    let none = "failed: two (exit 1) after 2.1s\none  executed in 2.1s (input changed: src/a.c)\n";
    assert!(told(&look(Output::None), &two_at_once()).starts_with(none));
    let quiet = Look { quiet: true, ..look(Output::Errors) };
    let quietly = "── two\ntwo 1\ntwo 2\nfailed: two (exit 1) after 2.1s\n";
    assert_eq!(told(&quiet, &two_at_once()), quietly);
}

#[test]
fn a_run_on_github() {
    let github = Look { github: true, ..look(Output::Group) };
    let wanted = "\
::group::two
two 1
two 2
::endgroup::
::error title=two::two failed (exit 1)
failed: two (exit 1) after 2.1s
::group::one
one 1
one 2
one 3
::endgroup::
one  executed in 2.1s (input changed: src/a.c)
";
    assert!(told(&github, &two_at_once()).starts_with(wanted));
    let odd =
        [Report::Finished(Finished { message: Some("50%\n::x".into()), ..end("a:b,c", Outcome::Failed) })];
    assert!(told(&github, &odd).starts_with("::error title=a%3Ab%2Cc::a:b,c failed (50%25␊::x)\n"));
}

#[test]
fn a_run_of_one_action_says_its_name_once() {
    let done =
        |finished, totals| [begin(1), start("hello"), out("hello", "hi"), Report::Finished(finished), totals];
    let fine = Report::RunFinished(RunFinished { ok: true, executed: 1, ..RunFinished::default() });
    assert_eq!(
        told(&look(Output::Live), &done(end("hello", Outcome::Executed), fine)),
        "hi\nhello  executed in 2.1s (input changed: src/a.c)\n"
    );
    let failed = Report::RunFinished(RunFinished { failed: 1, ..RunFinished::default() });
    assert_eq!(
        told(&look(Output::Group), &done(failure("hello"), failed.clone())),
        "hi\nfailed: hello (exit 1) after 2.1s\nhint: `iact log hello` shows its output again\n"
    );
    assert_eq!(
        told(&look(Output::Group), &done(end("hello", Outcome::Failed), failed)),
        "hi\nfailed: hello (exit 1) after 2.1s\n",
        "what could not be kept cannot be shown again"
    );
    let fresh = RunFinished { ok: true, up_to_date: 1, duration_ms: 3, ..RunFinished::default() };
    let reports = [begin(1), Report::Finished(end("hello", Outcome::UpToDate)), Report::RunFinished(fresh)];
    assert_eq!(told(&look(Output::Live), &reports), "done: 1 up to date in 3ms\n");
    let nothing = RunFinished { ok: true, ..RunFinished::default() };
    assert_eq!(
        told(&look(Output::Live), &[begin(0), Report::RunFinished(nothing)]),
        "done: nothing to do in 0ms\n"
    );
}

#[test]
fn what_would_be_done() {
    let plan = |target: &str, decision, reason| Report::Planned { target: target.into(), decision, reason };
    let reports = [
        begin(4),
        plan("a", Forecast::Run, Some(Reason::InputChanged { path: "src/a.c".into() })),
        plan("b", Forecast::Restore, Some(Reason::OutputMissing { path: "out/b".into() })),
        plan("c", Forecast::UpToDate, None),
        Report::RunFinished(RunFinished { ok: true, ..RunFinished::default() }),
    ];
    let wanted = "\
run      a  (input changed: src/a.c)
restore  b  (output missing: out/b)
1 to run, 1 to restore, 1 up to date
";
    assert_eq!(told(&look(Output::Group), &reports), wanted);
}

#[test]
fn much_output_is_bounded_in_memory_and_comes_whole_from_the_log() {
    let mut reports = vec![begin(2), start("big")];
    let line = "x".repeat(1023) + "\n";
    reports.extend((0..4 * KEPT_BYTES / 1024).map(|_| out("big", &line)));
    let finish = |log: Option<&str>| {
        Report::Finished(Finished { log: log.map(Into::into), ..end("big", Outcome::Executed) })
    };
    let mut with_log = reports.clone();
    with_log.push(finish(Some("/logs/big")));
    let wanted = "── big\n</logs/big>\nbig  executed in 2.1s (input changed: src/a.c)\n";
    assert_eq!(told(&look(Output::Group), &with_log), wanted);
    reports.push(finish(None));
    let text = told(&look(Output::Group), &reports);
    assert!(text.len() < KEPT_BYTES + 200 && text.contains("\n… 768 KiB left out here\n"));
}

#[test]
fn a_line_without_end_is_broken_and_not_kept() {
    let mut reports = vec![begin(2), start("big")];
    reports.extend((0..1000).map(|_| out("big", &"x".repeat(1000))));
    let mut talk = Talk::new(&look(Output::Stream));
    let pieces = reports.iter().flat_map(|report| talk.report(report)).count();
    assert!(pieces > 10, "it leaves as it comes");
}

fn manifest(text: &str) -> Arc<Source> {
    Arc::new(Source { path: "Iactfile.toml".into(), text: text.into() })
}

fn shown(text: &str, span: std::ops::Range<u32>) -> String {
    let error =
        Error::new(Kind::Manifest, "wrong").at(&manifest(text), Span { start: span.start, end: span.end });
    diagnostic::render(&error, Paint(false), None)
}

#[test]
fn a_mistake_with_its_place_causes_and_hints() {
    let text = "\n".repeat(13) + "deps = [\"biuld\"]\n";
    let error = Error::new(Kind::Manifest, "target `test` depends on `biuld`, which is not defined")
        .at(&manifest(&text), Span { start: 21, end: 28 })
        .because("targets of `api` were not read\nfor want of a folder")
        .suggest("biuld", ["build", "test"])
        .hint("`iact list` shows them all");
    let wanted = "\
error: target `test` depends on `biuld`, which is not defined
  --> Iactfile.toml:14:9
   |
14 | deps = [\"biuld\"]
   |         ^^^^^^^
   |
   = because: targets of `api` were not read
              for want of a folder
hint: did you mean `build`?
hint: `iact list` shows them all
";
    assert_eq!(diagnostic::render(&error, Paint(false), None), wanted);
    let annotation =
        "::error file=Iactfile.toml,line=14,col=9::target `test` depends on `biuld`, which is not defined\n";
    assert_eq!(diagnostic::github_annotation(&error), annotation);
    let painted = diagnostic::render(&error, Paint(true), None);
    assert!(painted.contains("Iactfile.toml:14:9") && painted.contains("\x1b[1m\x1b[91merror"));
    assert_eq!(
        diagnostic::github_annotation(&Error::new(Kind::Usage, "a\nb")),
        "::error title=iact::a%0Ab\n"
    );
    assert_eq!(diagnostic::render(&Error::new(Kind::Usage, "no"), Paint(false), None), "error: no\n");
}

#[test]
fn the_mark_stands_under_the_spot_whatever_the_line_holds() {
    for (text, span, wanted) in [
        ("a = 1\r\nbc = 2\r\n", 7..9, "2:1\n  |\n2 | bc = 2\n  | ^^\n"),
        ("a = 1\r\nbc = 2\r\n", 13..15, "2:7\n  |\n2 | bc = 2\n  |       ^\n"),
        ("\tb = x", 5..6, "1:6\n  |\n1 |     b = x\n  |         ^\n"),
        ("é日 = \"語\"", 8..13, "1:6\n  |\n1 | é日 = \"語\"\n  |       ^^^^\n"),
        ("a = \x1b[31m", 4..5, "1:5\n  |\n1 | a = ␛[31m\n  |     ^\n"),
        ("a = \u{202e}x", 4..7, "1:5\n  |\n1 | a = \u{fffd}x\n  |     ^\n"),
        ("a = [\n1,\n]\n", 4..11, "1:5\n  |\n1 | a = [\n  |     ^\n"),
        ("", 0..0, "1:1\n  |\n1 | \n  | ^\n"),
        ("a", 90..95, "1:2\n  |\n1 | a\n  |  ^\n"),
        ("é", 1..1, "1:1\n  |\n1 | é\n  | ^\n"),
    ] {
        let wanted: String = wanted.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        let text = shown(text, span);
        let text: String = text.lines().map(|line| line.trim_end().to_owned() + "\n").collect();
        assert_eq!(text, format!("error: wrong\n --> Iactfile.toml:{wanted}"));
    }
}

#[test]
fn a_very_long_line_is_cut_around_the_spot() {
    let text = format!("x = \"{}\" # {}", "a".repeat(500_000), "日".repeat(1000));
    let whole = shown(&text, 400_000..400_010);
    let lines: Vec<&str> = whole.lines().collect();
    assert_eq!(lines[1], " --> Iactfile.toml:1:400001");
    assert!(lines.iter().all(|line| measure_text_width(line) <= 110), "{whole}");
    assert!(lines[3].starts_with("1 | ...aaa") && lines[3].ends_with("a..."), "{whole}");
    assert!(lines[4].ends_with(" ^^^^^^^^^^"), "{whole}");
    let wide = shown(&text, 500_020..500_023);
    assert!(wide.lines().all(|line| measure_text_width(line) <= 110), "{wide}");
}

#[test]
fn the_block_of_what_runs_fits_its_frame() {
    let mut model = Model::default();
    model.apply(&begin(9), 1000);
    let start = |target: &str, expected_ms| Report::Started {
        target: target.into(),
        reason: Reason::Always,
        expected_ms,
    };
    model.apply(&Report::Finished(end("a", Outcome::UpToDate)), 1000);
    model.apply(&start("cpython-build", Some(112_000)), 1000);
    model.apply(&start("lint", None), 2000);
    model.apply(&out("cpython-build", "old\nchecking\t\x1b[1mfor\x1b[0m sys/param.h... \r\n"), 2500);
    let frame = |columns, lines| Frame { columns, lines, paint: Paint(false) };
    let wanted = [
        "[1/9] 2 running",
        "  cpython-build  12s of 1m52s  checking for sys/param.h...",
        "  lint           11s",
    ];
    assert_eq!(render(&model, 13_000, frame(79, 10)), wanted);
    assert_eq!(render(&model, 13_000, frame(79, 2)), ["[1/9] 2 running", "  and 2 more"]);
    assert_eq!(render(&model, 13_000, frame(30, 10))[1], "  cpython-build  12s of 1m52s");
    for columns in 0..80 {
        for lines in 0..5 {
            let block = render(&model, 13_000, frame(columns, lines));
            assert!(
                block.len() <= lines && block.iter().all(|line| measure_text_width(line) <= columns),
                "{block:?}"
            );
        }
    }
    for name in ["b", "c", "d", "e", "f", "g"] {
        model.apply(&Report::Finished(end(name, Outcome::Failed)), 13_000);
    }
    assert_eq!(render(&model, 13_000, frame(79, 10))[0], "[7/9] 2 running, 6 failed");
    model.apply(&Report::Finished(end("lint", Outcome::Executed)), 13_000);
    assert_eq!(render(&model, 13_000, frame(79, 10))[0], "[8/9] 1 running, 6 failed, about 1m40s left");
    model.apply(&Report::Finished(end("cpython-build", Outcome::Executed)), 13_000);
    assert!(render(&model, 13_000, frame(79, 10)).is_empty());
}

#[test]
fn values_in_words() {
    for (ms, wanted) in [
        (0, "0ms"),
        (999, "999ms"),
        (1_299, "1.2s"),
        (12_900, "12s"),
        (112_000, "1m52s"),
        (10_920_000, "3h02m"),
        (190_000_000, "2d04h"),
    ] {
        assert_eq!(phrase::duration(ms), wanted);
    }
    for (bytes, wanted) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1_572_864, "1.5 MiB"),
        (20 << 30, "20 GiB"),
        (u64::MAX, "15 EiB"),
    ] {
        assert_eq!(phrase::size(bytes), wanted);
    }
    let changed = Reason::DependencyChanged { target: "lib".into(), path: "out/lib.a".into() };
    assert_eq!(phrase::reason(&changed), "dependency changed: out/lib.a of lib");
}

#[test]
fn the_list_of_targets() {
    let row = |name: &str, description: &str, group: Option<&str>| ListRow {
        name: name.into(),
        description: (!description.is_empty()).then(|| description.into()),
        group: group.map(Into::into),
        ..ListRow::default()
    };
    let rows = [
        ListRow {
            aliases: vec!["cpython".into()],
            default: true,
            ..row("cpython-build", "Compile CPython\nfrom source", None)
        },
        row("hello", "", None),
        row("lint", "Look for mistakes", Some("Quality")),
        row("日本", "Wide", None),
    ];
    let wanted = "\
cpython-build    Compile CPython [default; also cpython]
hello
日本             Wide

Quality
  lint           Look for mistakes
";
    assert_eq!(table::list(&rows, PLAIN), wanted);
    let narrow = table::list(&rows, Style { columns: Some(30), ..PLAIN });
    assert!(narrow.starts_with("cpython-build    Compile CPyt…\nhello\n"), "{narrow}");
    assert!(narrow.lines().all(|line| measure_text_width(line) <= 30), "{narrow}");
    assert_eq!(table::list(&[], PLAIN), "");
}

#[test]
fn facts_and_tables() {
    let facts = [
        Fact { label: "target", values: vec!["lint".into()] },
        Fact { label: "inputs", values: vec!["a".into(), "b".into()] },
        Fact { label: "env", values: vec![] },
    ];
    assert_eq!(table::facts(&facts, PLAIN), "target  lint\ninputs  a\n        b\n");
    let columns = [Column { title: "SIZE", right: true }, Column { title: "TARGET", right: false }];
    let rows = [vec!["1.5 MiB".into(), "日本".into()], vec!["20 B".into(), "lint".into()]];
    assert_eq!(table::table(&columns, &rows, PLAIN), "   SIZE  TARGET\n1.5 MiB  日本\n   20 B  lint\n");
    let narrow = Style { columns: Some(10), ..PLAIN };
    assert_eq!(table::table(&columns, &rows, narrow), "   SIZE  …\n1.5 MiB  …\n   20 B  …\n");
}

#[test]
fn graphs() {
    let node = |name: &str, kind| Node { name: name.into(), kind };
    let nodes =
        [node("all", NodeKind::Group), node("t[f=\"x\"]", NodeKind::Target), node("pg", NodeKind::Service)];
    let edges =
        [Edge { from: 0, to: 1, kind: EdgeKind::Dep }, Edge { from: 1, to: 2, kind: EdgeKind::Service }];
    let dot = "digraph iact {\n  rankdir = LR;\n  node [shape = box, fontname = \"sans-serif\"];\n  \"all\" [style = dashed];\n  \
               \"t[f=\\\"x\\\"]\";\n  \"pg\" [shape = cylinder];\n  \"all\" -> \"t[f=\\\"x\\\"]\";\n  \
               \"t[f=\\\"x\\\"]\" -> \"pg\" [style = dotted];\n}\n";
    assert_eq!(graph::dot(&nodes, &edges), dot);
    let mermaid = "flowchart LR\n  n0([\"all\"])\n  n1[\"t[f=#34;x#34;]\"]\n  n2[(\"pg\")]\n  n0 --> n1\n  n1 -.-> n2\n";
    assert_eq!(graph::mermaid(&nodes, &edges), mermaid);
    let json: serde_json::Value = serde_json::from_str(&graph::json(&nodes, &edges)).unwrap();
    assert_eq!(json["nodes"][1], serde_json::json!({"name": "t[f=\"x\"]", "kind": "target"}));
    assert_eq!(json["edges"][1], serde_json::json!({"from": "t[f=\"x\"]", "to": "pg", "kind": "service"}));
}

#[test]
fn what_is_typed_beats_the_environment_and_that_beats_the_terminal() {
    let terminal =
        Facts { stdout_is_terminal: true, stderr_is_terminal: true, columns: Some(80), ..Facts::default() };
    let typed = |color| cli::Look { color, ..cli::Look::default() };
    for (color, facts, wanted) in [
        (ColorWhen::Auto, terminal.clone(), true),
        (ColorWhen::Auto, Facts::default(), false),
        (ColorWhen::Auto, Facts { dumb_terminal: true, ..terminal.clone() }, false),
        (ColorWhen::Auto, Facts { no_color: true, color_forced: true, ..terminal.clone() }, false),
        (ColorWhen::Auto, Facts { color_forced: true, ..Facts::default() }, true),
        (ColorWhen::Always, Facts { no_color: true, ..Facts::default() }, true),
        (ColorWhen::Never, Facts { color_forced: true, ..terminal.clone() }, false),
    ] {
        assert_eq!(Look::new(&typed(color), None, &facts).color, wanted, "{color:?} {facts:?}");
    }
    let quiet = cli::Look { quiet: true, ..cli::Look::default() };
    for (look, output, facts, wanted) in [
        (typed(ColorWhen::Auto), None, terminal.clone(), (Output::Live, true)),
        (typed(ColorWhen::Auto), None, Facts::default(), (Output::Group, false)),
        (typed(ColorWhen::Auto), None, Facts { ci: true, ..terminal.clone() }, (Output::Group, false)),
        (typed(ColorWhen::Auto), Some(OutputMode::Stream), terminal.clone(), (Output::Stream, true)),
        (
            typed(ColorWhen::Auto),
            None,
            Facts { stdout_is_terminal: false, ..terminal.clone() },
            (Output::Group, false),
        ),
        (quiet, None, terminal, (Output::Errors, false)),
    ] {
        let look = Look::new(&look, output, &facts);
        assert_eq!((look.output, look.live), wanted, "{facts:?}");
    }
}

#[test]
fn many_targets_end_in_a_table() {
    let lint = |file: &str, outcome| Report::Finished(end(&format!("lint[{file}]"), outcome));
    let missing = "requires the tool `scan`: it is not on PATH; apt-get install scan".to_owned();
    let reports = [
        begin(20),
        lint("a", Outcome::Executed),
        lint("b", Outcome::Executed),
        Report::Finished(Finished { message: Some(missing), ..end("scan", Outcome::Skipped) }),
        Report::Finished(Finished { saved_ms: 63_000, ..end("build", Outcome::Cached) }),
        Report::Finished(end("test", Outcome::Failed)),
        Report::RunFinished(RunFinished {
            executed: 2,
            cached: 1,
            up_to_date: 14,
            failed: 1,
            skipped: 2,
            duration_ms: 4200,
            saved_ms: 63_000,
            ..RunFinished::default()
        }),
    ];
    let wanted = "\
target            what became of it  took  saved  why
test              failed             2.1s         exit 1
lint              2 executed         2.1s         input changed: src/a.c
build             cached             2.1s  1m03s
scan              skipped                         requires the tool `scan`: it is not on PATH; apt-get install scan
14 other actions  up to date
failed: 1 failed, 2 skipped, 2 executed, 1 cached, 14 up to date (saved 1m03s) in 4.2s
";
    let text = told(&look(Output::Errors), &reports);
    let table = text.split("\n\n").nth(1).unwrap();
    assert_eq!(table, wanted);
    let few: Vec<Report> = std::iter::once(begin(5)).chain(reports.into_iter().skip(1)).collect();
    assert!(!told(&look(Output::Errors), &few).contains("what became of it"));
}
