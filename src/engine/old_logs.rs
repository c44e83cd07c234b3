//! Logs of actions that are gone go 30 days after they were written: with names that change (of days, of files) they would
//! become more and more.
//!
//! There are more of them only when one has come, which shows in the time of their folder: a run in which none came looks no
//! further.
#![allow(clippy::disallowed_methods, reason = "shell: lists and removes logs, asks the time")]

use super::shared::{Shared, log_stem};
use rustc_hash::FxHashSet;
use std::io;
use std::time::{Duration, SystemTime};

const OLD: Duration = Duration::from_secs(30 * 24 * 3_600);
/// Times of files may be that coarse.
const TICK: Duration = Duration::from_secs(2);

/// Removes them, at the end of a run that knows every action there is. What cannot be removed is tried again.
pub fn thin(shared: &Shared<'_>) {
    if shared.workspace.graph.is_whole() {
        let _ = try_thin(shared);
    }
}

fn try_thin(shared: &Shared<'_>) -> io::Result<()> {
    let folder = shared.workspace.memory().join("log");
    let now = SystemTime::now();
    let began = now - Duration::from_millis(shared.now_ms()) - TICK;
    if std::fs::metadata(&folder)?.modified()? < began {
        return Ok(());
    }
    let known: FxHashSet<String> =
        shared.workspace.graph.actions.iter().map(|action| log_stem(&action.name)).collect();
    for log in std::fs::read_dir(&folder)? {
        let log = log?;
        let is_known = log.file_name().to_str().is_some_and(|name| known.contains(name));
        if !is_known && log.metadata()?.modified()? < now - OLD {
            std::fs::remove_file(log.path())?;
        }
    }
    Ok(())
}
