//! `--summary FILE`: the run as one JSON document, the fields of `run_finished` and `targets`, the `finished`
//! events.
//!
//! Invariant: the file is written beside and renamed, so it is there whole or not at all.
#![allow(clippy::disallowed_methods, reason = "shell: writes the summary")]

use super::Sink;
use crate::report::{Document, Finished, Report, RunFinished, SCHEMA};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

pub(super) struct Summary {
    path: PathBuf,
    goals: Vec<String>,
    targets: Vec<Finished>,
    totals: RunFinished,
}

impl Summary {
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), goals: Vec::new(), targets: Vec::new(), totals: RunFinished::default() }
    }

    fn write(&self) -> io::Result<()> {
        let document =
            Document { schema: SCHEMA, goals: &self.goals, totals: &self.totals, targets: &self.targets };
        let folder =
            self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut file = tempfile::Builder::new()
            .prefix(".summary")
            .make_in(folder, |path| std::fs::OpenOptions::new().write(true).create_new(true).open(path))?;
        let mut bytes = serde_json::to_vec_pretty(&document)?;
        bytes.push(b'\n');
        file.write_all(&bytes)?;
        file.persist(&self.path).map_err(|failed| failed.error)?;
        Ok(())
    }
}

impl Sink for Summary {
    fn report(&mut self, report: &Report, _now_ms: u64) {
        match report {
            Report::RunStarted { goals, .. } => {
                self.goals.clone_from(goals);
                self.targets.clear();
            }
            Report::Finished(finished) => self.targets.push(finished.clone()),
            Report::RunFinished(totals) => self.totals = totals.clone(),
            _ => {}
        }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.write()
            .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", self.path.display())))
    }
}
