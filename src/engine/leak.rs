//! Secrets in outputs: found before anything of them is stored.
//!
//! An action that would be stored, as a result or as a generation, fails if one of its output files holds one of
//! its own secrets, byte for byte. Invariant: what decides is the definition and the outputs, not whether a cache is
//! there. Links are not followed: what they lead to is not stored.
//!
//! Refused: values shorter than eight bytes, which stand in too many files by chance; looking into what is
//! compressed or encrypted; the secrets of other actions, which would make an outcome depend on the goals.
#![allow(clippy::disallowed_methods, reason = "shell: reads files")]

use super::secrets::Secrets;
use crate::graph::action::Action;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// A shorter secret is not looked for.
const SHORTEST_BYTES: usize = 8;
const PIECE_BYTES: usize = 256 << 10;

/// The first output file with a secret in it, and that secret's name. What cannot be read is left to whoever collects.
pub fn find(root: &Path, action: &Action, secrets: &Secrets) -> Option<(String, String)> {
    let rare = action.rare();
    if !action.cache && rare.retain.is_none() {
        return None;
    }
    let named = secrets.of_names(&action.folder, &rare.secrets);
    let wanted: Vec<(&str, &[u8])> = named.filter(|(_, value)| value.len() >= SHORTEST_BYTES).collect();
    if wanted.is_empty() {
        return None;
    }
    let mut open: Vec<_> = action.outputs.iter().map(|output| root.join(&output.path)).collect();
    while let Some(path) = open.pop() {
        let Ok(facts) = path.symlink_metadata() else { continue };
        if facts.is_dir() {
            let Ok(entries) = path.read_dir() else { continue };
            open.extend(entries.filter_map(|entry| Some(entry.ok()?.path())));
        } else if facts.is_file()
            && let Ok(Some(name)) = File::open(&path).and_then(|file| first_in(file, &wanted))
        {
            let path = path.strip_prefix(root).unwrap_or(&path).display().to_string();
            return Some((path, name.to_owned()));
        }
    }
    None
}

/// The first of the values that a stream holds.
fn first_in<'w>(mut stream: impl Read, wanted: &[(&'w str, &[u8])]) -> io::Result<Option<&'w str>> {
    let longest = wanted.iter().map(|(_, value)| value.len()).max().unwrap_or(1);
    let mut begins = [false; 256];
    wanted.iter().for_each(|(_, value)| begins[usize::from(value[0])] = true);
    let mut piece = vec![0; PIECE_BYTES.max(2 * longest)];
    let mut kept = 0;
    loop {
        let read = match stream.read(&mut piece[kept..]) {
            Ok(0) => return Ok(None),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let bytes = &piece[..kept + read];
        let places = bytes.iter().enumerate().filter(|(_, byte)| begins[usize::from(**byte)]);
        for (at, _) in places {
            if let Some((name, _)) = wanted.iter().find(|(_, value)| bytes[at..].starts_with(value)) {
                return Ok(Some(name));
            }
        }
        // One may have begun at the end of what was read.
        let rest = bytes.len().saturating_sub(longest - 1);
        kept = bytes.len() - rest;
        piece.copy_within(rest..rest + kept, 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Trickle<'b>(&'b [u8], usize);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let count = self.1.min(self.0.len()).min(into.len());
            into[..count].copy_from_slice(&self.0[..count]);
            self.0 = &self.0[count..];
            Ok(count)
        }
    }

    #[test]
    fn a_value_is_found_however_the_stream_is_cut_and_only_whole() {
        let wanted: [(&str, &[u8]); 2] = [("LONG", b"aaaaaaab-and-more"), ("SHORT", b"aaaaaaab")];
        let long = [vec![b'a'; PIECE_BYTES - 3], b"aaaab".to_vec()].concat();
        for (bytes, found) in [
            (&b"xx aaaaaaaab-and-mor"[..], Some("SHORT")),
            (b"aaaaaaab-and-more", Some("LONG")),
            (b"aaaaaaa b", None),
            (b"", None),
            (&long, Some("SHORT")),
        ] {
            for step in [1, 3, 7, 1 << 20] {
                assert_eq!(first_in(Trickle(bytes, step), &wanted[1..]).unwrap().is_some(), found.is_some());
                if step > 16 {
                    assert_eq!(first_in(Trickle(bytes, step), &wanted).unwrap(), found);
                }
            }
        }
    }
}
