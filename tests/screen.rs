//! The screen as a terminal sees it: this test starts itself behind a pseudo-terminal and plays a made-up
//! run.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, reason = "a test that starts itself and waits")]

use iact::cli;
use iact::decision::Reason;
use iact::report::{Finished, Outcome, Report, RunFinished, SCHEMA, Stream};
use iact::ui::{Screen, door, facts::Facts, look::Look};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Read};
use std::num::NonZero;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// A run as it would come from the engine: reports at moments, ticks in between.
struct Play {
    screen: Screen,
    begin: Instant,
}

impl Play {
    fn now_ms(&self) -> u64 {
        self.begin.elapsed().as_millis() as u64
    }

    fn at(&mut self, moment_ms: u64, report: Report) {
        while self.now_ms() < moment_ms {
            let wake_ms = self
                .screen
                .wake_ms()
                .unwrap_or(moment_ms)
                .clamp(self.now_ms() + 1, moment_ms.max(self.now_ms() + 1));
            std::thread::sleep(Duration::from_millis(wake_ms - self.now_ms()));
            self.screen.tick(self.now_ms());
        }
        self.screen.report(&report, self.now_ms());
    }
}

/// An action whose output is too much to keep in memory, and its log.
fn play_a_lot(play: &mut Play, path: &Path) {
    let mut log = iact::log::LogWriter::new(path.to_owned());
    play.at(0, started("a-lot", None));
    for number in 0..10_000 {
        let stream = if number % 2 == 0 { Stream::Stdout } else { Stream::Stderr };
        let text = format!("a lot, line {number} {}\n", ".".repeat(40)).into_bytes();
        log.write(stream, &text);
        play.at(0, Report::Output { target: "a-lot".into(), stream, text });
    }
    log.finish().unwrap();
    let Report::Finished(end) = finished("a-lot", Outcome::Executed, 1) else { unreachable!() };
    play.at(0, Report::Finished(Finished { log: Some(path.to_owned()), ..end }));
}

fn started(target: &str, expected_ms: Option<u64>) -> Report {
    let reason = Reason::InputChanged { path: format!("src/{target}.c") };
    Report::Started { target: target.into(), reason, expected_ms }
}

fn said(target: &str, text: &str) -> Report {
    Report::Output { target: target.into(), stream: Stream::Stdout, text: text.as_bytes().to_vec() }
}

fn finished(target: &str, outcome: Outcome, duration_ms: u64) -> Report {
    Report::Finished(Finished {
        target: target.into(),
        outcome,
        exit_code: Some(i32::from(outcome == Outcome::Failed)),
        duration_ms,
        fingerprint: None,
        cached_from: None,
        saved_ms: 0,
        message: None,
        reason: Some(Reason::InputChanged { path: format!("src/{target}.c") }),
        severity: None,
        log: (outcome == Outcome::Failed).then(|| "/logs/it".into()),
    })
}

#[test]
#[ignore = "played by the other tests, behind a pseudo-terminal; by hand: --ignored --nocapture play"]
fn play() {
    let Ok(cli::Typed { look, .. }) = cli::parse([]) else { panic!("no words are a build") };
    let look = Look::new(&look, None, &Facts::of_process());
    let summary = std::env::var_os("PLAY_SUMMARY");
    let json = std::env::var_os("PLAY_JSON").is_some();
    let screen = Screen::new(&look, json, summary.as_deref().map(Path::new));
    let mut play = Play { screen, begin: Instant::now() };
    let unit = std::env::var("PLAY_UNIT_MS").map_or(100, |unit| unit.parse::<u64>().unwrap());
    play.at(0, Report::RunStarted { schema: SCHEMA, goals: vec!["all".into()], actions: 6, jobs: 3 });
    for name in ["uptodate-1", "uptodate-2"] {
        play.at(0, finished(name, Outcome::UpToDate, 0));
    }
    if let Some(path) = std::env::var_os("PLAY_LOG") {
        play_a_lot(&mut play, Path::new(&path));
    }
    play.at(0, started("cpython-build", Some(unit * 20)));
    play.at(0, started("lint-shell", None));
    play.at(
        unit,
        said("cpython-build", "checking for gcc... gcc\nchecking for \x1b[32msys/param.h\x1b[0m... "),
    );
    play.at(unit * 2, said("lint-shell", "In tasks/x.sh line 3:\n"));
    play.at(unit * 4, said("cpython-build", "yes\n"));
    play.at(unit * 6, said("lint-shell", "  SC2086: quote this 日本語"));
    play.at(unit * 8, started("a-target-with-a-very-long-name[db=postgres,py=3.11]", None));
    play.at(unit * 12, finished("lint-shell", Outcome::Failed, unit * 12));
    play.at(
        unit * 14,
        Report::Warning { message: "the cache entry of `docs` was damaged and is set aside".into() },
    );
    play.at(unit * 16, said("a-target-with-a-very-long-name[db=postgres,py=3.11]", "10%\r20%\r30%"));
    play.at(unit * 18, finished("cpython-build", Outcome::Executed, unit * 18));
    play.at(
        unit * 24,
        finished("a-target-with-a-very-long-name[db=postgres,py=3.11]", Outcome::Executed, unit * 16),
    );
    play.at(unit * 24, finished("docs", Outcome::Skipped, 0));
    let totals = RunFinished {
        executed: 2,
        up_to_date: 2,
        failed: 1,
        skipped: 1,
        duration_ms: unit * 24,
        ..RunFinished::default()
    };
    play.at(unit * 24, Report::RunFinished(totals));
    play.screen.finish().unwrap();
}

/// What a terminal of that many columns got, and how long it took.
fn on_a_terminal(columns: u16, env: &[(&str, &str)]) -> (Vec<u8>, Duration) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    tcsetwinsize(&master, Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 }).unwrap();
    let slave = OpenOptions::new().read(true).write(true).open(name).unwrap();
    let begin = Instant::now();
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--ignored", "--nocapture", "--exact", "play"])
        .env_clear()
        .env("TERM", "xterm")
        .envs(env.iter().copied());
    child.stdin(Stdio::null()).stdout(slave.try_clone().unwrap()).stderr(slave);
    let mut running = child.spawn().unwrap();
    drop(child);
    let mut bytes = Vec::new();
    // The end of a pseudo-terminal is an error.
    let _ = File::from(master).read_to_end(&mut bytes);
    assert!(running.wait().unwrap().success());
    (bytes, begin.elapsed())
}

/// A terminal of that many columns that is long enough for nothing to scroll out of it.
fn screen(columns: u16) -> vt100::Parser {
    vt100::Parser::new(NonZero::new(500).unwrap(), NonZero::new(columns).unwrap(), 0)
}

fn rows(terminal: &vt100::Parser, columns: u16) -> Vec<String> {
    terminal.screen().rows(0, columns).map(|row| row.trim_end().to_owned()).collect()
}

fn frames(bytes: &[u8]) -> usize {
    bytes.windows(8).filter(|window| window == b"\x1b[?2026h").count()
}

#[test]
fn the_block_goes_as_it_came_and_what_was_said_stays() {
    let (bytes, took) = on_a_terminal(200, &[]);
    let mut terminal = screen(200);
    terminal.process(&bytes);
    let lines = rows(&terminal, 200);
    let begin = lines.iter().position(|line| line.contains("cpython-build")).unwrap();
    let end = lines.iter().position(|line| line.starts_with("failed: 1 failed")).unwrap();
    let long = "a-target-with-a-very-long-name[db=postgres,py=3.11]";
    let wanted = [
        "── cpython-build",
        "checking for gcc... gcc",
        "checking for sys/param.h... yes",
        "── lint-shell",
        "In tasks/x.sh line 3:",
        "  SC2086: quote this 日本語",
        "failed: lint-shell (exit 1) after 1.2s",
        "warning: the cache entry of `docs` was damaged and is set aside",
        "cpython-build  executed in 1.8s (input changed: src/cpython-build.c)",
        &format!("── {long}"),
        "30%",
        &format!("{long}  executed in 1.6s (input changed: src/{long}.c)"),
        "docs  skipped",
        "hint: `iact log lint-shell` shows its output again",
        "failed: 1 failed, 1 skipped, 2 executed, 2 up to date in 2.4s",
    ];
    assert_eq!(lines[begin..=end], wanted, "{lines:#?}");
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(
        text.contains("[2/6]") && text.contains(" running") && text.contains("checking for sys/param.h...")
    );
    assert!(!text.contains("\x1b[?25l"), "the cursor is never hidden");
    assert!(frames(&bytes) as u128 <= took.as_millis() / 100 + 1, "at most ten frames a second");
}

#[test]
fn a_short_run_shows_no_block() {
    let (bytes, _) = on_a_terminal(200, &[("PLAY_UNIT_MS", "1")]);
    assert!(!String::from_utf8(bytes).unwrap().contains(" running,"));
}

#[test]
fn without_colours_nothing_is_coloured_but_what_commands_write() {
    let (bytes, _) = on_a_terminal(200, &[("PLAY_UNIT_MS", "1"), ("NO_COLOR", "1")]);
    let text = String::from_utf8(bytes)
        .unwrap()
        .replace("\x1b[32msys/param.h\x1b[0m", "")
        .replace("yes\r\n\x1b[0m", "");
    assert!(!text.contains("m──") && !text.contains("\x1b[1m") && !text.contains("\x1b[2m"), "{text:?}");
}

#[test]
fn on_a_narrow_terminal_no_line_of_the_block_wraps() {
    let (bytes, _) = on_a_terminal(24, &[("NO_COLOR", "1")]);
    let mut terminal = screen(24);
    let mut blocks = 0;
    for frame in String::from_utf8(bytes).unwrap().split_inclusive("\x1b[?2026l") {
        terminal.process(frame.as_bytes());
        let rows = rows(&terminal, 24);
        let Some(begin) = rows.iter().rposition(|row| row.contains("/6]")) else { continue };
        blocks += 1;
        assert!(rows[begin..].iter().all(|row| row.chars().count() < 24), "{rows:?}");
        assert!(rows[begin..].iter().filter(|row| !row.is_empty()).count() <= 4, "{rows:?}");
    }
    assert!(blocks > 5);
}

/// What programs get: standard output and error, and the files `summary.json` and `step.md`.
fn in_a_pipe(env: &[(&str, &str)]) -> [String; 4] {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--ignored", "--nocapture", "--exact", "play"]).env_clear().envs(env.iter().copied());
    child
        .env("PLAY_UNIT_MS", "1")
        .env("PLAY_SUMMARY", path("summary.json"))
        .env("GITHUB_STEP_SUMMARY", path("step.md"));
    if env.iter().any(|(name, _)| *name == "PLAY_MUCH") {
        child.env("PLAY_LOG", path("log"));
    }
    let output = child.output().unwrap();
    assert!(output.status.success());
    let read = |name| std::fs::read_to_string(path(name)).unwrap_or_default();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    [out, err, read("summary.json"), read("step.md")]
}

#[test]
fn programs_get_events_and_a_summary() {
    let [out, err, summary, step] = in_a_pipe(&[("PLAY_JSON", "1")]);
    let events: Vec<serde_json::Value> = out
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!((kinds[0], kinds[kinds.len() - 1]), ("run_started", "run_finished"));
    let output: String = events
        .iter()
        .filter(|event| event["event"] == "output" && event["target"] == "lint-shell")
        .map(|event| event["text"].as_str().unwrap())
        .collect();
    assert_eq!(output, "In tasks/x.sh line 3:\n  SC2086: quote this 日本語");
    assert!(kinds.contains(&"warning") && err.is_empty() && step.is_empty(), "{err}{step}");
    let summary: serde_json::Value = serde_json::from_str(&summary).unwrap();
    assert_eq!(summary["executed"], 2);
    assert_eq!(summary["ok"], false);
    let finished: Vec<&serde_json::Value> =
        events.iter().filter(|event| event["event"] == "finished").collect();
    let targets = summary["targets"].as_array().unwrap();
    assert_eq!(targets.len(), finished.len());
    for (target, event) in targets.iter().zip(finished) {
        assert!(target.as_object().unwrap().iter().all(|(key, value)| event[key] == *value));
    }
}

#[test]
fn commands_output_goes_where_they_sent_it_and_all_else_to_standard_error() {
    let [out, err, ..] = in_a_pipe(&[]);
    assert!(
        out.contains("checking for gcc... gcc\n") && !out.contains("──") && !out.contains("executed"),
        "{out}"
    );
    assert!(err.contains("── lint-shell\n") && err.contains("docs  skipped\n"), "{err}");
}

#[test]
fn output_too_long_for_memory_comes_whole_from_the_log() {
    let [out, err, ..] = in_a_pipe(&[("PLAY_MUCH", "1")]);
    for (text, first) in [(out, 0), (err, 1)] {
        let numbers = text
            .lines()
            .filter_map(|line| line.strip_prefix("a lot, line ")?.split(' ').next()?.parse::<u32>().ok());
        assert!(numbers.eq((first..10_000).step_by(2)));
    }
}

#[test]
fn github_gets_all_in_one_stream_and_a_table() {
    let [out, err, _, step] = in_a_pipe(&[("GITHUB_ACTIONS", "true"), ("NO_COLOR", "1")]);
    assert_eq!(err, "");
    assert!(out.contains("::group::lint-shell\nIn tasks/x.sh line 3:\n"), "{out}");
    assert!(out.contains("::endgroup::\n::error title=lint-shell::lint-shell failed (exit 1)\n"), "{out}");
    assert!(step.starts_with("### iact: failed\n") && step.contains("| lint-shell | **failed** |"), "{step}");
    assert!(!step.contains("uptodate-1"), "what was up to date is counted, not listed");
}

#[test]
#[ignore = "played by another test, into a pipe nobody reads"]
fn flood() {
    for number in 0..100_000 {
        door::print(format!("line {number}\n"));
    }
    door::tell("the end\n");
}

#[test]
fn a_reader_that_goes_away_is_no_failure() {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child
        .args(["--ignored", "--nocapture", "--exact", "flood"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut running = child.spawn().unwrap();
    let mut first = String::new();
    BufReader::new(running.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let mut said = String::new();
    running.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    let _ = running.wait().unwrap();
    assert_eq!(said.lines().next(), Some("the end"), "the rest is dropped, the program goes on");
}
