//! The program as its users meet it: a workspace, a command line, what happened. One file per topic.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "tests touch the world")]
#![allow(clippy::print_stderr, reason = "a skipped or failed test says why")]

mod bad_input;
mod between;
mod brought;
mod damage;
mod depfile;
mod determinism;
mod dice;
mod environment;
mod includes;
mod keys;
mod matrix;
mod memory;
mod model;
mod mounted;
mod outputs;
mod restore;
mod running;
mod services;
mod signals;
mod space;
mod standstill;
mod tools_probes;
mod truth_table;
mod upkeep;
mod variables;
mod verbs;
mod watch;
