//! Finding and opening a workspace: which Iactfile is meant, whether it may be used, what it includes, and
//! the graph of it.
//!
//! Invariant: nothing is executed, and nothing is read above the limits of the search: a repository's root,
//! `$HOME`, a mount point, a change of owner. A file that somebody else may write is refused.
#![allow(clippy::disallowed_methods, reason = "shell: looks for Iactfiles and reads them")]

use crate::content::Stat;
use crate::error::{Error, Kind, Result};
use crate::graph::instance::Machine;
use crate::graph::{self, Graph, Setting};
use crate::manifest::{self, decl::Manifest, decl::Text};
use crate::scan::patterns::{BadGlob, Patterns, is_below, is_wild};
use crate::scan::walk::{Folders, Outputs};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex};

/// The name of the file.
pub const FILE_NAME: &str = "Iactfile.toml";

/// What the caller's process was started with.
#[derive(Clone, Debug, Default)]
pub struct Caller {
    /// The environment.
    pub env: Vec<(OsString, OsString)>,
    /// The current folder.
    pub folder: PathBuf,
}

impl Caller {
    /// This process's.
    pub fn of_process() -> Self {
        Self { env: std::env::vars_os().collect(), folder: std::env::current_dir().unwrap_or_default() }
    }

    /// A variable; empty counts as set.
    pub fn var(&self, name: &str) -> Option<&OsString> {
        self.env.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// Where the command line says to look.
#[derive(Clone, Debug, Default)]
pub struct Place {
    /// `-C`.
    pub directory: Option<PathBuf>,
    /// `-f`.
    pub file: Option<PathBuf>,
}

/// What the command line gives to templates.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// `NAME=VALUE`.
    pub vars: Vec<(String, String)>,
    /// What follows `--`.
    pub args: Vec<String>,
}

/// A workspace, read.
pub struct Workspace {
    /// Its folder, absolute.
    pub root: PathBuf,
    /// The same, open.
    pub folder: OwnedFd,
    /// The current folder, relative to the root; empty at the root, or outside.
    pub here: String,
    /// Every instance.
    pub graph: Graph,
    /// Facts of the machine.
    pub machine: Machine,
    /// Who asks.
    pub caller: Caller,
    /// What the command line gave.
    pub given: Given,
    /// Every file that decided what the workspace is, there or not.
    pub read_files: Vec<PathBuf>,
    /// What the wildcards came to that decided which instances and which Iactfiles there are.
    pub asked: Asked,
}

/// What was asked of the file system while the graph was made.
#[derive(Default)]
pub struct Asked {
    /// Wildcards, with what they came to.
    pub globs: Vec<(Patterns, Vec<String>)>,
    /// The folders that these looked into, with what they showed; `None`: nothing was there.
    pub visited: Vec<(Vec<u8>, Option<Stat>)>,
    /// When the first of them was looked into, by the clock of files.
    pub began_ns: i64,
}

fn refuse(path: &Path, what: &str, why: impl std::fmt::Display) -> Box<Error> {
    Error::new(Kind::Manifest, format!("cannot {what} `{}`", path.display())).because(why)
}

/// What the command line means, found without reading more than that needs.
#[derive(Clone, Debug)]
pub struct Located {
    /// Where the search began.
    pub start: PathBuf,
    /// The workspace's Iactfile.
    pub file: PathBuf,
    /// Its folder.
    pub root: PathBuf,
}

/// Finds the workspace that is meant.
///
/// # Errors
/// No Iactfile, one further up that cannot be read, or a folder that cannot be entered.
pub fn locate(caller: &Caller, place: &Place) -> Result<Located> {
    let is_absolute = |path: &PathBuf| path.is_absolute();
    if caller.folder.as_os_str().is_empty() && !place.directory.as_ref().is_some_and(is_absolute) {
        return Err(Error::new(Kind::Usage, "the current folder is gone").hint("go to one that is there"));
    }
    let start = match &place.directory {
        Some(directory) => caller.folder.join(directory),
        None => caller.folder.clone(),
    };
    let start = start.canonicalize().map_err(|error| refuse(&start, "enter", error))?;
    let file = match &place.file {
        Some(file) => start.join(file),
        None => find(&start, caller.var("HOME").map(Path::new))?,
    };
    let folder = file.parent().unwrap_or(Path::new("/"));
    let root = if folder == start {
        start.clone()
    } else {
        folder.canonicalize().map_err(|error| refuse(folder, "enter", error))?
    };
    Ok(Located { start, file, root })
}

impl Workspace {
    /// Finds, reads and resolves the workspace that is meant.
    ///
    /// # Errors
    /// No Iactfile, one that may not be used, or a mistake in one.
    pub fn open(caller: Caller, place: &Place, given: Given) -> Result<Self> {
        let Located { start, file, root } = locate(&caller, place)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let opened =
            rustix::fs::open(&root, flags, Mode::empty()).map_err(|errno| refuse(&root, "open", errno))?;
        let mut asked = Asked { began_ns: crate::scan::times::file_clock_ns(), ..Asked::default() };
        let manifests = Arc::new(read_all(&root, &file, opened.as_fd(), &mut asked)?);
        let machine = machine();
        let gitignore = manifests[0].workspace.gitignore.unwrap_or(true);
        let none = Outputs::default();
        let folders = Folders::new(opened.as_fd(), gitignore, &none);
        let globs = Mutex::new(std::mem::take(&mut asked.globs));
        let files = |patterns: &Patterns| {
            let found = files(&folders, patterns)?;
            globs.lock().expect("no panic while noting").push((patterns.clone(), found.clone()));
            Ok(found)
        };
        let graph = graph::build(&Setting {
            manifests,
            overrides: given.vars.clone(),
            args: given.args.clone(),
            machine: machine.clone(),
            files: &files,
        })?;
        let here = start.strip_prefix(&root).map(slashed).unwrap_or_default();
        let included = graph.manifests.iter().skip(1).map(|one| root.join(&one.folder).join(FILE_NAME));
        let mut read_files: Vec<PathBuf> = included.chain([file]).collect();
        read_files.extend(OS_RELEASE.map(PathBuf::from));
        asked.visited.extend(visited_folders(&folders));
        asked.globs = globs.into_inner().expect("no panic while noting");
        Ok(Self { root, folder: opened, here, graph, machine, caller, given, read_files, asked })
    }

    /// The folder of the nearest Iactfile around the current one: where a goal's name is looked up first.
    pub fn nearest(&self) -> &str {
        let folders = self.graph.manifests.iter().map(|manifest| manifest.folder.as_str());
        folders.filter(|folder| is_below(&self.here, folder)).max_by_key(|folder| folder.len()).unwrap_or("")
    }

    /// Whether wildcards skip what a `.gitignore` names.
    pub fn gitignore(&self) -> bool {
        self.graph.manifests[0].workspace.gitignore.unwrap_or(true)
    }

    /// What a workspace remembers lies here.
    pub fn memory(&self) -> PathBuf {
        self.root.join(".iact")
    }

    /// Where the cache is.
    pub fn cache_folder(&self) -> PathBuf {
        cache_folder(&self.caller)
    }

    /// What digests are made with.
    pub fn digest_function(&self) -> iact_cache::DigestFunction {
        self.graph.manifests[0].cache.digest.unwrap_or_default()
    }
}

/// `$IACT_CACHE_DIR`, else `$XDG_CACHE_HOME/iact`, else `~/.cache/iact`.
pub fn cache_folder(caller: &Caller) -> PathBuf {
    let set = |name| caller.var(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let xdg = || set("XDG_CACHE_HOME").filter(|path| path.is_absolute()).map(|path| path.join("iact"));
    let home = || set("HOME").map(|home| home.join(".cache/iact"));
    set("IACT_CACHE_DIR").map(|path| caller.folder.join(path)).or_else(xdg).or_else(home).unwrap_or_else(
        || {
            // Somebody without a home still gets one of their own.
            std::env::temp_dir().join(format!("iact-cache-{}", rustix::process::getuid().as_raw()))
        },
    )
}

pub(crate) fn slashed(path: &Path) -> String {
    path.components()
        .filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy()),
            _ => None,
        })
        .collect::<Vec<_>>()
        .join("/")
}

fn visited_folders(folders: &Folders<'_>) -> Vec<(Vec<u8>, Option<Stat>)> {
    folders.visited().lock().expect("no panic while noting").clone()
}

/// The files that patterns mean, as text.
///
/// # Errors
/// A folder that cannot be read, a name that is no text.
pub fn files(folders: &Folders<'_>, patterns: &Patterns) -> Result<Vec<String>> {
    let found =
        folders.matching(patterns).map_err(|wrong| refuse(Path::new(&wrong.path), "read", wrong.why))?;
    let text = |path: Vec<u8>| {
        String::from_utf8(path).map_err(|path| {
            let path = String::from_utf8_lossy(path.as_bytes()).into_owned();
            Error::new(Kind::Manifest, format!("the name of `{path}`, matched by `for_each`, is not UTF-8"))
                .hint("exclude it with a narrower glob, or rename it")
        })
    };
    found.into_iter().map(|(path, _)| text(path)).collect()
}

/// The Iactfile that is meant: the nearest one upwards, or the one further up that includes it.
fn find(start: &Path, home: Option<&Path>) -> Result<PathBuf> {
    let is_there = |folder: &&Path| std::fs::symlink_metadata(folder.join(FILE_NAME)).is_ok();
    let mut folders = searched(start, home).into_iter().filter(is_there);
    let Some(nearest) = folders.next() else {
        return Err(Error::new(Kind::Usage, format!("no `{FILE_NAME}` in `{}` or above", start.display()))
            .hint("the search stops at a repository's root, at `$HOME`, at a mount point and where the owner changes"));
    };
    for folder in folders.rev() {
        let below = slashed(nearest.strip_prefix(folder).expect("it is further up"));
        let file = folder.join(FILE_NAME);
        let includes_it = includes(&file, &below).map_err(|error| {
            error.hint(format!(
                "it may include `{below}`; if not, name the other one: `-f {}`",
                nearest.join(FILE_NAME).display()
            ))
        })?;
        if includes_it {
            return Ok(file);
        }
    }
    Ok(nearest.join(FILE_NAME))
}

fn searched<'a>(start: &'a Path, home: Option<&Path>) -> Vec<&'a Path> {
    let mut folders: Vec<&Path> = Vec::new();
    let mut inner: Option<std::fs::Metadata> = None;
    for folder in start.ancestors() {
        let Ok(facts) = std::fs::metadata(folder) else { break };
        if inner.as_ref().is_some_and(|inner| inner.dev() != facts.dev() || inner.uid() != facts.uid()) {
            break;
        }
        folders.push(folder);
        if folder.join(".git").exists() || Some(folder) == home {
            break;
        }
        inner = Some(facts);
    }
    folders
}

/// Whether the Iactfile includes a folder. Whoever opens it tells the mistake in a text of its `include`.
///
/// # Errors
/// It cannot be read or parsed, or may not be used: nobody knows what it includes.
fn includes(file: &Path, folder: &str) -> Result<bool> {
    let manifest = read(file, "")?;
    let takes = |text: &Text| {
        let normal = crate::path::normalise("", &text.value).ok()?.path;
        if !is_wild(&normal) {
            return Some(normal == folder);
        }
        Some(included(&normal).ok()?.takes(&format!("{folder}/{FILE_NAME}"), false))
    };
    Ok(manifest.workspace.include.iter().any(|text| takes(text) != Some(false)))
}

/// The Iactfiles that a wildcard of `include` means.
fn included(normal: &str) -> std::result::Result<Patterns, BadGlob> {
    Patterns::compile(vec![format!("{normal}/{FILE_NAME}")])
}

fn read(file: &Path, folder: &str) -> Result<Manifest> {
    refuse_foreign(file)?;
    let bytes = std::fs::read(file).map_err(|error| refuse(file, "read", error))?;
    let shown =
        std::env::current_dir().ok().and_then(|here| file.strip_prefix(here).ok().map(Path::to_owned));
    let shown = shown.unwrap_or_else(|| file.to_owned());
    manifest::parse(manifest::decode(shown.display().to_string(), bytes)?, folder)
}

/// An Iactfile decides what is executed: only its user, or root, may be able to write it.
pub(crate) fn refuse_foreign(file: &Path) -> Result<()> {
    let facts = std::fs::metadata(file).map_err(|error| refuse(file, "read", error))?;
    if !facts.is_file() {
        return Err(refuse(file, "read", "it is not a regular file"));
    }
    let me = rustix::process::getuid().as_raw();
    let sudo = std::env::var("SUDO_UID").ok().filter(|_| me == 0).and_then(|uid| uid.parse().ok());
    let refused = |what: &str, hint: &str| {
        let message = format!("`{}` {what}, so it could be anybody's commands", file.display());
        Err(Error::new(Kind::Refused, message).hint(hint))
    };
    if facts.uid() != me && facts.uid() != 0 && Some(facts.uid()) != sudo {
        return refused("belongs to another user", "copy it, or change its owner, if you trust it");
    }
    if facts.mode() & 0o002 != 0 {
        return refused("can be written by everybody", "`chmod o-w` it if you trust what it says now");
    }
    Ok(())
}

/// The root's file and all that it includes.
fn read_all(
    root: &Path,
    file: &Path,
    folder: std::os::fd::BorrowedFd<'_>,
    asked: &mut Asked,
) -> Result<Vec<Manifest>> {
    let first = read(file, "")?;
    let mut folders: Vec<String> = Vec::new();
    for text in &first.workspace.include {
        let at = |message: String| Error::new(Kind::Manifest, message).at(&first.source, text.span);
        let normal = crate::path::normalise("", &text.value).map_err(|why| at(why.to_string()))?.path;
        if !is_wild(&normal) {
            if !root.join(&normal).join(FILE_NAME).exists() {
                return Err(at(format!("`{normal}` has no `{FILE_NAME}`")));
            }
            folders.push(normal);
            continue;
        }
        let patterns =
            included(&normal).map_err(|bad| at(format!("`{normal}` is not a glob")).because(bad))?;
        let none = Outputs::default();
        let listed = Folders::new(folder, true, &none);
        let found = files(&listed, &patterns)?;
        asked.visited.extend(visited_folders(&listed));
        folders
            .extend(found.iter().map(|one| one.trim_end_matches(FILE_NAME).trim_end_matches('/').to_owned()));
        asked.globs.push((patterns, found));
    }
    folders.sort_unstable();
    folders.dedup();
    let mut manifests = vec![first];
    for folder in folders.iter().filter(|folder| !folder.is_empty()) {
        manifests.push(read(&root.join(folder).join(FILE_NAME), folder)?);
    }
    Ok(manifests)
}

/// Where the distribution says its name.
const OS_RELEASE: [&str; 2] = ["/etc/os-release", "/usr/lib/os-release"];

/// Facts of this machine.
pub(crate) fn machine() -> Machine {
    let release = OS_RELEASE.iter().find_map(|path| std::fs::read_to_string(path).ok());
    let os = std::env::consts::OS.to_owned();
    let distro = release.as_deref().and_then(distro).unwrap_or_else(|| os.clone());
    Machine { os, arch: std::env::consts::ARCH.to_owned(), distro }
}

/// `debian12`, `ubuntu22.04` from the text of os-release.
fn distro(release: &str) -> Option<String> {
    let value = |key: &str| {
        let line = release.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='))?;
        Some(line.trim_matches(['"', '\'']).to_lowercase())
    };
    Some(format!("{}{}", value("ID")?, value("VERSION_ID").unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_named_by_id_and_version() {
        for (text, expected) in [
            ("NAME=\"Debian GNU/Linux\"\nID=debian\nVERSION_ID=\"12\"\n", Some("debian12")),
            ("ID=ubuntu\nVERSION_ID=\"22.04\"\n", Some("ubuntu22.04")),
            ("ID=arch\n", Some("arch")),
            ("PRETTY_NAME=x\n", None),
        ] {
            assert_eq!(distro(text).as_deref(), expected);
        }
    }
}
