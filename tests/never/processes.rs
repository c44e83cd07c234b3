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
use std::process::{Child, ExitStatus, Stdio};
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
    /// To iact, while its command owns the terminal and has made it raw.
    WhileRaw(Signal),
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

/// Grace and a second; how late the machine is comes on top.
const LIMIT: Duration = Duration::from_secs(5 + 1);

/// How late, all in all, this process was woken who wanted to be woken every [`BEAT`]: by a little each time, and because the
/// machine stood still.
static LATE_US: [AtomicU64; 2] = [const { AtomicU64::new(0) }; 2];
const BEAT: Duration = Duration::from_millis(10);
const STILL: Duration = Duration::from_millis(100);

fn count_lateness() {
    std::thread::spawn(|| {
        loop {
            let began = Instant::now();
            std::thread::sleep(BEAT);
            let late = began.elapsed() - BEAT;
            LATE_US[usize::from(late >= STILL)].fetch_add(late.as_micros() as u64, Ordering::Relaxed);
        }
    });
}

fn lateness() -> [Duration; 2] {
    LATE_US.each_ref().map(|late| Duration::from_micros(late.load(Ordering::Relaxed)))
}

/// What an end may be late that took so long on a machine that was so late meanwhile. Several processes take part in it, and
/// each may be late; of a little lateness only as much counts as fell into the second after the grace, on the average.
fn allowance(before: [Duration; 2], took: Duration) -> Duration {
    let [little, still] = lateness();
    let share = 1.0 / took.as_secs_f64().max(1.0);
    4 * (still - before[1]) + 4 * (little - before[0]).mul_f64(share)
}

/// iact on a terminal of its own, as the leader of its session.
struct OnTerminal {
    master: Option<OwnedFd>,
    slave: File,
    child: Child,
    /// Its modes before.
    modes: String,
}

impl OnTerminal {
    fn modes(&self) -> String {
        format!("{:?}", tcgetattr(&self.slave).unwrap())
    }

    /// Waits for the end; that, and how long it took. What is shown meanwhile has to be read, or nobody could write.
    fn end(mut self, began: Instant, case: &str) -> (ExitStatus, Duration) {
        let mut reader = File::from(self.master.take().unwrap());
        let drained = std::thread::spawn(move || drop(std::io::copy(&mut reader, &mut std::io::sink())));
        let status = self.child.wait().unwrap();
        let took = began.elapsed();
        assert_eq!(self.modes(), self.modes, "{case}: the terminal is as it was");
        drop(self.slave);
        drained.join().unwrap();
        (status, took)
    }
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
    let modes = format!("{:?}", tcgetattr(&slave).unwrap());
    OnTerminal { child: command.spawn().unwrap(), master: Some(master), slave, modes }
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
    let is_raw = matches!(how, How::WhileRaw(_));
    let space = Space::new(&format!(
        "[target.t]\ninputs = []\noutputs = ['o']\ninteractive = {is_raw}\nrun = '''\necho t >> @LOG@\ntouch o\n\
         if [ -e @BASE@/quick ]; then exit 0; fi\n{}\ntouch @BASE@/there\n{}\n'''\n",
        if is_raw { "stty raw -echo" } else { "" },
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
        How::Typed | How::HungUp | How::WhileRaw(_) => {
            let mut on = on_terminal(&space);
            runs();
            std::thread::sleep(Duration::from_millis(50));
            let began = Instant::now();
            match how {
                How::HungUp => {
                    drop(on.master.take());
                    (on.child.wait().unwrap(), began.elapsed(), Signal::HUP)
                }
                How::WhileRaw(signal) => {
                    assert_ne!(on.modes(), on.modes, "{case}: it is raw");
                    kill_process(Pid::from_child(&on.child), signal).unwrap();
                    let (status, took) = on.end(began, &case);
                    (status, took, signal)
                }
                _ => {
                    rustix::io::write(on.master.as_ref().unwrap(), b"\x03").unwrap();
                    let (status, took) = on.end(began, &case);
                    (status, took, Signal::INT)
                }
            }
        }
    };
    let left = left_over(&mark);
    assert!(left.is_empty(), "{case}: {left:?} outlived it");
    let late = allowance(late, took);
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
    let mut tries = tries("processes", 72);
    let mut trials: Vec<_> = Vec::new();
    let hows = || {
        let signalled = SIGNALS.into_iter().flat_map(|signal| [How::ToIact(signal), How::ToGroup(signal)]);
        let raw = [Signal::TERM, Signal::HUP].map(How::WhileRaw);
        signalled.chain([How::Typed, How::HungUp]).chain(raw)
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
    let (mut said, mut cut) = ([0_u64; 16], [false; 16]);
    for (number, text) in std::io::BufRead::lines(shown).map(Result::unwrap).enumerate() {
        if number % 10_000 == 0 {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
            peak_kb = peak_kb.max(peak.split_whitespace().next().unwrap().parse().unwrap());
        }
        let number =
            text.split_once(" | ").and_then(|(name, _)| name.trim_end().strip_prefix('t')?.parse().ok());
        let number: usize = number.unwrap_or_else(|| panic!("nobody's: {text}"));
        let (own, shown) = (format!("t{number} {line}"), text.split_once(" | ").unwrap().1);
        // `head` cuts the last line of each.
        let is_cut = own.len() > shown.len() && own.starts_with(shown);
        assert!(shown == own || is_cut && !cut[number], "mixed: {text}");
        cut[number] |= is_cut;
        said[number] += shown.len() as u64 + u64::from(!is_cut);
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
    assert!(peak_kb < 200_000, "{peak_kb} kB");
    assert_eq!(said, [(each as u64) << 20; 16], "every byte was shown");
    tries.done = tries.count;
    tries.held();
}
