//! `interactive`, and what people do on a terminal.

use crate::space::{IACT, Space};
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

#[test]
fn without_a_terminal_it_is_a_command_like_any_other() {
    let space = Space::new("[target.t]\ninteractive = true\nrun = 'cat; echo said'\n");
    let run = space.build(&["t"]);
    assert_eq!(run.output("t", "stdout"), "said\n");
}
