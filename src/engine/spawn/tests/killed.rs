//! iact is killed; its commands must not outlive it. This test program plays iact and its supervisor in
//! processes of their own: both are started as a single test that does nothing unless it is asked for by the
//! environment.

use super::*;
use std::io::{BufRead, BufReader, Read};
use std::process::{Child, Command, Stdio};

const SCRIPTS: &str = "IACT_TEST_SCRIPTS";
const FOLDER: &str = "IACT_TEST_FOLDER";

fn role(name: &str) -> Vec<OsString> {
    ["--exact", &format!("engine::spawn::tests::killed::{name}"), "--nocapture"].map(OsString::from).to_vec()
}

#[test]
fn role_supervisor() {
    supervise();
}

/// Runs the scripts of the environment (one per line) at once; says `started N` when script N has said
/// something.
#[test]
fn role_iact() {
    let Ok(scripts) = std::env::var(SCRIPTS) else { return };
    let tag = std::env::var(TAG).unwrap();
    let program = std::env::current_exe().unwrap();
    let children = Children::new(Some(Supervision { program, args: role("role_supervisor") }));
    if let Ok(folder) = std::env::var(FOLDER) {
        children.remove_if_killed([Path::new(&folder)]);
    }
    println!("supervisor {}", children.supervisor_pid().unwrap_or(0));
    let stop = Stop::new().unwrap();
    std::thread::scope(|scope| {
        for script in scripts.lines() {
            let (children, stop, tag) = (&children, &stop, &tag);
            scope.spawn(move || {
                let mut case = sh(script);
                case.env.push((TAG.into(), tag.into()));
                let ended = children.run(&case.launch(), stop, &mut |_, _| println!("started"));
                println!("{ended:?}");
            });
        }
    });
    drop(children);
    println!("left");
}

struct Played {
    process: Child,
    lines: BufReader<std::process::ChildStdout>,
    tag: String,
    nap: String,
}

/// Plays iact with these scripts, whose sleeps are made recognisable: a tag is lost with the environment.
fn play(scripts: &[&str], folder: Option<&Path>) -> Played {
    let tag = sh("").tag;
    let nap = format!("sleep 1000.{}", tag.replace('.', ""));
    let scripts: Vec<String> = scripts.iter().map(|script| script.replace("sleep 1000", &nap)).collect();
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(role("role_iact")).env(SCRIPTS, scripts.join("\n")).env(TAG, &tag).stdout(Stdio::piped());
    command.env_remove(FOLDER).envs(folder.map(|folder| (FOLDER, folder)));
    let mut process = command.spawn().unwrap();
    let lines = BufReader::new(process.stdout.take().unwrap());
    Played { process, lines, tag, nap }
}

impl Played {
    /// Who lives that descends from it.
    fn survivors(&self) -> Vec<i32> {
        let naps = |pid: &i32| {
            let words = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let line: Vec<u8> = words.iter().map(|byte| if *byte == 0 { b' ' } else { *byte }).collect();
            String::from_utf8_lossy(&line).contains(&self.nap)
        };
        let mut found = tagged(&self.tag);
        found.extend(pids().iter().filter(|pid| naps(pid)));
        found
    }

    /// Waits until nobody was seen for a while; says who was seen last, and how it was started.
    fn is_over(&self) {
        let mut quiet = 0;
        let mut last = String::new();
        let begin = Instant::now();
        while quiet <= 10 {
            let found = self.survivors();
            quiet = if found.is_empty() { quiet + 1 } else { 0 };
            if !found.is_empty() {
                last = found.iter().map(|pid| describe(*pid)).collect();
            }
            assert!(begin.elapsed() < PATIENCE, "after {PATIENCE:?} there are still\n{last}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Reads up to the line that begins so.
    fn until(&mut self, begin: &str) -> String {
        let mut line = String::new();
        while !line.starts_with(begin) {
            line.clear();
            assert!(self.lines.read_line(&mut line).unwrap() > 0, "never said {begin}");
        }
        line
    }
}

const STUBBORN: [&str; 5] = [
    "echo ready; exec sleep 1000",
    "trap '' TERM; echo ready; sleep 1000; sleep 1000",
    "(setsid sh -c \"trap '' TERM; sleep 1000 & echo ready; sleep 1000\" >/dev/null &) ; echo ready; sleep 1000",
    "exec env -i sh -c 'echo ready; exec sleep 1000'",
    "echo ready; (env -i sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' &); sleep 1000",
];

#[test]
fn nothing_outlives_a_killed_iact() {
    let folder = tempfile::tempdir().unwrap().keep();
    std::fs::write(folder.join("tokens"), "x").unwrap();
    let mut played = play(&STUBBORN, Some(&folder));
    let supervisor = played.until("supervisor").trim_start_matches("supervisor ").trim().to_owned();
    for _ in STUBBORN {
        played.until("started");
    }
    // Those without environment are known by their ancestry only now.
    let family = descendants(i32::try_from(played.process.id()).unwrap());
    assert!(family.len() >= 8, "{family:?}");
    played.process.kill().unwrap();
    played.process.wait().unwrap();
    eventually("everything is gone", || {
        collect_orphans();
        played.survivors().is_empty() && family.iter().all(|pid| is_gone(*pid)) && !folder.exists()
    });
    eventually("the supervisor is gone", || is_gone(supervisor.parse().unwrap()));
}

fn time_of_a_start() -> Duration {
    let begin = Instant::now();
    let mut played = play(&STUBBORN, None);
    STUBBORN.iter().for_each(|_| drop(played.until("started")));
    let whole = begin.elapsed();
    played.process.kill().unwrap();
    played.process.wait().unwrap();
    whole
}

#[test]
fn nothing_outlives_an_iact_killed_at_any_moment() {
    // The long size is one of `tasks/soak.sh`.
    let rounds: u64 = std::env::var("IACT_TRY_ROUNDS").map_or(20, |rounds| rounds.parse().unwrap());
    let whole = time_of_a_start();
    for round in 0..rounds {
        let mut played = play(&STUBBORN, None);
        // Spread over the time that a start takes, which is ten times longer on a busy machine.
        std::thread::sleep(whole * u32::try_from(round + 1).unwrap() / u32::try_from(rounds).unwrap());
        played.process.kill().unwrap();
        played.process.wait().unwrap();
        played.is_over();
    }
}

#[test]
fn what_a_successful_command_left_lives_on_when_iact_takes_its_leave() {
    let mut played = play(&["echo ready; sleep 1000 >/dev/null 2>&1 & exit 0"], None);
    let supervisor = played.until("supervisor").trim_start_matches("supervisor ").trim().to_owned();
    let ended = played.until("Ended");
    assert!(ended.contains("Exited(0)") && ended.contains("left_running: true"), "{ended}");
    played.until("left");
    let mut rest = String::new();
    played.lines.read_to_string(&mut rest).unwrap();
    assert!(played.process.wait().unwrap().success());
    eventually("the supervisor is gone", || is_gone(supervisor.parse().unwrap()));
    assert_eq!(tagged(&played.tag).len(), 1);
    clear(&played.tag);
}

fn stat(pid: i32) -> Option<(i32, bool)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let zombie = fields.next()? == "Z";
    Some((fields.next()?.parse().ok()?, zombie))
}

fn describe(pid: i32) -> String {
    let read = |name: &str| {
        String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default())
            .replace('\0', " ")
    };
    format!("{} cmdline: {} environ: {}\n", read("stat").trim_end(), read("cmdline"), read("environ"))
}

fn is_gone(pid: i32) -> bool {
    stat(pid).is_none_or(|(_, zombie)| zombie)
}

fn descendants(of: i32) -> Vec<i32> {
    let all = pids();
    let descends = |pid: &&i32| {
        let mut at = **pid;
        while at > 1 && at != of {
            at = stat(at).map_or(0, |(parent, _)| parent);
        }
        at == of && **pid != of
    };
    all.iter().filter(descends).copied().collect()
}
