//! A signal ends iact wherever it is: blocked by a reader who does not read, waiting for a lock, at rest, as the first process of
//! a container.

use crate::space::{IACT, Space, is_root, left_over, mark, skipped, until};
use rustix::process::{Signal, kill_process};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// The end of a child, which has to come within that time.
fn end_within(child: &mut Child, limit: Duration) -> Option<std::process::ExitStatus> {
    let began = Instant::now();
    while began.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

fn in_a_group(mut command: Command) -> Child {
    command.process_group(0).spawn().unwrap()
}

#[test]
fn it_ends_a_run_whose_output_nobody_reads() {
    for (output, second) in [("stream", false), ("stream", true), ("group", false)] {
        let mark = mark();
        let space = Space::new(&format!(
            "[target.t]\nrun = '''touch @BASE@/there\n(yes {} | head -n 40000)\nexec sleep {mark}'''\n",
            "a".repeat(100)
        ));
        let mut command = space.program(IACT);
        command.args(["build", "t", "--output", output]).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = in_a_group(command);
        until("the command runs", || space.base().join("there").exists());
        std::thread::sleep(Duration::from_millis(500));
        let pid = rustix::process::Pid::from_child(&child);
        kill_process(pid, Signal::INT).unwrap();
        if second {
            std::thread::sleep(Duration::from_millis(200));
            kill_process(pid, Signal::INT).unwrap();
        }
        let status = end_within(&mut child, Duration::from_secs(30));
        assert!(status.is_some(), "{output}: it did not end");
        assert!(left_over(&mark).is_empty(), "{output}");
    }
}

/// A terminal that nobody reads.
fn terminal() -> (std::os::fd::OwnedFd, std::fs::File) {
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    (master, std::fs::File::options().read(true).write(true).open(name).unwrap())
}

#[test]
fn it_ends_a_run_on_a_terminal_that_stands_still() {
    for loud in [true, false] {
        let mark = mark();
        let say = if loud { format!("yes {} | head -n 40000", "a".repeat(100)) } else { "true".to_owned() };
        let space =
            Space::new(&format!("[target.t]\nrun = '''touch @BASE@/there\n{say}\nexec sleep {mark}'''\n"));
        let (_master, slave) = terminal();
        let mut command = space.program("setsid");
        command.args(["--ctty", IACT, "build", "t"]).env("TERM", "xterm");
        command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap()).stderr(slave);
        let mut child = command.spawn().unwrap();
        // The block of what runs fills it, too, in the end.
        until("the command runs", || space.base().join("there").exists());
        std::thread::sleep(Duration::from_secs(if loud { 1 } else { 3 }));
        kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
        let status = end_within(&mut child, Duration::from_secs(30));
        assert!(status.is_some(), "it did not end");
        assert!(left_over(&mark).is_empty());
    }
}

#[test]
fn who_reads_slowly_still_gets_all_that_was_said() {
    let space = Space::new(
        "[target.t]\nrun = '''touch @BASE@/there; trap 'seq 1 30000; exit 1' INT; while :; do sleep 0.02; done'''\n",
    );
    let mut command = space.program(IACT);
    command.args(["build", "--json", "t"]).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = in_a_group(command);
    let mut shown = child.stdout.take().unwrap();
    until("the command runs", || space.base().join("there").exists());
    std::thread::sleep(Duration::from_millis(100));
    kill_process(rustix::process::Pid::from_child(&child), Signal::INT).unwrap();
    let (mut text, mut piece) = (Vec::new(), [0; 4096]);
    loop {
        match std::io::Read::read(&mut shown, &mut piece).unwrap() {
            0 => break,
            read => text.extend_from_slice(&piece[..read]),
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    child.wait().unwrap();
    let text = String::from_utf8(text).unwrap();
    let last: serde_json::Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    assert_eq!(last["event"], "run_finished", "{last}");
    assert!(text.contains("29999\\n30000\\n"), "all of its output was shown");
}

#[test]
fn it_ends_a_watch_that_waits_for_the_workspace() {
    let mark = mark();
    let space = Space::new(&format!(
        "[target.slow]\nrun = 'touch @BASE@/there; sleep {mark}'\n[target.t]\ninputs = ['a']\nrun = 'cat a'\n"
    ));
    space.write("a", "1");
    let first = space.iact(["build", "slow"]).start();
    until("it runs", || space.base().join("there").exists());
    let watch = space.iact(["watch", "t"]).limit(20).start();
    until("it says that it waits", || watch.err().contains("waiting"));
    watch.signal(Signal::INT);
    let run = watch.wait();
    assert!(run.code == Some(130) || run.signal == Some(2), "{run}");
    first.signal(Signal::INT);
    first.wait();
}

#[test]
fn an_echo_of_the_signal_that_ends_a_watch_kills_nothing() {
    let space = Space::new(
        "[service.s]\nrun = '''trap 'sleep 0.5; touch @BASE@/clean; exit 0' TERM; touch @BASE@/up; while :; do sleep 0.02; done'''\n\
         [target.t]\ninputs = ['a']\nservices = ['s']\nrun = 'until [ -e @BASE@/up ]; do sleep 0.02; done; touch @BASE@/built'\n",
    );
    space.write("a", "1");
    let watch = space.iact(["watch", "t"]).start();
    until("it built", || space.base().join("built").exists());
    std::thread::sleep(Duration::from_millis(500));
    watch.signal(Signal::INT);
    std::thread::sleep(Duration::from_millis(5));
    watch.signal(Signal::TERM);
    let run = watch.wait();
    assert!(run.code == Some(130) || run.signal == Some(2), "{run}");
    assert!(space.base().join("clean").exists(), "the service had its grace");
}

#[test]
fn the_first_process_of_a_container_ends_with_the_number_of_the_signal() {
    if !is_root() {
        return skipped("a process namespace wants root");
    }
    let space = Space::new("[target.t]\nrun = 'touch @BASE@/there; sleep 60'\n");
    for signal in [Signal::INT, Signal::TERM, Signal::HUP] {
        let _ = std::fs::remove_file(space.base().join("there"));
        let mut command = space.program("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child", IACT, "build", "t"]);
        let mut child = in_a_group({
            command.stdout(Stdio::null()).stderr(Stdio::null());
            command
        });
        until("the command runs", || space.base().join("there").exists());
        std::thread::sleep(Duration::from_millis(100));
        let children = format!("/proc/{0}/task/{0}/children", child.id());
        let first: i32 = std::fs::read_to_string(children).unwrap().trim().parse().unwrap();
        kill_process(rustix::process::Pid::from_raw(first).unwrap(), signal).unwrap();
        let status = end_within(&mut child, Duration::from_secs(30)).expect("it ends");
        assert_eq!(status.code(), Some(128 + signal.as_raw()), "{signal:?}: {status:?}");
    }
}

#[test]
fn a_limit_on_the_size_of_files_harms_no_other_action() {
    let space = Space::new(
        "[target.loud]\nrun = 'head -c 4000000 /dev/zero | tr \"\\\\0\" a | fold -w 99'\n\
         [target.t]\noutputs = ['o']\nrun = 'sleep 1; echo ok > o'\n\
         [target.limited]\nrun = 'head -c 4000000 /dev/zero > @BASE@/large'\n",
    );
    let limited = |goals: &str| {
        let line = format!("ulimit -f 2000; exec {IACT} build --json -k {goals}");
        let mut command = space.program("bash");
        command.args(["-c", &line]).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().unwrap()
    };
    let status = limited("loud t");
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert!(space.has("o"));
    let status = limited("limited");
    assert_eq!(status.code(), Some(1), "the limit holds for commands: {status:?}");
}

#[test]
fn a_build_inside_an_action_of_the_same_workspace_is_refused() {
    for env in ["", "env -i HOME=$HOME ", "exec env -i HOME=$HOME "] {
        let space = Space::new(&format!(
            "[target.outer]\nrun = '{env}{IACT} build inner 2> @BASE@/said'\npass_env = ['HOME']\n\
             [target.inner]\nrun = 'echo hi'\n"
        ));
        let run = space.iact(["build", "--json", "outer"]).limit(30).run();
        let said = std::fs::read_to_string(space.base().join("said")).unwrap();
        assert_eq!(run.code, Some(1), "{run}");
        assert!(said.contains("outer") || said.contains("action"), "{said}");
        assert!(said.contains("hint:") && said.contains("deps"), "{said}");
    }
}
