//! Noticing that building makes itself necessary: a command that writes into its own inputs, or into those of something
//! that is built before it.
//!
//! Invariant: a path that moved during each of [`TIMES`] builds in a row is named and starts no build any more, until it
//! moves while nothing is built: then a person moved it.
//! Who wrote a file cannot be known, so a person who saves the same file during every build is told the same; the next
//! save in peace is built.

use std::collections::BTreeMap;

/// Builds in a row.
const TIMES: u32 = 4;

/// How often each path moved during builds in a row.
#[derive(Debug, Default)]
pub struct Loops {
    times: BTreeMap<Vec<u8>, u32>,
}

impl Loops {
    /// These moved during the build that just ended. Whether another build is due, and what is to be named now.
    pub fn during(&mut self, paths: &[Vec<u8>]) -> (bool, Vec<Vec<u8>>) {
        self.times.retain(|path, times| *times >= TIMES || paths.contains(path));
        let mut named = Vec::new();
        let mut due = paths.is_empty();
        for path in paths {
            let times = self.times.entry(path.clone()).or_default();
            *times += 1;
            due |= *times < TIMES;
            if *times == TIMES {
                named.push(path.clone());
            }
        }
        (due, named)
    }

    /// These, or none, moved while nothing was built.
    pub fn rest(&mut self, paths: &[Vec<u8>]) {
        self.times.retain(|path, times| *times >= TIMES && !paths.contains(path));
    }

    /// What moved during the build before: it does not end an action again, which may be the one that writes it.
    pub fn suspects(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.times.keys()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_moves_in_every_build_is_named_once_and_left_until_it_moves_in_peace() {
        let mut loops = Loops::default();
        let path = |name: &str| vec![name.as_bytes().to_vec()];
        for _ in 1..TIMES {
            assert_eq!(loops.during(&path("a")), (true, vec![]));
        }
        assert_eq!(loops.during(&path("a")), (false, path("a")));
        assert_eq!(loops.during(&path("a")), (false, vec![]), "named once");
        assert_eq!(loops.during(&path("b")), (true, vec![]), "another path is another matter");
        loops.rest(&[]);
        assert_eq!(loops.during(&path("a")), (false, vec![]), "peace alone is not enough");
        loops.rest(&path("a"));
        assert_eq!(loops.during(&path("a")), (true, vec![]), "moved in peace meanwhile");
        loops.rest(&[]);
        for _ in 1..TIMES {
            assert_eq!(loops.during(&path("a")), (true, vec![]), "not in a row");
        }
    }
}
