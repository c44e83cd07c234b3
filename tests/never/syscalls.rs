//! The N-th system call fails, for every N: errors of the disk, of the process's limits and of rights, injected by strace into
//! one call of a build. The exit code is one of those documented, what is said to be done is right, nothing half is in the
//! cache, nothing panics, nothing hangs; and a call on the cache that fails costs an entry, never the build.

use crate::dice::Dice;
use crate::project::{assert_right, assert_sound, project};
use crate::sizes::tries;
use crate::space::{Space, has_program, skipped};

/// Calls, with what each is made to say.
const CALLS: [(&str, &[&str]); 13] = [
    ("openat", &["ENOSPC", "EIO", "EMFILE", "EACCES", "EROFS", "EDQUOT", "EINTR"]),
    ("openat2", &["EIO", "EMFILE", "EACCES", "EAGAIN"]),
    ("write", &["ENOSPC", "EIO", "EDQUOT", "EINTR"]),
    ("read", &["EIO", "EINTR"]),
    ("copy_file_range", &["ENOSPC", "EIO", "EXDEV"]),
    ("ioctl", &["EIO", "EOPNOTSUPP"]),
    ("renameat,renameat2,rename", &["ENOSPC", "EIO", "EACCES", "EROFS"]),
    ("linkat,symlinkat", &["ENOSPC", "EIO", "EDQUOT"]),
    ("mkdirat,mkdir", &["ENOSPC", "EIO", "EACCES", "EROFS"]),
    ("unlinkat,unlink", &["EIO", "EACCES", "EROFS"]),
    ("fsync,syncfs,fdatasync", &["EIO", "ENOSPC", "EDQUOT"]),
    ("getdents64", &["EIO", "EACCES"]),
    ("newfstatat,statx,fstat", &["EIO", "EACCES"]),
];

/// One failure to be injected.
#[derive(Clone, Copy, Debug)]
struct Fault {
    call: &'static str,
    error: &'static str,
    /// Which passing, of every thread by itself.
    when: usize,
    /// In a restore, not in a build.
    restore: bool,
}

/// What became of it: whether it was injected at all.
fn inject(space: &Space, fault: Fault, content: &str) -> bool {
    let case = format!("{fault:?}");
    let log = space.base().join("strace.log");
    let inject = format!("inject={}:error={}:when={}", fault.call, fault.error, fault.when);
    let trace = format!("trace={}", fault.call);
    let wrapper = ["strace", "-f", "-qq", "-y", "-o", log.to_str().unwrap(), "-e", &trace, "-e", &inject];
    let run = space.iact(["build", "--json", "-j1", "all"]).below(&wrapper).limit(60).run();
    let lines = std::fs::read_to_string(&log).unwrap_or_default();
    let injected: Vec<&str> = lines.lines().filter(|line| line.contains("(INJECTED)")).collect();
    let told = || format!("{case}\n{}\n{run}", injected.join("\n"));
    assert!(run.signal.is_none(), "{}", told());
    // 127: the loader, or a shell, could not even begin.
    assert!(matches!(run.code, Some(0 | 1 | 2 | 4 | 127)), "{}", told());
    let only_cache = !injected.is_empty() && injected.iter().all(|line| line.contains("/cache/"));
    if only_cache && !lines.contains("exec failed") {
        assert_eq!(run.code, Some(0), "trouble with the cache failed the build: {}", told());
    }
    if run.code == Some(0) {
        assert_right(space, content, &told());
    }
    assert_sound(space, &told());
    let after = space.iact(["build", "--json", "all"]).run();
    assert_eq!(after.code, Some(0), "the build after it: {after}\n{}", told());
    assert_right(space, content, &told());
    // What it stored is right as well.
    space.remove("out");
    let restored = space.iact(["build", "--json", "all"]).run();
    assert_eq!(restored.code, Some(0), "the restore after it: {restored}\n{}", told());
    assert_right(space, content, &told());
    !injected.is_empty()
}

fn all_faults(when: usize) -> Vec<Fault> {
    let faults = |(call, errors): (&'static str, &'static [&'static str])| {
        errors
            .iter()
            .flat_map(move |&error| [false, true].map(|restore| Fault { call, error, when, restore }))
    };
    CALLS.into_iter().flat_map(faults).collect()
}

fn traces() -> bool {
    let works = || std::process::Command::new("strace").args(["-f", "-o", "/dev/null", "true"]).status();
    has_program("strace") && works().is_ok_and(|status| status.success())
}

#[test]
fn whatever_call_fails_the_build_is_right_or_says_that_it_failed() {
    if !traces() {
        return skipped("no strace, or it may not trace");
    }
    let mut tries = tries("syscalls", 60);
    let mut dice = Dice::new(tries.seed);
    let space = project("0\n");
    space.build(&["all"]);
    // Long runs, and those of one call (`IACT_TRY_CALL`), go through all passings; others take a sample.
    let only = std::env::var("IACT_TRY_CALL").ok();
    let mut faults: Vec<Fault> = Vec::new();
    let mut when = 0;
    while tries.done < tries.count {
        if faults.is_empty() {
            when += 1;
            faults = all_faults(when);
            faults.retain(|fault| only.as_deref().is_none_or(|only| fault.call == only));
        }
        let mut fault = faults.swap_remove(dice.below(faults.len()));
        if tries.count < 1000 && only.is_none() {
            fault.when = 1 + dice.below(60);
        }
        let content = format!("{}\n", dice.next());
        if fault.restore {
            space.write("in", &content);
            space.build(&["all"]);
            space.remove("out");
        }
        space.write("in", &content);
        inject(&space, fault, &content);
        tries.done += 1;
    }
    tries.held();
}

/// An input that is a link has two looks; if only the second fails, its text alone would pass for all of it, and the same
/// failure a second time would be served what was made of the first content.
#[test]
fn a_link_whose_end_cannot_be_looked_at_is_no_link_to_nothing() {
    if !traces() {
        return skipped("no strace, or it may not trace");
    }
    let space = Space::new(
        "[target.copy]\ninputs = [\"way\"]\noutputs = [\"out\"]\nrun = \"cat end 2>/dev/null > out; test -s out\"\n",
    );
    std::os::unix::fs::symlink("end", space.path("way")).unwrap();
    for when in 1.. {
        let mut passed = false;
        for content in ["one", "two"] {
            space.remove(".iact");
            space.remove("out");
            space.write("end", content);
            let inject = format!("inject=newfstatat,statx:error=EIO:when={when}");
            let log = space.base().join("strace.log");
            let wrapper = [
                "strace",
                "-f",
                "-qq",
                "-o",
                log.to_str().unwrap(),
                "-e",
                "trace=newfstatat,statx",
                "-e",
                &inject,
            ];
            let run = space.iact(["build", "--json", "copy"]).below(&wrapper).run();
            let injected = std::fs::read_to_string(&log).unwrap().contains("(INJECTED)");
            assert!(injected || run.code == Some(0), "{when}: {run}");
            if run.code == Some(0) {
                assert_eq!(space.read("out"), content, "{when}: {run}");
            }
            passed |= !injected;
        }
        if passed {
            return assert!(when > 5, "of {when} looks at files none could fail");
        }
    }
}
