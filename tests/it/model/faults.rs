//! What goes wrong beside a build: it is killed, edited under, crowded, swept under; the cache is full, read-only, mixed up.
//!
//! A build that somebody disturbs is not held to the oracle. What it may have left in memory and cache goes into the notes as
//! doubtful, and the next build, undisturbed, has to be right.

use super::world::Expected;
use super::{Model, Way, closure};
use crate::space::{files, remove};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A cache on a file system of a few hundred kilobytes.
pub(super) struct Tight {
    at: PathBuf,
    read_only: bool,
}

impl Tight {
    pub(super) fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        mount(&["-t", "tmpfs", "-o", "size=160k,mode=0700", "none"], at)
            .then(|| Self { at: at.to_owned(), read_only: false })
    }
}

impl Drop for Tight {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

fn mount(arguments: &[&str], at: &Path) -> bool {
    let mounted = std::process::Command::new("mount").args(arguments).arg(at).output();
    mounted.is_ok_and(|done| done.status.success())
}

impl Model {
    /// Something happens beside a build; what.
    pub(super) fn fault(&mut self) -> String {
        match self.dice.below(10) {
            0..=2 => self.kill(),
            3 | 4 => self.edit_meanwhile(),
            5 => self.two_at_once(),
            6 => self.sweep(),
            7 => self.swap_cache_files(),
            8 => self.swap_memory_files(),
            _ if self.tight.is_some() => self.turn_read_only(),
            _ => self.older_journal(),
        }
    }

    fn everything(&self) -> Way {
        Way { force: false, no_cache: false, jobs: 2, goals: (0..self.world.targets.len()).collect() }
    }

    /// After something that may have taken away any part of the cache.
    pub(super) fn doubt_cache(&mut self) {
        let stored = std::mem::take(&mut self.notes.stored);
        self.notes.doubtful.extend(stored);
    }

    /// After a build that was not left alone: it may have done any part of its work, but what was stored before stays.
    fn doubt(&mut self, all: &[Expected]) {
        for expected in all {
            let notes = &mut self.notes;
            if !notes.stored.contains(&expected.key) {
                notes.doubtful.insert(expected.key.clone());
            }
            let maybe = notes.doubtful_local.entry(expected.name.clone()).or_default();
            maybe.insert(expected.key.clone());
            maybe.extend(notes.local.remove(&expected.name));
            notes.past.entry(expected.name.clone()).or_default().insert(expected.key.clone());
        }
        // Lines of disturbed commands count for nothing.
        self.space.wait_for_the_dead();
        self.space.trail();
    }

    fn kill(&mut self) -> String {
        let way = self.everything();
        let after_us = self.dice.below(120_000);
        let started = self.iact(&way).start();
        std::thread::sleep(Duration::from_micros(after_us as u64));
        started.signal(Signal::KILL);
        let run = started.wait();
        let all = self.world.expect();
        self.doubt(&all);
        format!("killed after {after_us} us, over before: {}", run.signal.is_none())
    }

    fn edit_meanwhile(&mut self) -> String {
        let way = self.everything();
        let before = self.world.expect();
        let after_us = self.dice.below(80_000);
        let started = self.iact(&way).start();
        std::thread::sleep(Duration::from_micros(after_us as u64));
        let what = self.edit_a_source();
        let run = started.wait();
        assert!(matches!(run.code, Some(0..=2)), "{run}");
        let after = self.world.expect();
        self.doubt(&before);
        self.doubt(&after);
        format!("after {after_us} us of a build: {what}")
    }

    fn two_at_once(&mut self) -> String {
        let way = self.everything();
        let all = self.world.expect();
        let both = [self.iact(&way).start(), self.iact(&way).start()];
        let fails =
            closure(&all, &way.goals).iter().any(|expected| self.world.targets[expected.target].fails);
        for started in both {
            started.wait().expect_code(i32::from(fails));
        }
        self.doubt(&all);
        "two builds at once".into()
    }

    /// A sweep with a tiny limit beside a build.
    fn sweep(&mut self) -> String {
        let kib = self.dice.below(40);
        let way = self.everything();
        let all = self.world.expect();
        let fails =
            closure(&all, &way.goals).iter().any(|expected| self.world.targets[expected.target].fails);
        let building = self.dice.one_in(2).then(|| self.iact(&way).start());
        let swept = self.space.iact(["cache", "gc", "--max-size", &format!("{kib}KiB")]).run();
        // On a disk that is full or read-only it may have nowhere to write.
        assert!(swept.code == Some(0) || self.tight.is_some(), "{swept}");
        let beside = building.map(|started| started.wait().expect_code(i32::from(fails))).is_some();
        self.doubt_cache();
        self.doubt(if beside { &all } else { &[] });
        format!("swept to {kib} KiB, beside a build: {beside}")
    }

    fn swap_cache_files(&mut self) -> String {
        let all = self.space.cache_files();
        if all.len() < 2 || self.is_read_only() {
            return "nothing".into();
        }
        let (one, other) = self.swap_two(&all);
        self.damaged = true;
        self.doubt_cache();
        format!("two files of the cache changed places: {}, {}", one.display(), other.display())
    }

    /// Two files of the memory change places: what is not where it belongs says nothing.
    fn swap_memory_files(&mut self) -> String {
        let all = files(&self.space.path(".iact"));
        if all.len() < 2 {
            return "nothing".into();
        }
        let (one, other) = self.swap_two(&all);
        self.notes.local.clear();
        self.notes.doubtful_local = self.notes.past.clone();
        format!("two files of the memory changed places: {}, {}", one.display(), other.display())
    }

    fn swap_two(&mut self, all: &[PathBuf]) -> (PathBuf, PathBuf) {
        let [one, other] = [self.dice.pick(all).clone(), self.dice.pick(all).clone()];
        let aside = one.with_extension("aside");
        for (from, to) in [(&one, &aside), (&other, &one), (&aside, &other)] {
            let _ = std::fs::rename(from, to);
        }
        remove(&aside);
        (one, other)
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.tight.as_ref().is_some_and(|tight| tight.read_only)
    }

    fn turn_read_only(&mut self) -> String {
        let tight = self.tight.as_mut().expect("it was asked");
        let option = if tight.read_only { "remount,rw" } else { "remount,ro" };
        tight.read_only ^= mount(&["-o", option], &tight.at);
        format!("the cache is read-only: {}", tight.read_only)
    }

    /// The memory as it was some builds ago, as from a backup.
    fn older_journal(&mut self) -> String {
        let now = std::fs::read(self.space.journal()).unwrap_or_default();
        let Some(old) = self.old_journal.replace(now) else { return "nothing".into() };
        if !self.space.path(".iact").is_dir() {
            return "nothing".into();
        }
        remove(&self.space.journal());
        std::fs::write(self.space.journal(), old).unwrap();
        self.notes.local.clear();
        self.notes.doubtful_local = self.notes.past.clone();
        "an older journal".into()
    }
}

/// Removes what is in a folder, not the folder, which may be a file system.
pub(super) fn empty(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        remove(&entry.path());
    }
    debug_assert!(files(folder).is_empty());
}
