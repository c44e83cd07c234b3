//! What a command discovered: the files its depfile names are inputs from now on.
//!
//! Invariant: of every file named it is known what the command read, or the result is not kept: it is a source file, what a
//! dependency brings, the command's own output, or looked at here. What somebody else makes, whom the action does not
//! depend on, fails it.
#![allow(clippy::disallowed_methods, reason = "shell: reads the depfile, looks at files")]

use super::Step;
use super::moved::{Ways, may_be_since};
use crate::content::{ContentKind, Stat};
use crate::engine::depfile;
use crate::engine::job::{Job, Watched};
use crate::engine::shared::os_path;
use crate::graph::Graph;
use crate::graph::action::Action;
use crate::scan::read::{Present, Seen, small_file};
use crate::scan::times::Moment;
use crate::scan::walk::is_at_or_below;
use rustc_hash::{FxHashMap, FxHashSet};
use std::cell::OnceCell;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// The longest depfile that is read.
const DEPFILE_BYTES: u64 = 64 << 20;

impl Step<'_, '_> {
    /// Reads the depfile. A file it names that is new to it and was written since the command started may have been
    /// read before that.
    ///
    /// # Errors
    /// There is no depfile to read, or it names what another target makes.
    pub(super) fn discover(&mut self, job: &Job<'_>, began: Moment) -> Result<(), String> {
        let Some(depfile) = &job.action.depfile else { return Ok(()) };
        let workspace = self.shared.workspace;
        let text = match small_file(&workspace.root.join(depfile), DEPFILE_BYTES) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(format!("it did not write its depfile `{depfile}`"));
            }
            Err(error) => return Err(format!("its depfile `{depfile}` cannot be read: {error}")),
        };
        let known = Known::of(&workspace.root, job);
        let (mut named, mut ways) = (FxHashSet::<Vec<u8>>::default(), Ways::new(self.shared, began));
        let upstream = Upstream::new();
        let named_files = depfile::parse(&text).map_err(|why| format!("its depfile `{depfile}` {why}"))?;
        for written in named_files {
            let path = known.place(&workspace.root, &job.action.cwd, &written);
            if path.is_empty() || known.brings(&path) || !named.insert(path.clone()) {
                continue;
            }
            self.is_beside |= path.starts_with(b"/") && !written.starts_with(b"/");
            let mut maker = self.maker(&job.action.name, &upstream, &path)?;
            let way = ways.to(&path, maker != Maker::Nobody);
            if way.over_link && maker == Maker::Nobody {
                maker = self.maker_behind(job, (&known, &upstream), &path)?;
            }
            let is_young = |stat: &Stat| may_be_since(stat, began, maker != Maker::Nobody);
            let is_new = !known.discovered.contains_key(path.as_slice());
            if is_new && (way.is_switched || maker == Maker::Untold) {
                self.done.moved.get_or_insert_with(|| path.clone());
            }
            self.take_discovered(path, &known, &is_young)?;
        }
        Ok(())
    }

    fn take_discovered(
        &mut self,
        path: Vec<u8>,
        known: &Known<'_>,
        is_young: &dyn Fn(&Stat) -> bool,
    ) -> Result<(), String> {
        let before = known.discovered.get(path.as_slice()).copied();
        let present = match self.look(&path, before) {
            Seen::Present(present) if present.stat.is_folder() => return known.folder(&path),
            Seen::Present(present) => present,
            // What the command read is not there any more, or cannot be told.
            Seen::Absent | Seen::Trouble(_) => {
                self.done.moved.get_or_insert(path);
                return Ok(());
            }
        };
        let end = present.link.as_ref().and_then(|link| link.through).map(|(stat, _)| stat);
        // What was looked at before the command ran is compared with the other inputs.
        if before.is_none() && [Some(present.stat), end].iter().flatten().any(is_young) {
            self.done.moved.get_or_insert_with(|| path.clone());
        }
        self.done.discovered.push(Watched { path, present });
        Ok(())
    }

    /// Who makes the file at the end of the links on the way.
    fn maker_behind(
        &self,
        job: &Job<'_>,
        (known, upstream): (&Known<'_>, &Upstream),
        path: &[u8],
    ) -> Result<Maker, String> {
        let root = &self.shared.workspace.root;
        match physical(&root.join(os_path(path))).map(|end| inside(root, end)) {
            Some(end) if known.brings(&end) => Ok(Maker::Upstream),
            Some(end) => self.maker(&job.action.name, upstream, &end),
            None => Ok(Maker::Nobody),
        }
    }

    /// Who makes the file. A target on which the action does not depend may be built later, or not at all.
    fn maker(&self, name: &str, upstream: &Upstream, path: &[u8]) -> Result<Maker, String> {
        let graph = &self.shared.workspace.graph;
        let Ok(path) = std::str::from_utf8(path) else { return Ok(Maker::Nobody) };
        let Some(maker) = graph.makers.of(path) else { return Ok(Maker::Nobody) };
        if graph.is_part {
            return Ok(Maker::Untold);
        }
        if upstream.get_or_init(|| self::upstream(graph, name)).contains(&maker) {
            return Ok(Maker::Upstream);
        }
        // A kept graph has no more of others than their outputs.
        Err(match graph.actions.get(maker as usize) {
            Some(Action { name, .. }) => {
                format!("it read `{path}`, which `{name}` makes: add `{name}` to its `deps`")
            }
            None => format!("it read `{path}`, which another target makes: add that one to its `deps`"),
        })
    }
}

/// Who makes a file that a command read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Maker {
    /// No target.
    Nobody,
    /// One on which the action depends.
    Upstream,
    /// Some target, of which a part of a graph does not tell more: the whole of it decides next time.
    Untold,
}

/// What an action depends on, once that matters.
type Upstream = OnceCell<FxHashSet<u32>>;

/// Everything on which an action depends, over any number of steps.
fn upstream(graph: &Graph, name: &str) -> FxHashSet<u32> {
    // A kept graph has no list of names.
    let of_kept = || graph.actions.iter().zip(0..).find(|(action, _)| action.name == name);
    let mut open: Vec<u32> = graph.find(name).or_else(|| of_kept().map(|(_, id)| id)).into_iter().collect();
    let mut met = FxHashSet::default();
    while let Some(id) = open.pop() {
        open.extend(graph.deps.get(id as usize).iter().filter(|&&on| met.insert(on)));
    }
    met
}

/// What is known of an action's files without its depfile.
struct Known<'j> {
    /// Source files, and what dependencies bring.
    brought: FxHashSet<&'j [u8]>,
    /// Folders that dependencies bring with all that is in them.
    folders: FxHashSet<&'j [u8]>,
    /// Inputs and outputs that are links: nothing lies below them.
    links: Vec<&'j [u8]>,
    /// Its own outputs.
    outputs: Vec<&'j [u8]>,
    /// What the depfile named last time.
    discovered: FxHashMap<&'j [u8], &'j Present>,
}

impl<'j> Known<'j> {
    fn of(root: &Path, job: &'j Job<'_>) -> Self {
        let declared = job.declared.iter().map(|input| input.path.as_slice());
        let links = job.declared.iter().filter(|input| input.present.link.is_some());
        let links = links.map(|input| input.path.as_slice());
        let of_kind = |kind| job.brought.iter().filter(move |input| input.content.kind == kind);
        let brought_links = of_kind(ContentKind::Link).map(|input| input.path.as_slice());
        let is_link = |path: &&[u8]| root.join(os_path(path)).is_symlink();
        let outputs = job.action.outputs.iter().map(|output| output.path.as_bytes());
        let (own_links, outputs): (Vec<&[u8]>, _) = outputs.partition(is_link);
        Self {
            brought: declared.chain(job.brought.iter().map(|input| input.path.as_slice())).collect(),
            folders: of_kind(ContentKind::Folder).map(|input| input.path.as_slice()).collect(),
            links: links.chain(brought_links).chain(own_links).collect(),
            outputs,
            discovered: job.discovered.iter().map(|one| (one.path.as_slice(), &one.present)).collect(),
        }
    }

    /// Whether a path, or a folder it lies in, is known without the depfile.
    fn brings(&self, path: &[u8]) -> bool {
        let mut parents = std::iter::successors(Some(path), |path| {
            path.iter().rposition(|&byte| byte == b'/').map(|slash| &path[..slash])
        });
        self.outputs.iter().any(|output| is_at_or_below(path, output))
            || self.brought.contains(path)
            || parents.any(|path| self.folders.contains(path))
    }

    /// A folder counts by what the inputs say of it, or not at all.
    fn folder(&self, path: &[u8]) -> Result<(), String> {
        if self.brought.iter().any(|input| is_at_or_below(input, path)) {
            return Ok(());
        }
        let shown = String::from_utf8_lossy(path);
        Err(format!("its depfile names the folder `{shown}`: name it in `inputs` instead"))
    }

    /// A path of a depfile: workspace-relative if it lies inside, absolute if outside.
    fn place(&self, root: &Path, cwd: &str, written: &[u8]) -> Vec<u8> {
        let full = root.join(cwd).join(os_path(written));
        let place = inside(root, resolved(&full));
        // Such a link is an input by itself, and nothing can lie below it.
        if self.links.iter().any(|link| place.len() > link.len() && is_at_or_below(&place, link)) {
            return inside(root, physical(&full).unwrap_or(full));
        }
        place
    }
}

fn inside(root: &Path, path: PathBuf) -> Vec<u8> {
    path.strip_prefix(root).unwrap_or(&path).as_os_str().as_bytes().to_vec()
}

/// The path without `..`: as it is written, unless a link makes that another file.
fn resolved(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    let mut climbs = false;
    for part in path.components() {
        if part == Component::ParentDir {
            climbs = true;
            plain.pop();
        } else {
            plain.push(part);
        }
    }
    let same = || {
        let (plain, path) = (std::fs::metadata(&plain).ok()?, std::fs::metadata(path).ok()?);
        Some((plain.dev(), plain.ino()) == (path.dev(), path.ino()))
    };
    if !climbs || same() == Some(true) { plain } else { physical(path).unwrap_or(plain) }
}

/// The path with the links on the way to it followed.
fn physical(path: &Path) -> Option<PathBuf> {
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}
