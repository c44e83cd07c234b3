//! iact: an incremental task runner and build tool.
//!
//! Facts in, decision out: what decides is a function of values; what acts (files, processes, clock, screen)
//! is a short list of files that opt out of the bans in `.clippy.toml` on their first line.

mod bytes;
pub mod cli;
pub mod commands;
pub mod content;
pub mod decision;
pub mod difference;
pub mod engine;
pub mod error;
pub mod fingerprint;
pub mod graph;
pub mod journal;
pub mod log;
pub mod manifest;
pub mod path;
pub mod path_table;
pub mod plan;
pub mod reach;
pub mod record;
pub mod report;
pub mod scan;
pub mod schedule;
pub mod schema;
pub mod snapshot;
pub mod standstill;
pub mod template;
pub mod ui;
pub mod watch;
pub mod workspace;
