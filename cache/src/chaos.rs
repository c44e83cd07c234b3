//! Classic bugs, planted one at a time, and places where the process may be killed: what the tests have to bite on.
//!
//! Only with the feature `chaos`, and never in a program built for release: there this file does not compile. Without the
//! feature every question below is a constant `false`, and nothing is left of it. `IACT_CHAOS` names the planted bug,
//! `IACT_CHAOS_KILL` a point (`NAME` or `NAME:N` for its N-th passing) at which the process kills itself with SIGKILL, and
//! `IACT_CHAOS_STOP` one at which it stops until somebody lets it go on.
//!
//! Refused: bugs as patches to be applied. They rot; these are compiled with every change.
#![allow(clippy::disallowed_methods, reason = "shell: asks the environment which bug is planted")]

#[cfg(all(feature = "chaos", not(debug_assertions)))]
compile_error!("the feature `chaos` plants bugs: it is for tests only and never built for release");

macro_rules! bugs {
    ($($(#[$doc:meta])* $bug:ident = $name:literal,)*) => {
        /// What can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Bug { $($(#[$doc])* $bug,)* }

        impl Bug {
            /// Its name in `IACT_CHAOS`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$bug => $name,)* }
            }
        }
    };
}

bugs! {
    /// Inputs are not looked at again after the command.
    NoRestat = "no-restat",
    /// A file counts as unchanged if its modification time is.
    MtimeOnly = "mtime-only",
    /// A memo vouches for a file that was written a moment ago.
    RacyMemo = "racy-memo",
    /// Nothing is flushed before it gets its name.
    NoFsync = "no-fsync",
    /// Outputs are written where they belong, one after the other.
    NoStaging = "no-staging",
    /// Old outputs go before the new ones are there.
    DeleteFirst = "delete-first",
    /// A lock is given back by removing its file.
    LockByUnlink = "lock-by-unlink",
    /// What was interrupted counts as a success.
    StoreOnSignal = "store-on-signal",
    /// A command without an exit code has exited with 0.
    NoCodeIsZero = "no-code-is-zero",
    /// Outputs are hard links into the cache.
    HardLinks = "hard-links",
    /// A value is written into a script as it stands.
    Unquoted = "unquoted",
    /// A result gets its name before its blobs.
    ResultFirst = "result-first",
    /// A file that cannot be read any further has ended.
    IgnoreReadErrors = "ignore-read-errors",
    /// Blobs are given out unseen.
    NoVerify = "no-verify",
    /// What is damaged stays where it is, and counts as there when it is stored again.
    NoHealing = "no-healing",
    /// Frames of the journal are believed.
    NoChecksum = "no-checksum",
    /// A damaged end of the journal stays, and is appended to.
    NoCut = "no-cut",
    /// Temporary files of the living are litter.
    SweepLive = "sweep-live",
    /// A sweep takes blobs before the results that need them.
    SweepBlobsFirst = "sweep-blobs-first",
    /// The executable bit is lost.
    NoExecBit = "no-exec-bit",
    /// What a restored folder should not hold stays.
    KeepStrays = "keep-strays",
    /// Links on the way to an output are followed.
    FollowLinks = "follow-links",
    /// Only the command itself is signalled.
    OneProcess = "one-process",
    /// Nobody looks after the commands of a killed run.
    NoSupervisor = "no-supervisor",
    /// The locks of a killed run are free while its commands are being ended.
    LocksOfTheDead = "locks-of-the-dead",
    /// Commands see the whole environment of the caller.
    LeakEnv = "leak-env",
    /// A variable's value is not part of the fingerprint.
    EnvNotInKey = "env-not-in-key",
    /// A cache that cannot be written fails the build.
    FullCacheFails = "full-cache-fails",
}

/// Whether this bug is planted.
#[cfg(feature = "chaos")]
pub fn planted(bug: Bug) -> bool {
    use std::sync::OnceLock;
    static PLANTED: OnceLock<Option<std::ffi::OsString>> = OnceLock::new();
    PLANTED.get_or_init(|| std::env::var_os("IACT_CHAOS")).as_ref().is_some_and(|name| name == bug.name())
}

/// Whether this bug is planted: never.
#[cfg(not(feature = "chaos"))]
#[inline(always)]
pub const fn planted(_: Bug) -> bool {
    false
}

/// A place where the process may die or stop.
#[cfg(feature = "chaos")]
pub fn point(name: &str) {
    use rustix::process::{Signal, getpid, kill_process};
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU32, Ordering};
    static CHOSEN: OnceLock<Option<(Signal, String, u32)>> = OnceLock::new();
    static PASSED: AtomicU32 = AtomicU32::new(0);
    let chosen = CHOSEN.get_or_init(|| {
        let named = |variable, signal| Some((signal, std::env::var(variable).ok()?));
        let (signal, text) =
            named("IACT_CHAOS_KILL", Signal::KILL).or_else(|| named("IACT_CHAOS_STOP", Signal::STOP))?;
        let (name, number) = text.split_once(':').unwrap_or((&text, "1"));
        Some((signal, name.to_owned(), number.parse().unwrap_or(1)))
    });
    if let Some((signal, chosen, number)) = chosen
        && chosen == name
        && PASSED.fetch_add(1, Ordering::Relaxed) + 1 == *number
    {
        let _ = kill_process(getpid(), *signal);
    }
}

/// A place where the process may die or stop: never.
#[cfg(not(feature = "chaos"))]
#[inline(always)]
pub const fn point(_: &str) {}

/// Where the store that was opened last is, for a bug that needs to know.
#[cfg(feature = "chaos")]
pub(crate) static STORE: std::sync::Mutex<Option<std::path::PathBuf>> = std::sync::Mutex::new(None);
