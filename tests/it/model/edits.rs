//! What happens to a project between two builds: edits, accidents and damage, done on disk and noted in the oracle.

use super::Model;
use super::faults::empty;
use super::world::{Kind, Source, Target, file, text};
use crate::space::{files, harm, harm_at, remove, set_mode, set_time};
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

impl Model {
    pub(super) fn write_all(&mut self) {
        let sources: Vec<String> = self.world.sources.keys().cloned().collect();
        for path in sources {
            self.write_source(&path);
        }
        self.write_iactfile();
    }

    pub(super) fn write_iactfile(&self) {
        let text = self.world.iactfile(self.space.base().to_str().unwrap());
        self.space.write("Iactfile.toml", text);
    }

    /// Makes the file on disk what the world says.
    fn write_source(&self, path: &str) {
        let at = self.space.path(path);
        match self.world.sources.get(path) {
            None => remove(&at),
            Some(Source::Link(to)) => {
                remove(&at);
                std::fs::create_dir_all(at.parent().unwrap()).unwrap();
                symlink(to, &at).unwrap();
            }
            Some(Source::File { text, executable }) => {
                if at.is_symlink() {
                    remove(&at);
                }
                self.space.write(path, text);
                set_mode(&at, if *executable { 0o755 } else { 0o644 });
            }
        }
    }

    fn any_source(&mut self) -> String {
        let paths: Vec<String> = self.world.sources.keys().cloned().collect();
        self.dice.pick(&paths).clone()
    }

    /// Any file among the sources that is no link.
    fn any_file(&mut self) -> String {
        loop {
            let path = self.any_source();
            if matches!(self.world.sources[&path], Source::File { .. }) {
                return path;
            }
        }
    }

    /// Does something and tells what.
    pub(super) fn edit(&mut self) -> String {
        match self.dice.below(32) {
            0..=2 => self.rewrite(),
            3..=5 => self.rewrite_unnoticed(),
            6 => self.comment(),
            7 => self.touch(),
            8 | 9 => self.add(),
            10 | 11 => self.delete(),
            12 => self.rename(),
            13 => self.chmod(),
            14 => self.retarget(),
            15..=17 => self.revert(),
            18..=22 => self.spoil_an_output(),
            23..=25 => self.change_a_target(),
            26 => self.change_the_list(),
            27 => self.change_env(),
            28 => self.damage_the_cache(),
            29 => self.damage_the_memory(),
            30 if self.dice.one_in(2) => self.forget_the_cache(),
            30 => self.forget_the_workspace(),
            _ => self.remove_all_outputs(),
        }
    }

    /// One of those edits that may happen at any time.
    pub(super) fn edit_a_source(&mut self) -> String {
        match self.dice.below(6) {
            0 => self.rewrite(),
            1 | 2 => self.rewrite_unnoticed(),
            3 => self.add(),
            4 => self.delete(),
            _ => self.chmod(),
        }
    }

    fn rewrite(&mut self) -> String {
        let path = self.any_file();
        let source = file(&mut self.dice);
        self.world.sources.insert(path.clone(), source);
        self.write_source(&path);
        let time = *self.dice.pick(&[None, Some(1_000_000_000), Some(4_000_000_000)]);
        if let Some(time) = time {
            set_time(&self.space.path(&path), time);
        }
        format!("rewrite {path}, time {time:?}")
    }

    /// Another content of the same size, the modification time put back, by a write in place or by a rename.
    fn rewrite_unnoticed(&mut self) -> String {
        let path = self.any_file();
        let Some(Source::File { text, .. }) = self.world.sources.get_mut(&path) else { unreachable!() };
        let digit = char::from(b'0' + u8::try_from(self.dice.below(10)).unwrap());
        text.replace_range(text.len() - 2..text.len() - 1, &digit.to_string());
        let text = text.clone();
        let at = self.space.path(&path);
        let facts = std::fs::metadata(&at).unwrap();
        let renamed = self.dice.one_in(2);
        let written = if renamed { at.with_extension("new") } else { at.clone() };
        std::fs::write(&written, text).unwrap();
        std::fs::set_permissions(&written, facts.permissions()).unwrap();
        let modified = UNIX_EPOCH
            + Duration::new(facts.mtime().unsigned_abs(), u32::try_from(facts.mtime_nsec()).unwrap());
        std::fs::File::options().write(true).open(&written).unwrap().set_modified(modified).unwrap();
        std::fs::rename(&written, &at).unwrap();
        format!("same size and time: {path}, renamed {renamed}")
    }

    fn comment(&mut self) -> String {
        let path = self.any_file();
        let number = self.dice.below(1000);
        let Some(Source::File { text, .. }) = self.world.sources.get_mut(&path) else { unreachable!() };
        *text = format!("# {number}\n{text}");
        self.write_source(&path);
        format!("comment in {path}")
    }

    fn touch(&mut self) -> String {
        let path = self.any_file();
        let time = 1_500_000_000 + self.dice.next() % 1_000_000;
        set_time(&self.space.path(&path), time);
        format!("touch {path}")
    }

    fn add(&mut self) -> String {
        let folder = self.dice.below(4);
        let name = ["a", "b", "c"][self.dice.below(3)];
        let path = format!("src/d{folder}/{name}{}", 2 + self.dice.below(4));
        let source = file(&mut self.dice);
        self.world.sources.insert(path.clone(), source);
        self.write_source(&path);
        format!("add {path}")
    }

    fn delete(&mut self) -> String {
        let path = self.any_source();
        // A literal input must exist, and one file keeps every list of files from being empty.
        if path == "src/keep" || path.ends_with("a1") || path.starts_with("inc/") {
            return "nothing".into();
        }
        self.world.sources.remove(&path);
        self.write_source(&path);
        format!("delete {path}")
    }

    fn rename(&mut self) -> String {
        let from = self.any_file();
        let to = format!("src/d{}/b{}", self.dice.below(4), 1 + self.dice.below(5));
        if from == "src/keep" || from.ends_with("a1") || from.starts_with("inc/") || from == to {
            return "nothing".into();
        }
        let source = self.world.sources.remove(&from).unwrap();
        self.world.sources.insert(to.clone(), source);
        remove(&self.space.path(&to));
        std::fs::rename(self.space.path(&from), self.space.path(&to)).unwrap();
        format!("rename {from} to {to}")
    }

    fn chmod(&mut self) -> String {
        let path = self.any_file();
        let Some(Source::File { executable, .. }) = self.world.sources.get_mut(&path) else { unreachable!() };
        *executable = !*executable;
        set_mode(&self.space.path(&path), if *executable { 0o755 } else { 0o644 });
        format!("chmod {path}")
    }

    fn retarget(&mut self) -> String {
        let path = *self.dice.pick(&["src/d1/a9", "src/d2/b9", "src/d1/c1"]);
        let source = match self.dice.below(4) {
            0 => file(&mut self.dice),
            other => Source::Link(["a1", "b1", "nowhere"][other - 1].into()),
        };
        self.world.sources.insert(path.into(), source);
        self.write_source(path);
        format!("{path} is {:?} now", self.world.sources[path])
    }

    /// The whole project as it was some builds ago.
    fn revert(&mut self) -> String {
        if self.history.is_empty() {
            return "nothing".into();
        }
        let back = self.dice.below(self.history.len());
        let old = self.history[back].clone();
        let now = std::mem::replace(&mut self.world, old);
        for path in now.sources.keys().chain(self.world.sources.keys()) {
            if now.sources.get(path) != self.world.sources.get(path) {
                self.write_source(path);
            }
        }
        self.remove_undeclared();
        format!("as {} builds ago", self.history.len() - back)
    }

    /// A file among the sources that no target makes any more would be a source.
    fn remove_undeclared(&self) {
        // Itself, as it may have been made a folder since.
        for entry in std::fs::read_dir(self.space.path("src/d3")).into_iter().flatten().flatten() {
            let (name, path) = (entry.file_name().into_string().unwrap(), entry.path());
            let maker = name.strip_prefix("gen-t").and_then(|place| place.parse::<usize>().ok());
            let made = |place: usize| {
                self.world.targets.get(place).is_some_and(|target| target.kind == Kind::Inside)
            };
            if maker.is_some_and(|place| !made(place)) {
                remove(&path);
            }
        }
    }

    fn output_files(&self) -> Vec<PathBuf> {
        let mut found = files(&self.space.path("out"));
        found.extend(
            files(&self.space.path("src/d3"))
                .into_iter()
                .filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with("gen-")),
        );
        found
    }

    fn spoil_an_output(&mut self) -> String {
        let all = self.output_files();
        if all.is_empty() {
            return "nothing".into();
        }
        let path = self.dice.pick(&all).clone();
        let folder = path.parent().unwrap().to_owned();
        let how = self.dice.below(9);
        match how {
            0 | 1 => remove(&path),
            2 => std::fs::write(&path, text(&mut self.dice)).unwrap(),
            3 => harm(&path, false),
            4 => {
                let executable = std::fs::metadata(&path).unwrap().mode() & 0o100 != 0;
                set_mode(&path, if executable { 0o644 } else { 0o755 });
            }
            5 => {
                remove(&path);
                std::fs::create_dir_all(path.join("deep/er")).unwrap();
                std::fs::write(path.join("deep/file"), "in the way").unwrap();
            }
            6 => {
                remove(&path);
                symlink("../src/keep", &path).unwrap();
            }
            7 if folder.extension().is_some_and(|kind| kind == "dir") => {
                std::fs::write(folder.join("stray"), "stray").unwrap();
            }
            7 => harm(&path, true),
            _ if folder.extension().is_some_and(|kind| kind == "dir") => remove(&folder),
            _ => {
                // Same content, another file: nothing to do.
                let bytes = std::fs::read(&path).unwrap();
                let mode = std::fs::metadata(&path).unwrap().permissions();
                remove(&path);
                std::fs::write(&path, bytes).unwrap();
                std::fs::set_permissions(&path, mode).unwrap();
            }
        }
        format!("output {}: {how}", path.strip_prefix(&self.space.ws).unwrap().display())
    }

    fn change_a_target(&mut self) -> String {
        let place = self.dice.below(self.world.targets.len());
        let how = self.dice.below(4);
        match how {
            0 => self.world.targets[place].salt = self.dice.below(5),
            1 => self.world.targets[place].fails = !self.world.targets[place].fails,
            _ => {
                let fresh = Target::random(&mut self.dice, place);
                self.world.targets[place] = fresh;
            }
        }
        self.remove_undeclared();
        format!("t{place}: {how}, {:?}", self.world.targets[place])
    }

    fn change_the_list(&mut self) -> String {
        let place = self.world.targets.len();
        if place > 4 && self.dice.one_in(2) {
            self.world.targets.pop();
            self.remove_undeclared();
            return format!("no t{} any more", place - 1);
        }
        let fresh = Target::random(&mut self.dice, place);
        self.world.targets.push(fresh);
        format!("t{place} is new")
    }

    fn change_env(&mut self) -> String {
        self.world.env = [None, Some(""), Some("1"), Some("2")][self.dice.below(4)].map(str::to_owned);
        format!("E is {:?}", self.world.env)
    }

    fn damage_the_cache(&mut self) -> String {
        let all = self.space.cache_files();
        if all.is_empty() || self.is_read_only() {
            return "nothing".into();
        }
        let path = self.dice.pick(&all).clone();
        let how = self.dice.below(3);
        match how {
            0 => remove(&path),
            how => self.harm_anywhere(&path, how == 1),
        }
        self.damaged = true;
        self.doubt_cache();
        format!("cache file {}: {how}", path.strip_prefix(&self.space.cache).unwrap().display())
    }

    /// Changes one bit of a file somewhere, or cuts it there.
    fn harm_anywhere(&mut self, path: &Path, cut: bool) {
        let length = std::fs::metadata(path).unwrap().len() as usize;
        let at = self.dice.below(length.max(1));
        harm_at(path, at, 1 << self.dice.below(8), cut);
    }

    fn damage_the_memory(&mut self) -> String {
        let all = files(&self.space.path(".iact"));
        if all.is_empty() {
            return "nothing".into();
        }
        let path = self.dice.pick(&all).clone();
        let how = self.dice.below(3);
        match how {
            0 => remove(&path),
            how => self.harm_anywhere(&path, how == 1),
        }
        self.notes.local.clear();
        self.notes.doubtful_local = self.notes.past.clone();
        format!("memory {}: {how}", path.strip_prefix(&self.space.ws).unwrap().display())
    }

    fn forget_the_cache(&mut self) -> String {
        if self.is_read_only() {
            return "nothing".into();
        }
        empty(&self.space.cache);
        self.damaged = false;
        self.notes.stored.clear();
        self.notes.doubtful.clear();
        "no cache any more".into()
    }

    fn forget_the_workspace(&mut self) -> String {
        self.space.remove(".iact");
        self.notes.local.clear();
        self.notes.past.clear();
        self.notes.doubtful_local.clear();
        // It would remember more than `past` knows.
        self.old_journal = None;
        "no memory any more".into()
    }

    fn remove_all_outputs(&mut self) -> String {
        for path in self.output_files() {
            remove(&path);
        }
        self.space.remove("out");
        "no outputs any more".into()
    }
}
