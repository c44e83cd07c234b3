//! One running command: waits for whatever happens next and does what its course says.
#![allow(clippy::disallowed_methods, reason = "shell: the clock")]

use super::course::{Cause, Course, Facts, Step};
use super::lines::Lines;
use super::mark::Mark;
use super::supervisor::Place;
use super::tree::Tree;
use super::{End, Ended, Launch, NotStarted, Stdin, Stop, platform, reap, start};
use crate::report::Stream;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};
use std::cell::Cell;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::{Duration, Instant};

/// How long an incomplete line is held back.
const HOLD_MS: u64 = 100;
/// So long after the start only the end is waited for: who ends by then wakes us once, not for each closed pipe, too.
const SHORT_MS: u64 = 2;
/// How long what a successful command started may take to vanish after it, before it counts as left running.
const LINGER: [Duration; 5] = [
    Duration::ZERO,
    Duration::from_millis(1),
    Duration::from_millis(2),
    Duration::from_millis(4),
    Duration::from_millis(8),
];

thread_local! {
    /// The buffers of the last command on this thread.
    static SPARE: Cell<Option<[Lines; 2]>> = const { Cell::new(None) };
}

pub(super) struct Running {
    child: Pid,
    end: OwnedFd,
    pipes: [Pipe; 2],
    tree: Tree,
    is_collected: bool,
    /// Whether what is left of the tree ends with the child.
    takes_rest_along: bool,
}

struct Pipe {
    stream: Stream,
    file: Option<File>,
    lines: Lines,
    read_ms: u64,
}

impl Running {
    pub(super) fn start(
        launch: &Launch<'_>,
        whole_mark: &OsStr,
        mark: String,
        place: Option<Place<'_>>,
    ) -> Result<Self, NotStarted> {
        let since = platform::tick();
        let process = {
            let _gate = reap::starting();
            let process = start::start(launch, whole_mark, place)?;
            reap::register(process.pid);
            process
        };
        let child = process.pid;
        let end = process.end.map_or_else(|| platform::watch_end(child), Ok).map_err(|error| {
            let _ = rustix::process::kill_process(child, Signal::KILL);
            reap::discard(child);
            NotStarted { path: launch.argv[0].clone().into(), error }
        })?;
        let [out, err] = SPARE.take().unwrap_or_else(|| [Lines::new(), Lines::new()]);
        let (stdout, stderr) = (process.stdout.map(File::from), process.stderr.map(File::from));
        let pipes = [
            Pipe { stream: Stream::Stdout, file: stdout, lines: out, read_ms: 0 },
            Pipe { stream: Stream::Stderr, file: stderr, lines: err, read_ms: 0 },
        ];
        let mark = Mark::Action(mark);
        let tree = match launch.stdin {
            Stdin::Null => Tree::new(mark, vec![child], since),
            // It stays in our group, the one that the terminal is for.
            Stdin::Terminal => Tree::new(mark, Vec::new(), since).with_first(child),
        };
        Ok(Self { child, end, pipes, tree, is_collected: false, takes_rest_along: false })
    }

    /// When the child ends, so does what it started; the child's number.
    pub(super) fn take_rest_along(&mut self) -> u32 {
        self.takes_rest_along = true;
        self.child.as_raw_pid().unsigned_abs()
    }

    /// Kills what the child, which has ended, left behind: as often as it takes, since some may be forking.
    fn kill_rest(&mut self) {
        for pause in LINGER {
            std::thread::sleep(pause);
            if !self.tree.survives() {
                break;
            }
            self.tree.send(Signal::KILL);
        }
    }

    /// Passes output on and ends the tree if need be, until the course is done.
    pub(super) fn follow(
        &mut self,
        launch: &Launch<'_>,
        stop: &Stop,
        begin: Instant,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Course {
        let mut course = Course::new(launch.timeout_ms, launch.grace_ms);
        let mut facts = Facts::default();
        loop {
            facts.now_ms = milliseconds_since(begin);
            facts.stop = stop.signal();
            facts.kill = stop.is_killed();
            facts.open = self.pipes.iter().any(|pipe| pipe.file.is_some());
            if self.takes_rest_along && facts.exited.is_some() && course.cause().is_none() {
                self.takes_rest_along = false;
                self.kill_rest();
            }
            match course.step(facts, || self.tree.survives()) {
                Step::Signal(raw) => self.tree.send(Signal::from_named_raw(raw).unwrap_or(Signal::TERM)),
                Step::Kill => self.tree.send(Signal::KILL),
                Step::Wait(until_ms) => self.wait(until_ms, (stop, begin), &mut facts, output),
                Step::Done => break,
            }
        }
        for pipe in &mut self.pipes {
            pipe.lines.flush(&mut |bytes| output(pipe.stream, bytes));
        }
        course
    }

    /// Waits for the next event or deadline and takes in what has happened.
    fn wait(
        &mut self,
        until_ms: Option<u64>,
        (stop, begin): (&Stop, Instant),
        facts: &mut Facts,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) {
        let held =
            self.pipes.iter().filter(|pipe| pipe.lines.is_holding()).map(|pipe| pipe.read_ms + HOLD_MS).min();
        let until_ms = until_ms.into_iter().chain(held).min();
        let timeout_ms = until_ms.map(|until| until.saturating_sub(facts.now_ms));
        let is_young = facts.open && facts.exited.is_none() && facts.now_ms < SHORT_MS;
        let (mut ready, ended) = if is_young {
            let short_ms = (SHORT_MS - facts.now_ms).min(timeout_ms.unwrap_or(u64::MAX));
            self.poll(false, stop, facts, Some(short_ms))
        } else {
            self.poll(true, stop, facts, timeout_ms)
        };
        if is_young && ended {
            (ready, _) = self.poll(true, stop, facts, Some(0));
        }
        facts.now_ms = milliseconds_since(begin);
        for (pipe, ready) in self.pipes.iter_mut().zip(ready) {
            if pipe.take(ready, facts, output) {
                facts.output_ms = facts.now_ms;
            }
        }
        if ended {
            // With its pipes closed nobody asks whether it succeeded before it is collected.
            facts.exited = Some(self.pipes.iter().all(|pipe| pipe.file.is_none()) || self.succeeded());
        }
    }

    /// Waits for the end, the bells and, if they are asked for, the pipes: what is ready of these, and whether the child has
    /// ended.
    fn poll(
        &self,
        with_pipes: bool,
        stop: &Stop,
        facts: &Facts,
        timeout_ms: Option<u64>,
    ) -> ([PollFlags; 2], bool) {
        let mut fds = Vec::with_capacity(5);
        let files = || self.pipes.iter().map(|pipe| pipe.file.as_ref().filter(|_| with_pipes));
        fds.extend(files().flatten().map(|file| PollFd::new(file, PollFlags::IN)));
        let pipes = fds.len();
        if facts.exited.is_none() {
            fds.push(PollFd::new(&self.end, PollFlags::IN));
        }
        if facts.stop.is_none() {
            fds.push(PollFd::from_borrowed_fd(stop.end_bell(), PollFlags::IN));
        }
        if !facts.kill {
            fds.push(PollFd::from_borrowed_fd(stop.kill_bell(), PollFlags::IN));
        }
        // An interrupted wait is an early one: nothing is ready. What fails may go on to fail.
        if rustix::event::poll(&mut fds, timeout_ms.map(timespec).as_ref())
            .is_err_and(|why| why != Errno::INTR)
        {
            std::thread::sleep(Duration::from_millis(10));
        }
        let mut ready = [PollFlags::empty(); 2];
        let mut seen = fds.iter().take(pipes).map(PollFd::revents);
        for (ready, file) in ready.iter_mut().zip(files()) {
            if file.is_some() {
                *ready = seen.next().unwrap_or(PollFlags::empty());
            }
        }
        (ready, facts.exited.is_none() && !fds[pipes].revents().is_empty())
    }

    /// Whether the child, which has ended, did so with success. It stays uncollected.
    fn succeeded(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOWAIT | WaitIdOptions::NOHANG;
        let status = rustix::process::waitid(WaitId::Pid(self.child), look);
        status.is_ok_and(|status| status.is_some_and(|status| status.exit_status() == Some(0)))
    }

    /// Collects the child and says how it ended.
    pub(super) fn finish(mut self, course: &Course, begin: Instant) -> Ended {
        let output_complete = self.pipes.iter().all(|pipe| pipe.file.is_none());
        let (status, usage) = match reap::collect(self.child) {
            Ok(Some((status, usage))) => (Some(ExitStatus::from_raw(status)), usage),
            _ => {
                reap::forget(self.child);
                (None, reap::Usage::default())
            }
        };
        self.is_collected = true;
        let end = match (course.cause(), status) {
            (Some(Cause::TimedOut), _) => End::TimedOut,
            (Some(Cause::Cancelled), _) => End::Cancelled,
            (None, Some(status)) => match status.code() {
                Some(code) => End::Exited(code),
                None => End::Signalled(status.signal().unwrap_or(0)),
            },
            // Somebody else in this process took the end of our child: it cannot count as a success.
            (None, None) => End::Signalled(0),
        };
        let left_running = course.left
            || self.tree.groups.first().is_some_and(|group| lingers(*group, course.cause().is_none()));
        reap::collect_orphans();
        Ended { end, duration_ms: milliseconds_since(begin), usage, output_complete, left_running }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.is_collected {
            // Only when `output` panics: nobody will look after the command any more.
            self.tree.send(Signal::KILL);
            reap::discard(self.child);
        }
        let [out, err] = &mut self.pipes;
        SPARE.set(Some([std::mem::take(&mut out.lines), std::mem::take(&mut err.lines)]));
    }
}

impl Pipe {
    /// Reads once if there is something; whether there was.
    fn take(&mut self, ready: PollFlags, facts: &Facts, output: &mut dyn FnMut(Stream, &[u8])) -> bool {
        let Some(file) = &mut self.file else { return false };
        let mut deliver = |bytes: &[u8]| output(self.stream, bytes);
        if ready.contains(PollFlags::IN) {
            match file.read(self.lines.space()) {
                Ok(read @ 1..) => {
                    self.read_ms = facts.now_ms;
                    self.lines.took(read, &mut deliver);
                    return true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return false,
                Ok(0) | Err(_) => self.file = None,
            }
        } else if !ready.is_empty() {
            self.file = None;
        }
        if self.file.is_none() || facts.now_ms >= self.read_ms + HOLD_MS {
            self.lines.flush(&mut deliver);
        }
        false
    }
}

/// Collects what a command left behind; whether any of it lives on.
fn lingers(group: Pid, patiently: bool) -> bool {
    let pauses = if patiently { &LINGER[..] } else { &LINGER[..1] };
    pauses.iter().all(|pause| {
        if !pause.is_zero() {
            std::thread::sleep(*pause);
        }
        reap::collect_group(group)
    })
}

fn milliseconds_since(begin: Instant) -> u64 {
    u64::try_from(begin.elapsed().as_millis()).unwrap_or(u64::MAX)
}

fn timespec(ms: u64) -> Timespec {
    Timespec { tv_sec: i64::try_from(ms / 1000).unwrap_or(i64::MAX), tv_nsec: (ms % 1000) as i64 * 1_000_000 }
}
