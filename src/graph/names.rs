//! Which target a name means, from where it stands.
//!
//! In an included folder a bare name means that folder's target, `folder:name` one from the root, `:name` the
//! root's own; `name[db=pg]` selects among a target's instances. On the command line the nearer folder comes
//! first, then the root.

use super::build::with_room;
use crate::error::{Error, Kind, Result, Span};
use crate::manifest::decl::{Manifest, Target};
use rustc_hash::FxHashMap;

/// A declaration: index of the manifest, index of the target in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decl {
    /// Which Iactfile.
    pub manifest: u32,
    /// Which of its targets.
    pub target: u32,
}

/// A name and what selects among the target's instances.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference<'a> {
    /// `api:test`.
    pub name: &'a str,
    /// `db=pg` → `("db", "pg")`; a file of `for_each` → `("", file)`.
    pub select: Vec<(&'a str, &'a str)>,
}

impl<'a> Reference<'a> {
    /// Splits `m[db=pg,py=3.11]`.
    pub fn parse(written: &'a str) -> Self {
        let Some((name, rest)) = written.split_once('[') else {
            return Self { name: written, select: Vec::new() };
        };
        // Brackets that select nothing are part of a name, which nobody has.
        let Some(inner) = rest.strip_suffix(']').filter(|inner| !inner.is_empty()) else {
            return Self { name: written, select: Vec::new() };
        };
        let part = |part: &'a str| part.split_once('=').unwrap_or(("", part));
        Self { name, select: inner.split(',').filter(|part| !part.is_empty()).map(part).collect() }
    }
}

/// All names of a workspace.
pub struct Names {
    by_name: FxHashMap<String, Decl>,
    /// Full names, aliases too, in the files' order: for suggestions.
    all: Vec<String>,
}

/// The full name of something declared in a folder.
pub fn full(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}:{name}") }
}

impl Names {
    /// Collects names and aliases.
    ///
    /// # Errors
    /// A name or alias that means two targets.
    pub fn new(manifests: &[Manifest]) -> Result<Self> {
        let targets = manifests.iter().map(|file| file.targets.len()).sum();
        let mut names = Self { by_name: with_room(targets), all: Vec::with_capacity(targets) };
        for (at, manifest) in manifests.iter().enumerate() {
            for (index, target) in manifest.targets.iter().enumerate() {
                let decl = Decl { manifest: number(at), target: number(index) };
                names.add(manifests, &target.name.value, target.name.span, decl)?;
            }
        }
        for (at, manifest) in manifests.iter().enumerate() {
            for (index, target) in manifest.targets.iter().enumerate() {
                let decl = Decl { manifest: number(at), target: number(index) };
                for alias in &target.aliases {
                    names.add(manifests, &alias.value, alias.span, decl)?;
                }
            }
        }
        Ok(names)
    }

    fn add(&mut self, manifests: &[Manifest], name: &str, span: Span, decl: Decl) -> Result<()> {
        let manifest = &manifests[decl.manifest as usize];
        let full = full(&manifest.folder, name);
        if let Some(other) = self.by_name.insert(full.clone(), decl) {
            let owner = |decl| &target(manifests, decl).name.value;
            let message = format!("`{full}` is a name of both `{}` and `{}`", owner(other), owner(decl));
            return Err(Error::new(Kind::Manifest, message).at(&manifest.source, span));
        }
        self.all.push(full);
        Ok(())
    }

    /// What a name means in a folder.
    pub fn find(&self, folder: &str, name: &str) -> Option<Decl> {
        match name.strip_prefix(':') {
            Some(root) => self.by_name.get(root),
            None if name.contains(':') => self.by_name.get(name),
            None => self.by_name.get(&full(folder, name)),
        }
        .copied()
    }

    /// What a name means on the command line in a folder: the nearer one, then the root's.
    pub fn find_goal(&self, folder: &str, name: &str) -> Option<Decl> {
        self.find(folder, name).or_else(|| self.find("", name))
    }

    /// All names that could be written in a folder, for suggestions.
    pub fn candidates<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = &'a str> {
        let own = move |name: &'a str| match name.strip_prefix(folder) {
            Some(rest) if !folder.is_empty() => rest.strip_prefix(':').unwrap_or(name),
            _ => name,
        };
        self.all.iter().map(move |name| own(name))
    }
}

/// The target of a declaration.
pub fn target(manifests: &[Manifest], decl: Decl) -> &Target {
    &manifests[decl.manifest as usize].targets[decl.target as usize]
}

/// An index as stored.
pub fn number(index: usize) -> u32 {
    u32::try_from(index).expect("fewer than 2^32 targets")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_splits_into_name_and_selection() {
        for (written, name, select) in [
            ("test", "test", vec![]),
            ("api:m[db=pg,py=3.11]", "api:m", vec![("db", "pg"), ("py", "3.11")]),
            ("check[src/a.sh]", "check", vec![("", "src/a.sh")]),
            ("odd[", "odd[", vec![]),
            ("m[]", "m[]", vec![]),
        ] {
            assert_eq!(Reference::parse(written), Reference { name, select });
        }
    }
}
