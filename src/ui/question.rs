//! Questions to a person on the terminal.
//!
//! Invariant: nobody is asked who could not answer: input and messages have to be a terminal. Anything but a
//! yes is a no.
#![allow(clippy::disallowed_methods, reason = "shell: reads an answer from the terminal")]

use super::clean::clean;
use super::door;
use std::io::{BufRead, IsTerminal};

/// Asks; `None` where there is nobody.
pub fn ask(target: &str, question: &str) -> Option<bool> {
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return None;
    }
    door::tell(format!("{}: {} [y/N] ", clean(target), clean(question)));
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    let answer = answer.trim().to_lowercase();
    Some(read.is_ok() && matches!(answer.as_str(), "y" | "yes"))
}
