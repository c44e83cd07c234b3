//! Short transfers: a `read`, `write` or copy may move fewer bytes than asked for, at any time and without an error. Here each
//! one of iact moves only a few. strace cannot do that (it replaces a call, it does not shorten it), so the registers are changed
//! under the running program, and put back after the call, for the program may rely on them.

use crate::dice::Dice;
use crate::project::{assert_no_litter, assert_right, assert_sound, project};
use crate::sizes::tries;
use crate::space::{Iact, Run};
use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Event, Options};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;
use std::collections::HashMap;

/// What is done to the calls of one run.
struct Shortener {
    dice: Dice,
    /// No transfer moves more.
    most: u64,
    /// Threads within a call, with the number of bytes they asked for where that was changed.
    within: HashMap<Pid, Option<u64>>,
    shortened: usize,
}

/// Runs a command line to its end so; how many calls were shortened is said too.
fn run_short(iact: Iact<'_>, dice: &mut Dice, most: u64) -> (Run, usize) {
    let started = iact.below(&["sh", "-c", "kill -STOP $$; exec \"$@\"", "sh"]).start();
    let leader = Pid::from_raw(started.pid().as_raw_nonzero().get());
    assert!(matches!(waitpid(leader, Some(WaitPidFlag::WUNTRACED)), Ok(WaitStatus::Stopped(..))));
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXIT
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(leader, options).unwrap();
    nix::sys::signal::kill(leader, nix::sys::signal::Signal::SIGCONT).unwrap();
    let mut shortener =
        Shortener { dice: Dice::new(dice.next()), most, within: HashMap::new(), shortened: 0 };
    shortener.follow();
    (started.wait(), shortener.shortened)
}

impl Shortener {
    /// Until every thread is let go at its end, so that the process is there for its parent to wait for.
    fn follow(&mut self) {
        // Children and tracees of this thread alone: other tests have their own.
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        let mut traced = 1;
        while traced > 0 {
            let status = match waitpid(None, Some(flags)) {
                Err(Errno::EINTR) => continue,
                status => status.unwrap(),
            };
            // A thread that was killed meanwhile says so itself.
            let _ = match status {
                WaitStatus::PtraceSyscall(thread) => {
                    self.call(thread).and_then(|()| ptrace::syscall(thread, None))
                }
                WaitStatus::PtraceEvent(thread, _, event) if event == Event::PTRACE_EVENT_EXIT as i32 => {
                    traced -= 1;
                    ptrace::detach(thread, None)
                }
                WaitStatus::PtraceEvent(thread, _, event) => {
                    traced += usize::from(event == Event::PTRACE_EVENT_CLONE as i32);
                    ptrace::syscall(thread, None)
                }
                WaitStatus::Stopped(thread, signal) => ptrace::syscall(thread, signal),
                _ => Ok(()),
            };
        }
    }

    /// At the begin and at the end of a call.
    fn call(&mut self, thread: Pid) -> nix::Result<()> {
        let mut registers = ptrace::getregs(thread)?;
        if let Some(asked) = self.within.remove(&thread) {
            let Some(asked) = asked else { return Ok(()) };
            *count(&mut registers) = asked;
            return ptrace::setregs(thread, registers);
        }
        let asked = if transfers(thread, &registers) {
            let most = 1 + self.dice.below(self.most as usize) as u64;
            let count = count(&mut registers);
            (*count > most).then(|| std::mem::replace(count, most))
        } else {
            None
        };
        self.within.insert(thread, asked);
        if asked.is_some() {
            self.shortened += 1;
            ptrace::setregs(thread, registers)?;
        }
        Ok(())
    }
}

/// Where the call says how many bytes.
fn count(registers: &mut libc::user_regs_struct) -> &mut u64 {
    match registers.orig_rax as i64 {
        libc::SYS_copy_file_range => &mut registers.r8,
        libc::SYS_sendfile => &mut registers.r10,
        _ => &mut registers.rdx,
    }
}

/// It moves bytes from or to a file of a disk. (What the kernel makes up takes a number in one piece or not at all.)
fn transfers(thread: Pid, registers: &libc::user_regs_struct) -> bool {
    let calls = [
        libc::SYS_read,
        libc::SYS_write,
        libc::SYS_pread64,
        libc::SYS_pwrite64,
        libc::SYS_copy_file_range,
        libc::SYS_sendfile,
    ];
    let on_disk = || {
        let file = std::fs::read_link(format!("/proc/{thread}/fd/{}", registers.rdi)).unwrap_or_default();
        file.has_root() && !["/proc", "/sys", "/dev"].iter().any(|made_up| file.starts_with(made_up))
    };
    calls.contains(&(registers.orig_rax as i64)) && on_disk()
}

#[test]
fn transfers_that_are_short_make_nothing_short() {
    let mut tries = tries("short", 2);
    let mut dice = Dice::new(tries.seed);
    let space = project("0\n");
    let mut shortened = 0;
    while tries.done < tries.count {
        let content = format!("{} short\n", dice.next());
        space.write("in", &content);
        for (what, args) in [
            ("build", &["build", "--json", "all"][..]),
            ("nothing to do", &["build", "--json", "all"]),
            ("restore", &["build", "--json", "all"]),
            ("verify", &["cache", "verify", "--read-data"]),
            ("sweep", &["cache", "gc"]),
        ] {
            if what == "restore" {
                space.remove("out");
            }
            let most = [100, 1000, 30_000][dice.below(3)];
            let (run, calls) = run_short(space.iact(args), &mut dice, most);
            let case =
                format!("{what}, at most {most} bytes in one of {calls} calls, seed {}: {run}", tries.seed);
            assert_eq!(run.code, Some(0), "{case}");
            assert_right(&space, &content, &case);
            let wanted = [("nothing to do", "up_to_date"), ("restore", "cached")];
            if let Some((_, wanted)) = wanted.iter().find(|(of, _)| *of == what) {
                assert!(run.outcomes().values().all(|outcome| outcome == wanted), "{case}");
            }
            shortened += calls;
        }
        tries.done += 1;
    }
    assert!(shortened > 100 * tries.done, "only {shortened} calls were shortened");
    assert_sound(&space, "at the end");
    assert_no_litter(&space, "at the end");
    tries.held();
}
