//! A workspace with a cache of its own and a pinned environment, and what a run of the program in it came to.
//!
//! Outcomes are read from `--json`; what really ran is told by the commands themselves, which add a line to a file outside
//! the workspace ([`Space::trail`]). The folder of a failed test stays, and its path is printed.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// The program under test.
pub(crate) const IACT: &str = env!("CARGO_BIN_EXE_iact");

/// A workspace (`ws`), a cache, a home, a folder for temporary files and the trail, side by side in one folder.
pub(crate) struct Space {
    base: Option<tempfile::TempDir>,
    pub(crate) ws: PathBuf,
    pub(crate) cache: PathBuf,
}

impl Drop for Space {
    fn drop(&mut self) {
        let Some(base) = self.base.take() else { return };
        if std::thread::panicking() || std::env::var_os("IACT_TEST_KEEP").is_some() {
            eprintln!("the folder of this test is kept: {}", base.keep().display());
        }
    }
}

impl Space {
    /// A workspace with an Iactfile. `@LOG@` in it is the trail, `@BASE@` the folder that holds everything.
    pub(crate) fn new(iactfile: &str) -> Self {
        let space = Self::bare();
        space.iactfile(iactfile);
        space
    }

    /// A workspace without an Iactfile.
    pub(crate) fn bare() -> Self {
        let base = tempfile::Builder::new().prefix("iact-it-").tempdir().unwrap();
        let root = base.path().canonicalize().unwrap();
        let space = Self { ws: root.join("ws"), cache: root.join("cache"), base: Some(base) };
        for folder in ["ws", "home", "tmp"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        space
    }

    /// Another checkout with the same cache and trail: the Iactfile and all sources, but nothing of `.iact`.
    pub(crate) fn checkout(&self, name: &str) -> Self {
        let ws = self.base().join(name);
        copy_tree(&self.ws, &ws);
        Self { ws, cache: self.cache.clone(), base: None }
    }

    pub(crate) fn base(&self) -> &Path {
        self.ws.parent().unwrap()
    }

    pub(crate) fn iactfile(&self, text: &str) {
        self.iactfile_in(".", text);
    }

    pub(crate) fn iactfile_in(&self, folder: &str, text: &str) {
        let base = self.base().to_str().unwrap();
        let text = text.replace("@LOG@", &format!("{base}/trail")).replace("@BASE@", base);
        self.write(format!("{folder}/Iactfile.toml"), text);
    }

    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.ws.join(name)
    }

    pub(crate) fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    pub(crate) fn read(&self, name: impl AsRef<Path>) -> String {
        String::from_utf8_lossy(&fs::read(self.path(name)).unwrap()).into_owned()
    }

    pub(crate) fn has(&self, name: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.path(name)).is_ok()
    }

    /// Waits until no command of a killed build lives: as long as one does the workspace is locked.
    pub(crate) fn wait_for_the_dead(&self) {
        if let Ok(lock) = fs::File::open(self.ws.join(".iact/lock")) {
            rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
        }
    }

    /// Removes a file, a link or a whole folder.
    pub(crate) fn remove(&self, name: impl AsRef<Path>) {
        remove(&self.path(name));
    }

    /// The lines that commands added to the trail since the last call.
    pub(crate) fn trail(&self) -> Vec<String> {
        let lines = self.trail_so_far();
        remove(&self.base().join("trail"));
        lines
    }

    /// The same, while more may come.
    pub(crate) fn trail_so_far(&self) -> Vec<String> {
        let lines = fs::read_to_string(self.base().join("trail")).unwrap_or_default();
        lines.lines().map(str::to_owned).collect()
    }

    /// The same, sorted: where the order says nothing.
    pub(crate) fn trail_sorted(&self) -> Vec<String> {
        let mut lines = self.trail();
        lines.sort();
        lines
    }

    /// A command line of the program, not started yet.
    pub(crate) fn iact<S: AsRef<OsStr>>(&self, args: impl IntoIterator<Item = S>) -> Iact<'_> {
        let mut command = Command::new(IACT);
        command.args(args).current_dir(&self.ws);
        self.pin(&mut command);
        Iact { space: self, command, limit: patience(60), stdout: None }
    }

    /// Any other program in the same environment.
    pub(crate) fn program(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.ws);
        self.pin(&mut command);
        command
    }

    fn pin(&self, command: &mut Command) {
        let base = self.base();
        command.env_clear().stdin(Stdio::null());
        for (name, value) in [("HOME", "home"), ("TMPDIR", "tmp")] {
            command.env(name, base.join(value));
        }
        command.env("IACT_CACHE_DIR", &self.cache);
        for (name, value) in
            [("TZ", "UTC"), ("LANG", "C.UTF-8"), ("NO_COLOR", "1"), ("USER", "tester"), ("COLUMNS", "100")]
        {
            command.env(name, value);
        }
        // What is planted in the program under test (`tasks/chaos.sh`) goes along.
        for name in ["PATH", "IACT_CHAOS"] {
            if let Some(value) = std::env::var_os(name) {
                command.env(name, value);
            }
        }
    }

    /// `iact build --json` that has to succeed.
    pub(crate) fn build(&self, args: &[&str]) -> Run {
        self.try_build(args).expect_code(0)
    }

    /// `iact build --json`, whatever it comes to.
    pub(crate) fn try_build(&self, args: &[&str]) -> Run {
        self.iact(["build", "--json"].iter().chain(args)).run()
    }

    /// What one build of `goal` did to the only target of that name, and why.
    pub(crate) fn outcome(&self, goal: &str) -> String {
        let run = self.build(&[goal]);
        run.outcomes()[goal].clone()
    }

    /// Every regular file of the cache.
    pub(crate) fn cache_files(&self) -> Vec<PathBuf> {
        files(&self.cache)
    }

    pub(crate) fn journal(&self) -> PathBuf {
        self.path(".iact/journal")
    }
}

/// A command line on its way.
pub(crate) struct Iact<'s> {
    space: &'s Space,
    command: Command,
    limit: Duration,
    stdout: Option<Stdio>,
}

impl Iact<'_> {
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn dir(mut self, folder: impl AsRef<Path>) -> Self {
        self.command.current_dir(self.space.ws.join(folder));
        self
    }

    pub(crate) fn limit(mut self, seconds: u64) -> Self {
        self.limit = patience(seconds);
        self
    }

    /// Where its standard output goes, instead of into [`Run::out`].
    pub(crate) fn stdout(mut self, to: impl Into<Stdio>) -> Self {
        self.stdout = Some(to.into());
        self
    }

    /// In the place of a command line that starts it: `setpriv … iact build`.
    pub(crate) fn below(mut self, wrapper: &[&str]) -> Self {
        let mut outer = Command::new(wrapper[0]);
        outer.args(&wrapper[1..]).arg(self.command.get_program()).args(self.command.get_args());
        outer.env_clear().stdin(Stdio::null());
        for (name, value) in self.command.get_envs() {
            if let Some(value) = value {
                outer.env(name, value);
            }
        }
        if let Some(folder) = self.command.get_current_dir() {
            outer.current_dir(folder);
        }
        self.command = outer;
        self
    }

    /// Starts it, in a process group of its own.
    pub(crate) fn start(mut self) -> Started {
        // Checkouts share a folder.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let [out, err] = ["out", "err"].map(|kind| self.space.base().join(format!("{kind}.{number}")));
        let stdout = self.stdout.take().unwrap_or_else(|| File::create(&out).unwrap().into());
        self.command.stdout(stdout).stderr(File::create(&err).unwrap()).process_group(0);
        let child = self.command.spawn().unwrap();
        Started { child, out, err, limit: self.limit, began: Instant::now(), ended: false }
    }

    /// Starts it and waits for its end.
    pub(crate) fn run(self) -> Run {
        self.start().wait()
    }
}

/// A process of the program that is running.
pub(crate) struct Started {
    child: Child,
    out: PathBuf,
    err: PathBuf,
    limit: Duration,
    began: Instant,
    ended: bool,
}

impl Drop for Started {
    fn drop(&mut self) {
        if !self.ended {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

impl Started {
    pub(crate) fn pid(&self) -> rustix::process::Pid {
        rustix::process::Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(), signal).unwrap();
    }

    pub(crate) fn signal_group(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process_group(self.pid(), signal).unwrap();
    }

    /// What it wrote to standard error so far.
    pub(crate) fn err(&self) -> String {
        fs::read_to_string(&self.err).unwrap_or_default()
    }

    /// What it wrote to standard output so far.
    pub(crate) fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    pub(crate) fn wait(mut self) -> Run {
        let pid = self.pid();
        let (done, waiting) = std::sync::mpsc::channel::<()>();
        let limit = self.limit;
        let watch = std::thread::spawn(move || {
            if waiting.recv_timeout(limit) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                return true;
            }
            false
        });
        let status = self.child.wait().unwrap();
        self.ended = true;
        drop(done);
        let hung = watch.join().unwrap();
        let text = |path: &Path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let (out, err) = (text(&self.out), text(&self.err));
        remove(&self.out);
        remove(&self.err);
        let events = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        let run = Run {
            code: status.code(),
            signal: status.signal(),
            out,
            err,
            events,
            took: self.began.elapsed(),
        };
        assert!(!hung, "it hung for {limit:?}: {run}");
        assert!(!run.err.contains("panicked") && run.code != Some(70), "it panicked: {run}");
        run
    }
}

/// What a run came to.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) signal: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) events: Vec<serde_json::Value>,
    pub(crate) took: Duration,
}

impl std::fmt::Display for Run {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cut = |text: &str| text.chars().take(6_000).collect::<String>();
        let (code, signal) = (self.code, self.signal);
        write!(f, "code {code:?}, signal {signal:?}\n--- out\n{}--- err\n{}", cut(&self.out), cut(&self.err))
    }
}

impl Run {
    #[track_caller]
    pub(crate) fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self}");
        self
    }

    /// Of every action its outcome.
    pub(crate) fn outcomes(&self) -> BTreeMap<String, String> {
        let finished = self.events.iter().filter(|event| event["event"] == "finished");
        finished.map(|event| (text(&event["target"]), text(&event["outcome"]))).collect()
    }

    /// The outcomes of all actions, without their names.
    pub(crate) fn kinds(&self) -> Vec<String> {
        let mut kinds: Vec<String> = self.outcomes().into_values().collect();
        kinds.sort();
        kinds.dedup();
        kinds
    }

    /// The targets with an outcome, sorted.
    pub(crate) fn with(&self, outcome: &str) -> Vec<String> {
        self.outcomes().into_iter().filter(|(_, is)| is == outcome).map(|(target, _)| target).collect()
    }

    pub(crate) fn finished(&self, target: &str) -> &serde_json::Value {
        let found =
            self.events.iter().find(|event| event["event"] == "finished" && event["target"] == target);
        found.unwrap_or_else(|| panic!("no end of `{target}`: {self}"))
    }

    /// Why a target was not up to date: the kind, and what it names.
    pub(crate) fn reason(&self, target: &str) -> String {
        let reason = &self.finished(target)["reason"];
        let Some(kind) = reason["kind"].as_str() else { return String::new() };
        let named = ["path", "name", "tool", "probe"].iter().find_map(|key| reason[key].as_str());
        [Some(kind), named].into_iter().flatten().collect::<Vec<_>>().join(" ")
    }

    pub(crate) fn fingerprint(&self, target: &str) -> String {
        text(&self.finished(target)["fingerprint"])
    }

    /// The output of one target's command on one stream.
    pub(crate) fn output(&self, target: &str, stream: &str) -> String {
        let of_it = |event: &&serde_json::Value| {
            event["event"] == "output" && event["target"] == target && event["stream"] == stream
        };
        self.events.iter().filter(of_it).map(|event| text(&event["text"])).collect()
    }

    pub(crate) fn warnings(&self) -> Vec<String> {
        let warnings = self.events.iter().filter(|event| event["event"] == "warning");
        warnings.map(|event| text(&event["message"])).collect()
    }

    /// Everything a person was told.
    pub(crate) fn said(&self) -> String {
        let of_events = self.events.iter().flat_map(|event| ["text", "message"].map(|key| text(&event[key])));
        self.err.clone() + &of_events.collect::<String>()
    }
}

fn text(value: &serde_json::Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

/// After how long something hangs that should take less than so many seconds. A long run beside other work says
/// `IACT_TRY_PATIENCE=10`, and everything has ten times as long.
fn patience(seconds: u64) -> Duration {
    let times = std::env::var("IACT_TRY_PATIENCE").map_or(1, |times| times.parse().unwrap());
    Duration::from_secs(seconds * times)
}

/// Waits for something to become true.
#[track_caller]
pub(crate) fn until(what: &str, mut fact: impl FnMut() -> bool) {
    let end = Instant::now() + patience(20);
    while !fact() {
        assert!(Instant::now() < end, "in vain waited until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A number of seconds that nobody else sleeps: a mark by which a test's own processes are found.
pub(crate) fn mark() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("{}{:03}", 1_000_000 + std::process::id() % 1_000_000, number)
}

/// Processes that carry the mark on their command line; they are ended.
pub(crate) fn left_over(mark: &str) -> Vec<i32> {
    let found = processes_with(mark);
    for pid in found.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
    found
}

/// Who has this mark among the words it was started with.
pub(crate) fn processes_with(mark: &str) -> Vec<i32> {
    let own = std::process::id() as i32;
    let numbers = fs::read_dir("/proc").unwrap().flatten();
    let numbers = numbers.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let is_marked = |pid: &i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        *pid != own && String::from_utf8_lossy(&words).contains(mark)
    };
    numbers.filter(is_marked).collect()
}

/// Says why a test does nothing here.
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}

pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether a program is there.
pub(crate) fn has_program(name: &str) -> bool {
    std::env::split_paths(&std::env::var_os("PATH").unwrap()).any(|folder| folder.join(name).is_file())
}

pub(crate) fn remove(path: &Path) {
    match fs::symlink_metadata(path) {
        Ok(facts) if facts.is_dir() => fs::remove_dir_all(path).unwrap(),
        Ok(_) => fs::remove_file(path).unwrap(),
        Err(_) => {}
    }
}

pub(crate) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// Sets a file's modification time, seconds since the epoch.
pub(crate) fn set_time(path: &Path, seconds: u64) {
    let time = std::time::UNIX_EPOCH + Duration::from_secs(seconds);
    let file = File::options().write(true).open(path).unwrap();
    file.set_modified(time).unwrap();
}

/// Changes a file's bytes in the middle, or cuts it there.
pub(crate) fn harm(path: &Path, cut: bool) {
    harm_at(path, fs::metadata(path).unwrap().len() as usize / 2, 0xff, cut);
}

/// Changes some bits of a file's byte there, or cuts it there; a file without one stays as it is.
pub(crate) fn harm_at(path: &Path, at: usize, bits: u8, cut: bool) {
    let mut bytes = fs::read(path).unwrap();
    let Some(byte) = bytes.get_mut(at) else { return };
    *byte ^= bits;
    if cut {
        bytes.truncate(at);
    }
    overwrite(path, &bytes);
}

/// Writes into a file whatever its mode says.
pub(crate) fn overwrite(path: &Path, bytes: &[u8]) {
    set_mode(path, 0o644);
    let mut file = File::options().write(true).truncate(true).open(path).unwrap();
    file.write_all(bytes).unwrap();
}

/// Every regular file below a folder, sorted.
pub(crate) fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

/// What stands at and below a path: kind, executable bit and bytes, by the path below it.
pub(crate) fn tree(path: &Path) -> BTreeMap<String, String> {
    fn walk(path: &Path, name: &str, into: &mut BTreeMap<String, String>) {
        let Ok(facts) = fs::symlink_metadata(path) else { return };
        let what = if facts.is_symlink() {
            format!("link {}", fs::read_link(path).unwrap().display())
        } else if facts.is_dir() {
            for entry in fs::read_dir(path).unwrap() {
                let entry = entry.unwrap();
                let inner = format!("{name}/{}", entry.file_name().to_string_lossy());
                walk(&entry.path(), inner.trim_start_matches('/'), into);
            }
            "folder".to_owned()
        } else {
            let bit = if facts.mode() & 0o100 != 0 { "x" } else { "-" };
            format!("file {bit} {}", String::from_utf8_lossy(&fs::read(path).unwrap()))
        };
        into.insert(name.to_owned(), what);
    }
    let mut all = BTreeMap::new();
    walk(path, "", &mut all);
    all
}

/// Everything below a folder with its mode, size and modification time: whether anything was written.
pub(crate) fn snapshot(folder: &Path) -> BTreeMap<PathBuf, (u32, u64, i64, i64)> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.unwrap().path();
        let facts = fs::symlink_metadata(&path).unwrap();
        if facts.is_dir() {
            all.extend(snapshot(&path));
        }
        all.insert(path, (facts.mode(), facts.size(), facts.mtime(), facts.mtime_nsec()));
    }
    all
}

fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().unwrap();
        if entry.file_name() == ".iact" {
            continue;
        } else if kind.is_dir() {
            copy_tree(&from, &to);
        } else if kind.is_symlink() {
            std::os::unix::fs::symlink(fs::read_link(&from).unwrap(), &to).unwrap();
        } else {
            fs::copy(&from, &to).unwrap();
        }
    }
}

/// Arguments that need not be text.
pub(crate) fn os(args: &[&[u8]]) -> Vec<OsString> {
    use std::os::unix::ffi::OsStringExt;
    args.iter().map(|arg| OsString::from_vec(arg.to_vec())).collect()
}
