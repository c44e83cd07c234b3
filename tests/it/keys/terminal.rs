//! `interactive`, and what people do on a terminal.

use crate::space::{IACT, Space, left_over, mark};
use std::io::{Read, Write};
use std::process::Stdio;

/// Runs iact on a terminal of its own and types `keys` as soon as `prompt` is there; what was seen, and the
/// exit code.
pub(super) fn on_terminal(space: &Space, line: &str, prompt: &str, keys: &str) -> (String, i32) {
    let mut command = space.program("script");
    command.args(["-qec", &format!("exec {IACT} {line}"), "/dev/null"]);
    command.env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let (mut input, mut output) = (process.stdin.take().unwrap(), process.stdout.take().unwrap());
    let (mut seen, mut typed, mut buffer) = (Vec::new(), false, [0; 4096]);
    loop {
        match output.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(read) => seen.extend_from_slice(&buffer[..read]),
        }
        if !typed && String::from_utf8_lossy(&seen).contains(prompt) {
            typed = true;
            input.write_all(keys.as_bytes()).unwrap();
        }
    }
    let code = process.wait().unwrap().code().unwrap();
    (String::from_utf8_lossy(&seen).into_owned(), code)
}

#[test]
fn an_interactive_command_owns_the_terminal() {
    let space = Space::new(
        "[target.t]\ninteractive = true\nrun = 'test -t 0 && test -t 1; echo name?; read name; echo \"hello $name\" >> @LOG@'\n\
         [target.beside]\nrun = 'echo beside >> @LOG@'\n[target.all]\ndeps = ['t', 'beside']\n",
    );
    let (seen, code) = on_terminal(&space, "build all", "name?", "ann\n");
    assert_eq!(code, 0, "{seen}");
    assert_eq!(space.trail_sorted(), ["beside", "hello ann"], "{seen}");
}

#[test]
fn the_keyboard_interrupts_the_interactive_command_and_not_the_run() {
    let space = Space::new(
        "[target.t]\ninteractive = true\nseverity = 'warn'\nrun = 'trap \"echo trapped >> @LOG@; exit 9\" INT; echo ready; while :; do sleep 0.02; done'\n\
         [target.d]\ndeps = ['t']\nrun = 'echo d >> @LOG@'\n",
    );
    let (seen, code) = on_terminal(&space, "build d", "ready", "\x03");
    assert_eq!(code, 0, "{seen}");
    assert_eq!(space.trail(), ["trapped", "d"], "{seen}");
}

/// A line of a shell that has the terminal, as the leader of its session; what was seen.
fn in_a_shell(space: &Space, line: &str) -> String {
    let mut command = space.program("script");
    command.args(["-qec", line, "/dev/null"]);
    command.env("TERM", "xterm").stdin(Stdio::null()).stderr(Stdio::null());
    let shown = command.output().unwrap();
    String::from_utf8_lossy(&shown.stdout).into_owned()
}

#[test]
fn its_end_comes_also_if_it_forgot_where_it_comes_from() {
    for (how, iact) in [
        ("a timeout", format!("{IACT} build t")),
        ("a signal", format!("timeout --foreground -s TERM 1 {IACT} build u")),
    ] {
        let mark = mark();
        let space = Space::new(&format!(
            "[target.t]\ninteractive = true\ntimeout = '1s'\nexec = ['env', '-i', 'sleep', '{mark}']\n\
             [target.u]\ninteractive = true\nexec = ['env', '-i', 'sleep', '{mark}']\n"
        ));
        let seen = in_a_shell(&space, &format!("timeout -s KILL 30 {iact}; echo over $?"));
        assert!(seen.contains("over") && !seen.contains("over 137"), "{how}: {seen}");
        assert!(left_over(&mark).is_empty(), "{how}: {seen}");
    }
}

#[test]
fn it_comes_back_from_a_shell_that_took_it_and_was_ended() {
    let space = Space::new(
        "[target.t]\ninteractive = true\ntimeout = '1s'\nrun = 'exec bash --norc --noprofile -i'\n",
    );
    let group = "ps -o pgid=,tpgid= -p $$";
    let seen = in_a_shell(&space, &format!("{IACT} build t; echo; echo over $? $({group})"));
    let line = seen.lines().find(|line| line.starts_with("over")).unwrap_or_else(|| panic!("{seen}"));
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[2], words[3], "the group of the shell has the terminal: {seen}");
}

#[test]
fn a_signal_leaves_it_as_it_was_however_it_was_left() {
    for signals in [1, 2] {
        let space = Space::new(
            "[target.t]\ninteractive = true\nrun = \"stty raw -echo; touch @BASE@/there; trap '' TERM; while :; do sleep 0.05; done\"\n",
        );
        let there = space.base().join("there").display().to_string();
        let seen = in_a_shell(
            &space,
            &format!(
                "trap : TERM; stty -g; {IACT} build t < /dev/tty & I=$!; until [ -e {there} ]; do sleep 0.02; done; \
                 for i in $(seq {signals}); do kill -TERM $I; sleep 0.3; done; wait $I; echo; stty -g < /dev/tty"
            ),
        );
        let modes: Vec<&str> =
            seen.lines().map(str::trim).filter(|line| line.matches(':').count() > 10).collect();
        assert_eq!(modes.len(), 2, "{signals}: {seen}");
        assert_eq!(modes[0], modes[1], "{signals}: {seen}");
    }
}

#[test]
fn without_a_terminal_it_is_a_command_like_any_other() {
    let space = Space::new("[target.t]\ninteractive = true\nrun = 'cat; echo said'\n");
    let run = space.build(&["t"]);
    assert_eq!(run.output("t", "stdout"), "said\n");
}
