//! The terminal, which is the same after a run as before it, however that ends: its modes, and whose it is.
//!
//! A command on the terminal may die with the terminal in raw mode, and a shell with the terminal given to a group of its
//! own. Whoever is not in the foreground leaves it alone: it would be stopped for touching it, and has no business there. It is
//! taken back only from a group of which nobody lives: from a shell that put iact in the background it is not.

use super::signal;
use rustix::io::Errno;
use rustix::process::{getpgrp, test_kill_process_group};
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetpgrp, tcsetattr, tcsetpgrp};
use std::sync::OnceLock;

/// The terminal as it was; put back when dropped, also by a panic.
#[derive(Debug)]
pub struct Terminal {
    modes: Option<Termios>,
    /// It was ours when a command got it.
    lent: bool,
}

/// The modes that were saved first in this process.
static FIRST: OnceLock<Option<Termios>> = OnceLock::new();

/// Puts back the modes as they were saved first, for who leaves at once.
pub(super) fn restore_first() {
    if let Some(Some(modes)) = FIRST.get() {
        put_back(modes);
    }
}

impl Terminal {
    /// Remembers the modes of the terminal on standard input, if there is one.
    pub fn save() -> Self {
        let modes = tcgetattr(rustix::stdio::stdin()).ok();
        FIRST.get_or_init(|| modes.clone());
        Self { modes, lent: false }
    }

    /// The same before a command gets the terminal, which may take it for itself.
    pub(super) fn lend() -> Self {
        let mut saved = Self::save();
        saved.lent = saved.modes.is_some() && is_foreground();
        saved
    }

    /// Puts back what has changed.
    pub fn restore(&self) {
        let Some(modes) = &self.modes else { return };
        if self.lent {
            take_back();
        }
        put_back(modes);
    }
}

fn is_foreground() -> bool {
    tcgetpgrp(rustix::stdio::stdin()).is_ok_and(|group| group == getpgrp())
}

fn put_back(modes: &Termios) {
    let terminal = rustix::stdio::stdin();
    if is_foreground() && tcgetattr(terminal).is_ok_and(|now| format!("{now:?}") != format!("{modes:?}")) {
        let _ = tcsetattr(terminal, OptionalActions::Now, modes);
    }
}

/// Makes this process's group that of the terminal again, if the one that has it is gone.
fn take_back() {
    let terminal = rustix::stdio::stdin();
    if tcgetpgrp(terminal)
        .is_ok_and(|group| group != getpgrp() && test_kill_process_group(group) == Err(Errno::SRCH))
    {
        // Whoever is in the background would be stopped for it.
        let _blocked = signal::Blocked::to_write_to_the_terminal();
        let _ = tcsetpgrp(terminal, getpgrp());
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.restore();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::disallowed_methods, reason = "a real terminal needs processes")]

    use super::*;
    use crate::engine::signal::Signals;
    use crate::engine::spawn::{Children, Launch, Stdin, Stop};
    use std::ffi::OsString;
    use std::io::{BufRead, BufReader, Write};
    use std::process::{Command, Stdio};

    const ROLE: &str = "IACT_TEST_TERMINAL";

    fn on_terminal(script: &str) {
        let argv = ["/bin/sh", "-c", script].map(OsString::from);
        let env = [("PATH".into(), "/usr/bin:/bin".into())];
        let launch = Launch {
            argv: &argv,
            cwd: "/".as_ref(),
            env: &env,
            timeout_ms: Some(10_000),
            grace_ms: 0,
            stdin: Stdin::Terminal,
        };
        let ended = Children::new(None).run(&launch, &Stop::new().unwrap(), &mut |_, _| {});
        println!("{:?}", ended.end);
    }

    /// Started as a program of its own by the tests below.
    #[test]
    fn role() {
        let Ok(role) = std::env::var(ROLE) else { return };
        let terminal = Terminal::save();
        let _signals = Signals::install(|_| true).unwrap();
        match role.as_str() {
            "command" => on_terminal("test -t 0 && test -t 1 && test -t 2 && stty raw -echo; exit 7"),
            "keyboard" => on_terminal("trap 'exit 9' INT; echo ready; while :; do sleep 0.02; done"),
            _ => {
                assert!(Command::new("stty").args(["raw", "-echo"]).status().unwrap().success());
                assert_ne!(role, "panic", "as planned");
            }
        }
        drop(terminal);
    }

    /// Plays the role on a terminal of its own; what was seen there. `keys` are typed when it is ready.
    fn play(role: &str, keys: &[u8]) -> String {
        let program = std::env::current_exe().unwrap();
        // The keyboard speaks to the whole group: a shell that does not care would end there, as `dash` does.
        let line = format!(
            "trap : INT; stty -a; {ROLE}={role} {} --exact engine::terminal::tests::role --nocapture; stty -a; echo over",
            program.display()
        );
        let mut command = Command::new("script");
        command
            .args(["-qec", &line, "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut input = process.stdin.take().unwrap();
        let mut seen = String::new();
        for line in BufReader::new(process.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if line.contains("ready") {
                input.write_all(keys).unwrap();
            }
            seen.push_str(line.trim_end());
            seen.push('\n');
        }
        process.wait().unwrap();
        seen
    }

    fn assert_unchanged(seen: &str) {
        let modes: Vec<&str> = seen.split("speed ").skip(1).collect();
        assert_eq!(modes.len(), 2, "{seen}");
        let last = |text: &str| text.lines().find(|line| line.contains("echoke")).map(str::to_owned);
        assert!(last(modes[0]).is_some(), "{seen}");
        assert_eq!(last(modes[0]), last(modes[1]), "{seen}");
    }

    #[test]
    fn its_modes_are_put_back_also_by_a_panic() {
        for role in ["plain", "panic"] {
            assert_unchanged(&play(role, b""));
        }
    }

    #[test]
    fn a_command_may_own_it_and_leave_it_raw() {
        let seen = play("command", b"");
        assert!(seen.contains("Exited(7)"), "{seen}");
        assert_unchanged(&seen);
    }

    #[test]
    fn the_keyboard_interrupts_the_command_that_owns_it_not_iact() {
        let seen = play("keyboard", b"\x03");
        assert!(seen.contains("Exited(9)") && seen.contains("over"), "{seen}");
    }
}
