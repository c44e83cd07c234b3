//! The keys few targets have, each with its table of cases.

mod artifacts;
mod cleanups;
mod confirm;
mod exports;
mod history;
mod locks;
mod requires;
mod retry;
mod secrets;
mod severity;
mod terminal;
mod when;
