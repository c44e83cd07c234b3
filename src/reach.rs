//! What an edit reaches: for a request whose proof of a standstill holds but for a few files, the actions that depend on those,
//! and all that is needed to decide on them, read piece by piece. Everything else of the graph and the journal stays unread.
//!
//! Invariant: actions that nothing here reaches are up to date as long as the proof's other files show what they showed. It is
//! made with the proof and belongs to that one only (`tie`), and to the journal as it was when the proof was renewed
//! (`length`); as it decides what is executed, it has to belong to the user who asks, and nobody else may write it. A file
//! that means more than itself (a folder's listing, an Iactfile, a tool, the journal) reaches nothing: such a move is decided
//! the long way. Losing it costs time only.
//! Considered and refused: one file with the graph of `snapshot.rs`, which is read whole and never changed.
//!
//! One file per request, `.iact/reach/<digest of the request>`:
//!
//! ```text
//! file    = "iact reach 1\n\0\0\0" checksums:[u8;32]×2 lengths:u64×2 map tail piece*   checksums: BLAKE3 of map, of tail
//! map     = tie:u64 names settings files tools flags tables paths
//! files   = list of Iactfiles                         flags  = a byte for each node: 1 goal, 2 group
//! tables  = ends of pieces, ends of users, users, ends of dependents, dependents, ends of paths: each a list of u32
//! users   = for each file of the proof the nodes that read or make it; 2^32-1: it means more than itself
//! paths   = the journal's, in the order of their numbers
//! tail    = length:u64 outdated:u64 (of the journal) and for each node where its record lies:u64 (0: nowhere)
//! piece   = checksum:[u8;8] action deps after inputs (numbers of paths)   one for each node, and a last one: all outputs
//! ```
#![allow(clippy::disallowed_methods, reason = "shell: reads and writes the file")]

mod made;
mod read;
mod renewed;

pub use made::{Made, write};
pub use read::{Reach, Reached, Seen};
pub use renewed::{Known, Left};

use std::path::{Path, PathBuf};

const MAGIC: &[u8; 16] = b"iact reach 1\n\0\0\0";
const HEAD: usize = 16 + 32 + 32 + 16;
const GOAL: u8 = 1;
const GROUP: u8 = 2;
/// Who uses a file that means more than itself.
const EVERYBODY: u32 = u32::MAX;

/// Where it lies for a request, if the request's proof of a standstill would lie there.
pub fn place(proof: &Path) -> PathBuf {
    let memory = proof.parent().and_then(Path::parent).unwrap_or(Path::new("."));
    memory.join("reach").join(proof.file_name().unwrap_or_default())
}

/// What stands in front of a piece.
fn piece_checksum(body: &[u8]) -> [u8; 8] {
    blake3::hash(body).as_bytes()[..8].try_into().expect("eight of thirty-two bytes")
}
