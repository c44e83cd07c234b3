//! Every way to end a run times every way to stay alive: nothing survives the grace and a second, nothing is stored, the exit
//! code names the signal, and a terminal is left as it was found.

use crate::sizes::tries;
use crate::space::{IACT, Space, left_over, mark, until};
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::tcgetattr;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// How the end comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    ToIact(Signal),
    ToGroup(Signal),
    /// `^C` on the terminal.
    Typed,
    /// The terminal is closed.
    HungUp,
}

const SIGNALS: [Signal; 4] = [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT];

const COMMANDS: [(&str, &str); 6] = [
    ("plain", "sleep MARK"),
    ("a shell with children", "sh -c 'sleep MARK & sleep MARK; true'; true"),
    ("traps", "trap 'exit 0' INT TERM HUP QUIT; sleep MARK & wait"),
    ("ignores", "trap '' INT TERM HUP QUIT; while :; do sleep MARK; done"),
    ("forks twice", "(sh -c 'sleep MARK & exec sleep MARK' &); sleep MARK"),
    ("a session of its own", "setsid sleep MARK & setsid -f sleep MARK; sleep MARK"),
];

/// Grace, a second, and what a busy machine adds.
const LIMIT: Duration = Duration::from_secs(5 + 1 + 4);

/// How late, all in all, this process was woken who wanted to be woken every [`BEAT`].
static LATE_US: AtomicU64 = AtomicU64::new(0);
const BEAT: Duration = Duration::from_millis(10);

fn count_lateness() {
    std::thread::spawn(|| {
        loop {
            let began = Instant::now();
            std::thread::sleep(BEAT);
            LATE_US.fetch_add((began.elapsed() - BEAT).as_micros() as u64, Ordering::Relaxed);
        }
    });
}

/// What a machine may be late that has been so late: an end takes several of its processes.
fn lateness() -> Duration {
    Duration::from_micros(4 * LATE_US.load(Ordering::Relaxed))
}

/// iact on a terminal of its own, as the leader of its session.
struct OnTerminal {
    master: Option<OwnedFd>,
    slave: File,
    child: Child,
}

fn on_terminal(space: &Space) -> OnTerminal {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, Vec::new()).unwrap().into_string().unwrap();
    let slave = File::options().read(true).write(true).open(name).unwrap();
    let mut command = space.program("setsid");
    command.args(["--ctty", IACT, "build", "t"]).env("TERM", "xterm");
    command.stdin(slave.try_clone().unwrap()).stdout(slave.try_clone().unwrap());
    command.stderr(slave.try_clone().unwrap());
    OnTerminal { child: command.spawn().unwrap(), master: Some(master), slave }
}

fn in_a_group(space: &Space) -> Child {
    let mut command = space.program(IACT);
    command.args(["build", "t"]).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0);
    command.spawn().unwrap()
}

/// One trial.
fn ends(how: How, (what, command): (&str, &str)) {
    let case = format!("{how:?}, {what}");
    let mark = mark();
    let space = Space::new(&format!(
        "[target.t]\ninputs = []\noutputs = ['o']\nrun = '''\necho t >> @LOG@\ntouch o\n\
         if [ -e @BASE@/quick ]; then exit 0; fi\ntouch @BASE@/there\n{}\n'''\n",
        command.replace("MARK", &mark)
    ));
    let runs = || until("the command runs", || space.base().join("there").exists());
    let late = lateness();
    let (status, took, signal) = match how {
        How::ToIact(signal) | How::ToGroup(signal) => {
            let mut child = in_a_group(&space);
            runs();
            std::thread::sleep(Duration::from_millis(50));
            let began = Instant::now();
            let pid = Pid::from_child(&child);
            let sent = if how == How::ToIact(signal) { kill_process } else { kill_process_group };
            sent(pid, signal).unwrap();
            (child.wait().unwrap(), began.elapsed(), signal)
        }
        How::Typed | How::HungUp => {
            let mut on = on_terminal(&space);
            runs();
            std::thread::sleep(Duration::from_millis(50));
            let began = Instant::now();
            if how == How::Typed {
                rustix::io::write(on.master.as_ref().unwrap(), b"\x03").unwrap();
                // What is shown has to be read, or nobody could write.
                let mut reader = File::from(on.master.take().unwrap());
                let drained =
                    std::thread::spawn(move || drop(std::io::copy(&mut reader, &mut std::io::sink())));
                let status = on.child.wait().unwrap();
                let took = began.elapsed();
                let modes = tcgetattr(&on.slave).unwrap();
                assert!(
                    modes.local_modes.contains(
                        rustix::termios::LocalModes::ECHO
                            | rustix::termios::LocalModes::ICANON
                            | rustix::termios::LocalModes::ISIG
                    ),
                    "{case}: the terminal is as it was: {modes:?}"
                );
                drop(on.slave);
                drained.join().unwrap();
                (status, took, Signal::INT)
            } else {
                drop(on.master.take());
                (on.child.wait().unwrap(), began.elapsed(), Signal::HUP)
            }
        }
    };
    let left = left_over(&mark);
    assert!(left.is_empty(), "{case}: {left:?} outlived it");
    let late = lateness() - late;
    assert!(took < LIMIT + late, "{case}: it took {took:?}, where everything is late by {late:?}");
    let named = status.signal() == Some(signal.as_raw()) || status.code() == Some(128 + signal.as_raw());
    assert!(named, "{case}: {status:?}");
    space.trail();
    std::fs::write(space.base().join("quick"), "").unwrap();
    let run = space.build(&["t"]);
    assert_eq!(run.kinds(), ["executed"], "{case}: nothing of it was stored: {run}");
}

/// A test that runs in the background may have been started with signals ignored, and what it starts would ignore them too.
#[allow(unsafe_code, reason = "no safe wrapper sets a disposition")]
fn listen_to_signals() {
    for signal in SIGNALS {
        // SAFETY: the default disposition runs no code of ours.
        unsafe { libc::signal(signal.as_raw(), libc::SIG_DFL) };
    }
}

#[test]
fn every_end_of_a_run_is_the_end_of_all_it_started() {
    listen_to_signals();
    count_lateness();
    let mut tries = tries("processes", 60);
    let mut trials: Vec<_> = Vec::new();
    let hows = || {
        let signalled = SIGNALS.into_iter().flat_map(|signal| [How::ToIact(signal), How::ToGroup(signal)]);
        signalled.chain([How::Typed, How::HungUp])
    };
    // Those who ignore everything make each trial last as long as the grace: many at once.
    while trials.len() < tries.count {
        trials.extend(hows().flat_map(|how| COMMANDS.map(|command| (how, command))));
    }
    trials.truncate(tries.count);
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..12)
            .map(|_| {
                scope.spawn(|| {
                    while let Some((how, command)) = trials.get(next.fetch_add(1, Ordering::Relaxed)) {
                        ends(*how, *command);
                    }
                })
            })
            .collect();
        for worker in workers {
            worker.join().expect("nothing outlives a run");
        }
    });
    tries.done = tries.count;
    tries.held();
}

/// Sixteen commands that write at once: bounded memory, whole lines.
#[test]
fn sixteen_talkers_fit_into_little_memory() {
    let mut tries = tries("megabytes", 16);
    let each = tries.count.div_ceil(16);
    let line = "x".repeat(120);
    let mut iactfile = String::from("[target.all]\ndeps = [");
    (0..16).for_each(|number| iactfile.push_str(&format!("\"t{number}\",")));
    iactfile.push_str("]\n");
    for number in 0..16 {
        iactfile.push_str(&format!(
            "[target.t{number}]\nrun = '''(yes 't{number} {line}' || true) | head -c {}'''\n",
            each << 20
        ));
    }
    let space = Space::new(&iactfile);
    let mut command = space.program(IACT);
    command.args(["build", "all", "-j16", "--output=stream", "--color=never"]);
    command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let status = format!("/proc/{}/status", child.id());
    let mut peak_kb = 0_u64;
    let shown = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut whole = 0_usize;
    for (number, text) in std::io::BufRead::lines(shown).map(Result::unwrap).enumerate() {
        if number % 10_000 == 0 {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
            peak_kb = peak_kb.max(peak.split_whitespace().next().unwrap().parse().unwrap());
        }
        let Some(start) = text.find(&line) else { continue };
        let speaker = text[..start].trim_end().rsplit(' ').next().unwrap();
        assert!(text.starts_with(speaker) || text.contains(&format!("{speaker} ")), "mixed: {text}");
        assert!(text.ends_with(&line) && text.matches(&line).count() == 1, "mixed: {text}");
        whole += 1;
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(peak_kb < 200_000, "{peak_kb} kB");
    assert!(whole > 16, "{whole}");
    tries.done = tries.count;
    tries.held();
}
