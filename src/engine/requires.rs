//! `requires`: what an action needs of the machine, checked before anything starts and shown by `iact doctor`;
//! without what is `optional` the action is skipped.
//!
//! Invariant: every need is asked once, however many actions have it; asking changes nothing, and runs nothing
//! but programs whose version matters. All that is missing is told at once.
#![allow(clippy::disallowed_methods, reason = "shell: looks at programs, files, disk and memory")]

use super::shared::find_program;
use super::spawn::{Children, Launch, Stdin, Stop};
use crate::error::{Error, Kind, Result, Span};
use crate::graph::rare::{Need, Requirement};
use crate::manifest::quantity::Size;
use crate::workspace::Workspace;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// How long a program may take to tell its version.
const VERSION_MS: u64 = 10_000;

/// A need, who has it, and whether it is met.
#[derive(Clone, Debug)]
pub struct Checked {
    /// What is needed.
    pub requirement: Requirement,
    /// Folder that files are relative to.
    folder: String,
    /// The actions that need it, by the graph's ids.
    pub actions: Vec<u32>,
    /// What was found, or what is wrong.
    pub state: std::result::Result<String, String>,
}

/// Checks everything that these actions require.
pub fn check(workspace: &Workspace, actions: impl IntoIterator<Item = u32>) -> Vec<Checked> {
    check_those(workspace, actions, |_| true)
}

/// What is missing to each of these actions of what is optional.
pub fn lacking(workspace: &Workspace, actions: impl IntoIterator<Item = u32>) -> BTreeMap<u32, String> {
    let mut lacking = BTreeMap::new();
    for one in check_those(workspace, actions, |requirement| requirement.optional) {
        let Err(why) = &one.state else { continue };
        let hint = one.requirement.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        let why = format!("requires {}: {why}{hint}", show(&one.requirement.need));
        for &id in &one.actions {
            lacking.entry(id).or_insert_with(|| why.clone());
        }
    }
    lacking
}

fn check_those(
    workspace: &Workspace,
    actions: impl IntoIterator<Item = u32>,
    counts: impl Fn(&Requirement) -> bool,
) -> Vec<Checked> {
    let mut all: Vec<Checked> = Vec::new();
    for id in actions {
        let action = &workspace.graph.actions[id as usize];
        for requirement in action.rare().requires.iter().filter(|requirement| counts(requirement)) {
            let same = |one: &&mut Checked| {
                let place = !matches!(requirement.need, Need::File(_)) || one.folder == action.folder;
                let Requirement { need, hint, optional, .. } = &one.requirement;
                *need == requirement.need
                    && *hint == requirement.hint
                    && *optional == requirement.optional
                    && place
            };
            match all.iter_mut().find(same) {
                Some(known) => known.actions.push(id),
                None => all.push(Checked {
                    requirement: requirement.clone(),
                    folder: action.folder.clone(),
                    actions: vec![id],
                    state: met(workspace, &action.folder, &requirement.need),
                }),
            }
        }
    }
    all
}

/// Checks everything among `tools`.
pub fn check_tools(workspace: &Workspace, actions: impl IntoIterator<Item = u32>) -> Vec<Checked> {
    let mut all: Vec<Checked> = Vec::new();
    for id in actions {
        let action = &workspace.graph.actions[id as usize];
        for tool in &action.tools {
            let need = Need::Tool(tool.clone(), None);
            match all.iter_mut().find(|one| one.requirement.need == need && one.folder == action.folder) {
                Some(known) => known.actions.push(id),
                None => {
                    // A place is told from the workspace's root.
                    let state = met(workspace, "", &need);
                    let requirement =
                        Requirement { need, hint: None, optional: false, span: Span::default() };
                    all.push(Checked {
                        requirement,
                        folder: action.folder.clone(),
                        actions: vec![id],
                        state,
                    });
                }
            }
        }
    }
    all
}

/// Refuses to start without what the actions require and is not optional.
///
/// # Errors
/// Everything that is missing.
pub fn insist(workspace: &Workspace, actions: impl IntoIterator<Item = u32>) -> Result<()> {
    let mut wrong: Option<Box<Error>> = None;
    for one in check_those(workspace, actions, |requirement| !requirement.optional) {
        let Err(why) = &one.state else { continue };
        let name = &workspace.graph.actions[one.actions[0] as usize].name;
        let message = format!("`{name}` requires {}: {why}", show(&one.requirement.need));
        let mut error = match wrong {
            None => workspace.graph.refuse_at(one.actions[0], one.requirement.span, message),
            Some(error) => error.because(message),
        };
        if let Some(hint) = one.requirement.hint {
            error = error.hint(hint);
        }
        wrong = Some(error);
    }
    wrong.map_or(Ok(()), Err)
}

/// A need in words.
pub fn show(need: &Need) -> String {
    match need {
        Need::Tool(name, None) => format!("the tool `{name}`"),
        Need::Tool(name, Some(version)) => format!("the tool `{name}` {version}"),
        Need::Env(name) => format!("the variable `{name}`"),
        Need::File(path) => format!("the file `{path}`"),
        Need::DiskBytes(bytes) => format!("{} of disk", Size { bytes: *bytes }),
        Need::MemoryBytes(bytes) => format!("{} of memory", Size { bytes: *bytes }),
    }
}

fn met(workspace: &Workspace, folder: &str, need: &Need) -> std::result::Result<String, String> {
    let enough = |what: &str, found: u64, wanted: u64| {
        let shown = format!("{} {what}", Size { bytes: found });
        if found >= wanted { Ok(shown) } else { Err(format!("there is {shown}")) }
    };
    match need {
        Need::Tool(name, version) => {
            let program = program(workspace, folder, name).ok_or("it is not on PATH")?;
            let Some(version) = version else { return Ok(program.display().to_string()) };
            let found = version_of(workspace, &program)
                .ok_or_else(|| format!("`{}` does not tell its version", program.display()))?;
            let shown = format!("{} {found}", program.display());
            if version.matches(&found) {
                Ok(shown)
            } else {
                Err(format!("`{}` is {found}", program.display()))
            }
        }
        Need::Env(name) => match workspace.caller.var(name) {
            Some(_) => Ok("set".to_owned()),
            None => Err("it is not set".to_owned()),
        },
        Need::File(path) => {
            let file = workspace.root.join(folder).join(path);
            let there = file.exists();
            if there { Ok("there".to_owned()) } else { Err("it does not exist".to_owned()) }
        }
        Need::DiskBytes(bytes) => match rustix::fs::statvfs(&workspace.root) {
            Ok(facts) => enough("free", facts.f_bavail.saturating_mul(facts.f_frsize), *bytes),
            Err(error) => Err(error.to_string()),
        },
        Need::MemoryBytes(bytes) => match memory_bytes() {
            Some(found) => enough("in the machine", found, *bytes),
            None => Ok("not known here".to_owned()),
        },
    }
}

fn program(workspace: &Workspace, folder: &str, name: &str) -> Option<PathBuf> {
    if name.contains('/') {
        let program = workspace.root.join(folder).join(name);
        return Some(program).filter(|program| program.is_file());
    }
    find_program(workspace.caller.var("PATH").map_or(OsStr::new(""), OsString::as_os_str), name)
}

/// What the program says of itself; programs differ in how they want to be asked.
fn version_of(workspace: &Workspace, program: &Path) -> Option<semver::Version> {
    let stop = Stop::new().ok()?;
    let children = Children::new(None);
    ["--version", "version", "-version"].iter().find_map(|question| {
        let argv = [program.as_os_str().to_owned(), OsString::from(question)];
        let launch = Launch {
            argv: &argv,
            cwd: &workspace.root,
            env: &workspace.caller.env,
            timeout_ms: Some(VERSION_MS),
            grace_ms: 0,
            stdin: Stdin::Null,
        };
        let mut said = Vec::new();
        children.run(&launch, &stop, &mut |_, bytes| said.extend_from_slice(bytes));
        version_in(&String::from_utf8_lossy(&said))
    })
}

/// The first thing that looks like a version; missing parts count as 0.
fn version_in(text: &str) -> Option<semver::Version> {
    let number = |word: &str| word.parse::<u64>().ok();
    let mut words = text.split(|c: char| !c.is_ascii_digit() && c != '.').map(|word| word.trim_matches('.'));
    let dotted =
        words.clone().find(|word| word.contains('.')).or_else(|| words.find(|word| !word.is_empty()))?;
    let mut parts = dotted.split('.').map(number);
    let first = parts.next()??;
    let mut rest = || parts.next().flatten().unwrap_or(0);
    Some(semver::Version::new(first, rest(), rest()))
}

/// The memory of this machine, or of the container it seems to be.
pub fn memory_bytes() -> Option<u64> {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max").ok();
    let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
    [limit, total_memory_bytes()].into_iter().flatten().min()
}

#[cfg(target_os = "linux")]
fn total_memory_bytes() -> Option<u64> {
    let facts = rustix::system::sysinfo();
    #[allow(clippy::useless_conversion, reason = "the field's type differs between architectures")]
    Some(u64::from(facts.totalram).saturating_mul(u64::from(facts.mem_unit)))
}

#[cfg(not(target_os = "linux"))]
fn total_memory_bytes() -> Option<u64> {
    None
}

/// An error of a kind that ends before anything starts.
pub(super) fn refused(message: impl Into<String>) -> Box<Error> {
    Error::new(Kind::Refused, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_found_in_what_programs_say() {
        for (said, expected) in [
            ("Python 3.11.2", "3.11.2"),
            ("git version 2.39.5", "2.39.5"),
            ("jq-1.6", "1.6.0"),
            ("psql (PostgreSQL) 15.6 (Debian 15.6-0+deb12u1)", "15.6.0"),
            ("go version go1.21.1 linux/amd64", "1.21.1"),
            ("Terraform v1.5.7\non linux_amd64", "1.5.7"),
            ("less 590 (GNU)", "590.0.0"),
            ("Docker version 20.10.24+dfsg1, build 297e128", "20.10.24"),
            ("OpenSSL 3.0.15 3 Sep 2024", "3.0.15"),
        ] {
            assert_eq!(version_in(said).unwrap().to_string(), expected, "{said}");
        }
        assert_eq!(version_in("no number"), None);
    }
}
