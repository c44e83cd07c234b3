//! Real processes. Those that could outlive a test carry a tag in their environment by which they are looked for.
#![allow(clippy::disallowed_methods, reason = "real processes, files and time")]

mod ends;
mod killed;
mod output;
mod tree;

use super::*;
use std::time::Duration;

/// The variable with the tag.
const TAG: &str = "IACT_TEST_TAG";

/// How long any of this may take before a test fails.
const PATIENCE: Duration = Duration::from_secs(20);

/// One command, owned.
struct Case {
    argv: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    cwd: PathBuf,
    timeout_ms: Option<u64>,
    grace_ms: u64,
    tag: String,
}

/// `sh -c` with a usual PATH and a tag of its own.
fn sh(script: &str) -> Case {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let tag = format!("{}.{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    Case {
        argv: ["/bin/sh", "-c", script].map(OsString::from).to_vec(),
        env: vec![("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()), (TAG.into(), tag.clone().into())],
        cwd: "/".into(),
        timeout_ms: None,
        grace_ms: 5_000,
        tag,
    }
}

/// A command's end and what it wrote.
struct Seen {
    ended: Ended,
    out: Vec<u8>,
    err: Vec<u8>,
}

impl Case {
    fn timeout_ms(mut self, ms: u64) -> Self {
        self.timeout_ms = Some(ms);
        self
    }

    fn grace_ms(mut self, ms: u64) -> Self {
        self.grace_ms = ms;
        self
    }

    fn launch(&self) -> Launch<'_> {
        Launch {
            argv: &self.argv,
            cwd: &self.cwd,
            env: &self.env,
            timeout_ms: self.timeout_ms,
            grace_ms: self.grace_ms,
            stdin: Stdin::Null,
        }
    }

    fn run(&self) -> Seen {
        self.run_and(&Stop::new().unwrap(), &mut |_| {})
    }

    /// Runs it; `on_output` sees everything that was written to standard output up to then.
    fn run_and(&self, stop: &Stop, on_output: &mut dyn FnMut(&str)) -> Seen {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ended = Children::new(None).run(&self.launch(), stop, &mut |stream, bytes| match stream {
            Stream::Stdout => {
                out.extend_from_slice(bytes);
                on_output(&String::from_utf8_lossy(&out));
            }
            Stream::Stderr => err.extend_from_slice(bytes),
        });
        Seen { ended, out, err }
    }

    /// Who of it lives.
    fn alive(&self) -> Vec<i32> {
        tagged(&self.tag)
    }
}

/// The living processes with this tag.
fn tagged(tag: &str) -> Vec<i32> {
    let entry = format!("{TAG}={tag}");
    let carries = |pid: &i32| {
        std::fs::read(format!("/proc/{pid}/environ"))
            .is_ok_and(|environ| environ.split(|byte| *byte == 0).any(|found| found == entry.as_bytes()))
    };
    pids().into_iter().filter(carries).collect()
}

fn pids() -> Vec<i32> {
    let entries = std::fs::read_dir("/proc").unwrap();
    entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Waits until it holds.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < PATIENCE, "still not so: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Kills what a test meant to leave behind.
fn clear(tag: &str) {
    eventually("everything left behind is gone", || {
        collect_orphans();
        let left = tagged(tag);
        for pid in left.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        left.is_empty()
    });
}
