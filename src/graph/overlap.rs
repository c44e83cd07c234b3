//! Who makes what: declared outputs and depfiles by path, and what that forbids.
//!
//! Invariant: sorted by components, so that everything at, above or below a path is found by two binary
//! searches; checking all outputs against each other is one pass.

use super::action::Action;
use std::cmp::Ordering;

/// Declared outputs and depfiles with the index of the action that makes each.
#[derive(Debug, Default)]
pub struct Makers {
    sorted: Vec<(String, u32)>,
}

fn by_components(a: &str, b: &str) -> Ordering {
    let key = |byte: u8| if byte == b'/' { 0 } else { byte };
    a.bytes().map(key).cmp(b.bytes().map(key))
}

impl Makers {
    /// From all declared outputs.
    pub fn new(mut outputs: Vec<(String, u32)>) -> Self {
        outputs.sort_unstable_by(|a, b| by_components(&a.0, &b.0).then(a.1.cmp(&b.1)));
        Self { sorted: outputs }
    }

    /// Of everything these actions write; the place in the list is the maker.
    pub fn of_all(actions: &[Action]) -> Self {
        let all = actions.iter().zip(0..);
        Self::new(
            all.flat_map(|(action, id)| action.writes().map(move |path| (path.to_owned(), id))).collect(),
        )
    }

    /// The first two outputs one of which is, or lies below, the other: outer and inner, each with its maker.
    pub fn overlap(&self) -> Option<[&(String, u32); 2]> {
        let below = |inner: &str, outer: &str| crate::scan::patterns::is_below(inner, outer);
        self.sorted.windows(2).find(|pair| below(&pair[1].0, &pair[0].0)).map(|pair| [&pair[0], &pair[1]])
    }

    /// Two outputs that some file systems take for one: they differ only in case.
    pub fn case_twins(&self) -> Option<[&(String, u32); 2]> {
        let mut folded: Vec<(String, &(String, u32))> =
            self.sorted.iter().map(|one| (one.0.to_lowercase(), one)).collect();
        folded.sort_unstable();
        folded.windows(2).find(|pair| pair[0].0 == pair[1].0).map(|pair| [pair[0].1, pair[1].1])
    }

    /// The makers of everything at, above or below a path.
    pub fn touching<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a (String, u32)> {
        let above =
            std::iter::successors(parent(path), |path| parent(path)).filter_map(|path| self.exactly(path));
        let start = self.sorted.partition_point(|(output, _)| by_components(output, path) == Ordering::Less);
        let below = self.sorted[start..].iter();
        above.chain(below.take_while(move |(output, _)| crate::scan::patterns::is_below(output, path)))
    }

    /// The maker of a path, or of the folder it lies in.
    pub fn of(&self, path: &str) -> Option<u32> {
        std::iter::successors(Some(path), |path| parent(path)).find_map(|path| Some(self.exactly(path)?.1))
    }

    fn exactly(&self, path: &str) -> Option<&(String, u32)> {
        let found = self.sorted.binary_search_by(|(output, _)| by_components(output, path));
        found.ok().map(|at| &self.sorted[at])
    }

    /// All declared paths.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        self.sorted.iter().map(|(path, _)| path.as_str())
    }
}

fn parent(path: &str) -> Option<&str> {
    path.rfind('/').map(|slash| &path[..slash])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn makers(paths: &[&str]) -> Makers {
        Makers::new(paths.iter().zip(0..).map(|(path, maker)| ((*path).to_owned(), maker)).collect())
    }

    #[test]
    fn outputs_overlap_if_one_is_or_holds_the_other() {
        for (paths, expected) in [
            (&["a", "b", "a.b", "a-b"][..], None),
            (&["zone/x", "zone"], Some((1, 0))),
            (&["a", "a"], Some((0, 1))),
            (&["a", "a-b", "a/b"], Some((0, 2))),
            (&["a/b", "a/c", "a/b-c"], None),
        ] {
            assert_eq!(
                makers(paths).overlap().map(|[outer, inner]| (outer.1, inner.1)),
                expected,
                "{paths:?}"
            );
        }
    }

    #[test]
    fn the_makers_around_a_path_are_found() {
        let makers = makers(&["gen", "out/a", "out/b/c", "out-x", "other"]);
        let around = |path| makers.touching(path).map(|(_, maker)| *maker).collect::<Vec<_>>();
        assert_eq!(around("gen/x/y"), [0]);
        assert_eq!(around("out"), [1, 2]);
        assert_eq!(around("out/b/c"), [2]);
        assert_eq!(around("nothing"), [0; 0]);
    }
}
