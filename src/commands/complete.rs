//! `iact complete`, asked by the scripts of the shells: names from the Iactfile, the rest from the command line's own tree.
//!
//! Invariant: nothing is run or written, and whatever is wrong with the Iactfile, the answer is a shorter list.

use super::{End, answer};
use crate::cli::complete::{self, Candidate};
use crate::cli::{Complete, Place};
use crate::error::Result;
use crate::workspace::{self, Caller, Given, Workspace};

/// Answers with what could stand at the cursor.
///
/// # Errors
/// None; the type is that of all verbs.
pub fn complete(complete: &Complete) -> Result<End> {
    answer(complete::render(&complete::candidates(&complete.words, names)))
}

fn names(place: &Place) -> Vec<Candidate> {
    let place = workspace::Place { directory: place.directory.clone(), file: place.file.clone() };
    let Ok(workspace) = Workspace::open(Caller::of_process(), &place, Given::default()) else {
        return Vec::new();
    };
    let (graph, folder) = (&workspace.graph, workspace.nearest());
    let candidate = |word: &str| {
        let decl = graph.names.find_goal(folder, word)?;
        let target = &graph.manifests[decl.manifest as usize].targets[decl.target as usize];
        let help = target.description.as_ref().and_then(|text| text.value.trim().lines().next());
        Some(Candidate { word: word.to_owned(), help: help.unwrap_or_default().to_owned() })
    };
    graph.names.candidates(folder).filter_map(candidate).collect()
}
