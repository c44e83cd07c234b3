//! Harnesses that try to break what iact promises (`docs/promises.md`): kills, power cuts, failing system calls, crowds, hostile
//! input. Each is sized by variables (`sizes`), small for every commit, large in `tasks/soak.sh`.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests touch the world")]
#![allow(clippy::print_stderr, reason = "a skipped or failed test says why")]

mod coarse;
mod crowd;
#[path = "../it/dice.rs"]
mod dice;
mod foreign;
mod hostile;
mod kill;
mod mounted;
mod power;
mod processes;
mod project;
#[cfg(all(target_os = "linux", target_arch = "x86_64"))]
mod short;
mod sizes;
#[path = "../it/space.rs"]
#[allow(dead_code, reason = "the builder of all black-box tests; these need a part of it")]
mod space;
mod syscalls;
