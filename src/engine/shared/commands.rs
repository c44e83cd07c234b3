//! Runs the commands of actions: with their environment and folder, a token of the jobserver, secrets masked.
#![allow(clippy::disallowed_methods, reason = "shell: files, the jobserver")]

use super::{GRACE_MS, Shared, find_program};
use crate::engine::job::Event;
use crate::engine::jobserver::{Jobserver, Style};
use crate::engine::spawn::{Ended, Launch, Stdin, Stop};
use crate::graph::action::Action;
use crate::graph::instance::Texts;
use crate::report::Stream;
use crate::scan::times::{Moment, keeps_times, moment};
use std::ffi::OsString;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Duration;

fn unshared(error: &std::io::Error) -> String {
    format!(
        "make, cargo and ninja below an action do not share this run's jobs: no jobserver can be made: {error}"
    )
}

impl Shared<'_> {
    /// Now, by the clock of the workspace's files.
    pub fn moment(&self) -> Moment {
        moment(self.workspace.folder.as_fd(), self.keeps_times())
    }

    /// Whether stats of the workspace's file system may vouch for contents.
    pub fn keeps_times(&self) -> bool {
        *self.keeps_times.get_or_init(|| keeps_times(self.workspace.folder.as_fd()))
    }

    pub(super) fn jobserver(&self) -> Option<&Jobserver> {
        let make = || {
            let outer = self.workspace.caller.var("MAKEFLAGS").and_then(|flags| Jobserver::join(flags));
            let own = || {
                let style = Style::of_make(&self.make_version());
                let own = Jobserver::new(self.jobs, style, |folder| self.children.remove_if_killed([folder]));
                own.map_err(|error| self.tell(Event::Warning(unshared(&error)))).ok()
            };
            outer.or_else(own)
        };
        self.jobserver.get_or_init(make).as_ref()
    }

    /// What `make --version` says; asked once for each make that was ever on PATH.
    fn make_version(&self) -> String {
        let Some(make) =
            find_program(&self.workspace.caller.var("PATH").cloned().unwrap_or_default(), "make")
        else {
            return String::new();
        };
        let facts =
            std::fs::metadata(&make).map(|facts| format!("{:?} {}", facts.modified().ok(), facts.len()));
        let key = format!("{} {}\n", make.display(), facts.unwrap_or_default());
        let memo = self.workspace.memory().join("make");
        if let Some(version) =
            std::fs::read_to_string(&memo).ok().and_then(|text| text.strip_prefix(&key).map(str::to_owned))
        {
            return version;
        }
        let (argv, env) = ([make.into_os_string(), "--version".into()], []);
        let launch = Launch {
            argv: &argv,
            cwd: Path::new("/"),
            env: &env,
            timeout_ms: Some(2_000),
            grace_ms: 0,
            stdin: Stdin::Null,
        };
        let mut said = Vec::new();
        self.children.run(&launch, &self.stop, &mut |_, bytes| said.extend_from_slice(bytes));
        let version = String::from_utf8_lossy(&said).lines().next().unwrap_or_default().to_owned();
        // Not being able to remember costs two milliseconds next time.
        let _ = std::fs::create_dir_all(self.workspace.memory())
            .and_then(|()| std::fs::write(&memo, key + &version));
        version
    }

    /// Runs a command of an action and gives its output to `output`; holds one token of the jobserver
    /// meanwhile.
    pub fn run(
        &self,
        action: &Action,
        argv: &[String],
        texts: &Texts,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Ended {
        self.run_on(Stdin::Null, (action, argv), texts, output)
    }

    /// The same for a command that may own the terminal.
    pub fn run_on(
        &self,
        stdin: Stdin,
        (action, argv): (&Action, &[String]),
        texts: &Texts,
        output: &mut dyn FnMut(Stream, &[u8]),
    ) -> Ended {
        let env = self.environment(action, &texts.env);
        let argv: Vec<OsString> = argv.iter().map(OsString::from).collect();
        let cwd = self.workspace.root.join(&action.cwd);
        let launch = Launch {
            argv: &argv,
            cwd: &cwd,
            env: &env,
            timeout_ms: action.timeout_ms,
            grace_ms: GRACE_MS,
            stdin,
        };
        tracing::debug!(target = action.name, ?argv, cwd = %cwd.display(), "starting");
        let token = self.jobserver().filter(|jobserver| self.acquire(jobserver));
        let own = self.stop_of(action);
        let ended = self.run_masked(&launch, own.as_ref().unwrap_or(self.bells(&action.name)), output);
        if let Some(jobserver) = token {
            jobserver.release();
        }
        tracing::debug!(target = action.name, end = ?ended.end, ms = ended.duration_ms, "ended");
        ended
    }

    fn run_masked(&self, launch: &Launch<'_>, stop: &Stop, output: &mut dyn FnMut(Stream, &[u8])) -> Ended {
        let (Some(mut out), Some(mut err)) = (self.secrets.masker(), self.secrets.masker()) else {
            return self.children.run(launch, stop, output);
        };
        let mut show = |stream, bytes: Vec<u8>| {
            if !bytes.is_empty() {
                output(stream, &bytes);
            }
        };
        let ended = self.children.run(launch, stop, &mut |stream, bytes| {
            let masker = if stream == Stream::Stdout { &mut out } else { &mut err };
            show(stream, masker.write(bytes));
        });
        show(Stream::Stdout, out.finish());
        show(Stream::Stderr, err.finish());
        ended
    }

    /// Waits for a token. A make below another action may hold the one that is missing, and gives it back; what no action
    /// holds was taken by something that was left behind.
    fn acquire(&self, jobserver: &Jobserver) -> bool {
        while !jobserver.try_acquire() {
            if self.stop.signal().is_some() {
                return false;
            }
            let fd = jobserver.readable();
            let mut ready = [rustix::event::PollFd::new(&fd, rustix::event::PollFlags::IN)];
            let wait =
                rustix::time::Timespec::try_from(Duration::from_millis(50)).expect("fifty milliseconds fit");
            if !rustix::event::poll(&mut ready, Some(&wait)).is_ok_and(|ready| ready > 0) {
                jobserver.refill_when_idle();
            }
        }
        true
    }

    /// Nothing runs: tokens that ended with their holders come back.
    pub fn idle(&self) {
        if let Some(Some(jobserver)) = self.jobserver.get() {
            jobserver.refill_when_idle();
        }
    }

    /// Runs a script of an action quietly. `said` gets all of its standard output; the beginning is in the message of a
    /// failure.
    ///
    /// # Errors
    /// How it failed, and that its output did not end with it.
    pub fn script(
        &self,
        action: &Action,
        texts: &Texts,
        script: &str,
        said: &mut dyn FnMut(&[u8]),
    ) -> Result<(), String> {
        const KEPT: usize = 1 << 16;
        let argv: Vec<String> = action.shell.iter().cloned().chain([script.to_owned()]).collect();
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let ended = self.run(action, &argv, texts, &mut |stream, bytes| {
            if stream == Stream::Stdout {
                said(bytes);
            }
            let into = if stream == Stream::Stdout { &mut out } else { &mut err };
            if into.len() < KEPT {
                into.extend_from_slice(bytes);
            }
        });
        match crate::engine::job::failure(&ended.end) {
            None if ended.output_complete => Ok(()),
            None => Err("it ended, but something it started keeps its output open".to_owned()),
            Some(failure) => {
                let said =
                    String::from_utf8_lossy(if err.is_empty() { &out } else { &err }).trim_end().to_owned();
                Err(if said.is_empty() { failure } else { format!("{failure}: {said}") })
            }
        }
    }
}
