//! The N-th system call fails, for every N: errors of the disk, of the process's limits and of rights, injected by strace into
//! one call of iact itself (not of what it runs), or into all from that one on. The exit code is one of those documented, what
//! is said to be done is right, nothing half is in the cache, nothing is left lying about, nothing panics, nothing hangs; and a
//! call on the cache that fails costs an entry and one warning, never the build.
//!
//! What can fail is counted first: each kind of work is recorded once. A sample of it by the seed is tried for every commit, in
//! turn from every kind of work and every group of calls; all of it is, if that many tries are asked for. Only failures that
//! were really injected count.

use crate::dice::Dice;
use crate::project::{assert_right, assert_sound, litter, project};
use crate::sizes::tries;
use crate::space::{Run, Space, has_program, skipped};
use std::collections::BTreeMap;
use std::sync::Mutex;

/// Calls that do the same, with what each is made to say.
type Group = (&'static [&'static str], &'static [&'static str]);

const CALLS: [Group; 13] = [
    (&["openat", "open"], &["ENOSPC", "EIO", "EMFILE", "EACCES", "EROFS", "EDQUOT", "EINTR"]),
    (&["openat2"], &["EIO", "EMFILE", "EACCES", "EAGAIN", "EINTR"]),
    (&["write", "pwrite64"], &["ENOSPC", "EIO", "EDQUOT", "EINTR"]),
    (&["read", "pread64"], &["EIO", "EINTR"]),
    (&["ioctl", "copy_file_range"], &["EIO", "ENOSPC", "EOPNOTSUPP", "EXDEV"]),
    (&["renameat", "renameat2", "rename"], &["ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT"]),
    (&["linkat", "symlinkat", "link", "symlink"], &["ENOSPC", "EIO", "EDQUOT", "EROFS"]),
    (&["mkdirat", "mkdir"], &["ENOSPC", "EIO", "EACCES", "EROFS", "EDQUOT"]),
    (&["unlinkat", "unlink", "rmdir"], &["EIO", "EACCES", "EROFS"]),
    (&["fsync", "syncfs", "fdatasync", "ftruncate"], &["EIO", "ENOSPC", "EDQUOT", "EROFS", "EINTR"]),
    (&["getdents64"], &["EIO", "EACCES"]),
    (&["newfstatat", "statx", "fstat"], &["EIO", "EACCES", "EINTR"]),
    (&["flock", "pipe2", "readlinkat", "readlink"], &["EIO", "ENOLCK", "EMFILE", "EINTR"]),
];

/// What is being done when a call fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    /// Without memory and without cache.
    Cold,
    Edit,
    Restore,
    Nothing,
    Sweep,
}

impl Phase {
    const ALL: [Self; 5] = [Self::Cold, Self::Edit, Self::Restore, Self::Nothing, Self::Sweep];

    fn prepare(self, space: &Space, content: &str) {
        space.write("in", content);
        match self {
            Self::Cold => {
                space.remove(".iact");
                space.remove("out");
                crate::space::remove(&space.cache);
            }
            Self::Edit => {}
            Self::Restore | Self::Nothing | Self::Sweep => drop(space.build(&["all"])),
        }
        if self == Self::Restore {
            space.remove("out");
        }
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Sweep => &["cache", "gc", "--max-size", "8KiB"],
            _ => &["build", "--json", "-j1", "all"],
        }
    }
}

/// One failure to be injected.
#[derive(Clone, Copy, Debug)]
struct Fault {
    phase: Phase,
    call: &'static str,
    error: &'static str,
    /// Which passing, of every thread by itself.
    when: usize,
    /// Every one from there on, too.
    onwards: bool,
}

/// What is being tried, for whoever panics anywhere.
struct Trying(Fault);

impl Drop for Trying {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{:?}", self.0);
        }
    }
}

/// Runs what `phase` does below strace, and gives what that wrote. What iact starts is let go as soon as it is a program of
/// its own.
fn traced(space: &Space, phase: Phase, expressions: &[&str]) -> (Run, String) {
    let log = space.base().join("strace.log");
    crate::space::remove(&log);
    let mut wrapper = vec!["strace", "-f", "-b", "execve", "-qq", "-y", "-o", log.to_str().unwrap()];
    wrapper.extend(expressions.iter().flat_map(|expression| ["-e", expression]));
    let run = space.iact(phase.arguments()).below(&wrapper).limit(60).run();
    (run, std::fs::read_to_string(&log).unwrap_or_default())
}

/// Injects it and looks at everything that has to be true then; whether any call met it.
fn inject(space: &Space, fault: Fault, contents: [&str; 2]) -> bool {
    let _trying = Trying(fault);
    let content = contents[0];
    fault.phase.prepare(space, content);
    let onwards = if fault.onwards { "+" } else { "" };
    let inject = format!("inject={}:error={}:when={}{onwards}", fault.call, fault.error, fault.when);
    let (run, lines) = traced(space, fault.phase, &[&format!("trace={}", fault.call), &inject]);
    let injected: Vec<&str> = lines.lines().filter(|line| line.contains("(INJECTED)")).collect();
    if injected.is_empty() {
        return false;
    }
    let told = format!("{fault:?}\n{}\n{run}", injected[..injected.len().min(40)].join("\n"));
    assert!(run.signal.is_none() && matches!(run.code, Some(0 | 1 | 2 | 4)), "{told}");
    let cache = space.cache.to_str().unwrap();
    if fault.phase != Phase::Sweep {
        if injected.iter().all(|line| line.contains(cache)) {
            assert_eq!(run.code, Some(0), "trouble with the cache failed the build: {told}");
            // One that lasts is told of every result that could not be looked up.
            assert!(fault.onwards || run.warnings().len() < 2, "trouble with the cache is said once: {told}");
        }
        if run.code == Some(0) {
            assert_right(space, content, &told);
        }
    }
    assert_sound(space, &told);
    // What it left and what it stored is right as well.
    for what in ["build", "restore"] {
        let after = space.iact(["build", "--json", "all"]).run();
        assert_eq!(after.code, Some(0), "the {what} after it: {after}\n{told}");
        assert_right(space, content, &told);
        space.remove("out");
    }
    // Litter goes with the next that store and restore.
    space.write("in", contents[1]);
    space.build(&["all"]);
    space.remove("out");
    let restored = space.build(&["all"]);
    assert_eq!(restored.kinds(), ["cached"], "{restored}\n{told}");
    // But nobody takes away another's temporary files where they are not his.
    let unremovable = |path: &String| injected.iter().any(|line| line.contains(path.as_str()));
    let (expected, litter): (Vec<_>, Vec<_>) = litter(space).into_iter().partition(unremovable);
    assert_eq!(litter, [""; 0], "litter: {told}");
    expected.iter().for_each(|path| crate::space::remove(path.as_ref()));
    true
}

/// How often each call is passed in each kind of work, by the thread that does so most often.
fn passings(space: &Space, phase: Phase) -> BTreeMap<&'static str, usize> {
    phase.prepare(space, &format!("{phase:?} of a long line\n"));
    let calls: Vec<&'static str> = CALLS.iter().flat_map(|(calls, _)| calls.iter().copied()).collect();
    let (run, lines) = traced(space, phase, &[&format!("trace={}", calls.join(","))]);
    assert_eq!(run.code, Some(0), "{run}");
    let mut by_thread: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for line in lines.lines() {
        let (thread, call) = line.split_once(' ').expect("a thread and its call");
        let call = call.trim_start().split('(').next().expect("a name");
        *by_thread.entry((call, thread)).or_default() += 1;
    }
    let mut most = BTreeMap::new();
    for ((call, _), count) in by_thread {
        if let Some(known) = calls.iter().find(|known| **known == call) {
            let entry = most.entry(*known).or_insert(0);
            *entry = count.max(*entry);
        }
    }
    most
}

/// All there is, one of each kind of work and group of calls after the other, else in any order.
fn all_faults(space: &Space, dice: &mut Dice) -> Vec<Fault> {
    let mut drawn: Vec<(usize, u64, Fault)> = Vec::new();
    for phase in Phase::ALL {
        let passed = passings(space, phase);
        for (calls, errors) in CALLS {
            let mut group = Vec::new();
            for (call, most) in calls.iter().filter_map(|call| passed.get_key_value(call)) {
                for (&error, when) in
                    errors.iter().flat_map(|error| (1..=*most).map(move |when| (error, when)))
                {
                    // What says “try again” for ever is no system, nor what reads from pipes no more.
                    let may_stay = !matches!(error, "EINTR" | "EAGAIN") && *call != "read";
                    for onwards in [false, true].into_iter().filter(|onwards| may_stay || !onwards) {
                        group.push((dice.next(), Fault { phase, call, error, when, onwards }));
                    }
                }
            }
            group.sort_unstable_by_key(|(order, _)| *order);
            drawn.extend(group.into_iter().enumerate().map(|(turn, (order, fault))| (turn, order, fault)));
        }
    }
    drawn.sort_unstable_by_key(|(turn, order, _)| (*turn, *order));
    for (calls, _) in CALLS {
        assert!(
            drawn.iter().any(|(_, _, fault)| calls.contains(&fault.call)),
            "{calls:?} is called by nothing"
        );
    }
    drawn.into_iter().map(|(_, _, fault)| fault).collect()
}

fn traces() -> bool {
    let works = || {
        std::process::Command::new("strace").args(["-f", "-b", "execve", "-o", "/dev/null", "true"]).status()
    };
    has_program("strace") && works().is_ok_and(|status| status.success())
}

#[test]
fn whatever_call_fails_the_build_is_right_or_says_that_it_failed() {
    if !traces() {
        return skipped("no strace, or it may not trace");
    }
    let mut tries = tries("syscalls", 120);
    let mut dice = Dice::new(tries.seed);
    let mut faults = all_faults(&project("0\n"), &mut dice);
    if let Ok(only) = std::env::var("IACT_TRY_CALL") {
        faults.retain(|fault| fault.call == only);
    }
    let (all, wanted) = (faults.len(), tries.count.min(faults.len()));
    faults.reverse();
    let left = Mutex::new((faults, 0, 0));
    std::thread::scope(|scope| {
        for worker in 0..2 {
            let left = &left;
            scope.spawn(move || {
                let space = project("0\n");
                loop {
                    let (fault, number) = {
                        let mut left = left.lock().unwrap();
                        if left.1 >= wanted {
                            return;
                        }
                        let Some(fault) = left.0.pop() else { return };
                        left.2 += 1;
                        (fault, left.2)
                    };
                    let contents = ["failed", "after"].map(|what| format!("{what} {worker} {number} line\n"));
                    let met = inject(&space, fault, [&contents[0], &contents[1]]);
                    left.lock().unwrap().1 += usize::from(met);
                }
            });
        }
    });
    let (_, met, tried) = left.into_inner().unwrap();
    eprintln!("syscalls: {met} failures met a call of {tried} tried, {all} there are");
    // What is passed once more or once less often from run to run cannot be met each time; then all were tried.
    assert!(tried == all || met * 10 >= wanted * 9, "only {met} of {tried} met a call");
    tries.done = met;
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

/// A sweep and a repair remove what is of no use. Of what could not be looked at just now nobody knows.
#[test]
fn a_sweep_or_a_repair_that_cannot_read_removes_nothing() {
    if !traces() {
        return skipped("no strace, or it may not trace");
    }
    let mut tries = tries("sweeps", 60);
    let mut dice = Dice::new(tries.seed);
    let kept = "[target.kept]\ninputs = [\"in\"]\noutputs = [\"out/kept\"]\nretain = { last = 2 }\n\
                run = \"mkdir -p out/kept/d; for i in 1 2 3 4 5 6; do cat in > out/kept/$i; echo $i > out/kept/d/$i; done\"\n";
    let space = Space::new(&format!("{}{kept}", crate::project::IACTFILE));
    for content in ["1\n", "2\n"] {
        space.write("in", content);
        space.build(&["all", "kept"]);
    }
    let entries = || {
        let all = space.cache_files().into_iter();
        all.filter(|path| ["/ac/", "/cas/"].iter().any(|kind| path.to_string_lossy().contains(kind)))
            .collect::<Vec<_>>()
    };
    let before = entries();
    // Old enough for anything that nobody seems to need.
    for path in &before {
        crate::space::set_time(path, 1_000_000_000);
    }
    const READS: [(&str, &[&str]); 4] = [
        ("openat", &["EIO", "ENFILE", "EMFILE", "EACCES"]),
        ("read", &["EIO"]),
        ("getdents64", &["EIO"]),
        ("newfstatat,statx,fstat", &["EIO", "EACCES"]),
    ];
    while tries.done < tries.count {
        let (call, errors) = READS[dice.below(READS.len())];
        let error = errors[dice.below(errors.len())];
        let when = 1 + dice.below(if call.starts_with("newfstatat") { 800 } else { 90 });
        let inject = format!("inject={call}:error={error}:when={when}");
        let log = space.base().join("strace.log");
        let wrapper = ["strace", "-f", "-qq", "-y", "-o", log.to_str().unwrap(), "-e", &inject];
        let verb: &[&str] = if dice.one_in(2) { &["cache", "gc"] } else { &["cache", "verify", "--repair"] };
        space.iact(["cache", "gc"]).run();
        let _ = std::fs::remove_file(space.cache.join("stock"));
        let run = space.iact(verb).below(&wrapper).limit(60).run();
        let lines = std::fs::read_to_string(&log).unwrap_or_default();
        let injected = lines.lines().find(|line| line.contains("(INJECTED)")).unwrap_or_default();
        assert_eq!(entries(), before, "seed {}, {call} {error} {when}: {injected}\n{run}", tries.seed);
        tries.done += 1;
    }
    space.iact(["artifact", "verify", "kept"]).run().expect_code(0);
    tries.held();
}

/// A sweep moves an entry, looks once more, and removes it. Of what it could not look at nobody knows: somebody may rely on it.
#[test]
fn what_a_sweep_has_moved_and_cannot_look_at_is_back_in_its_place() {
    if !traces() {
        return skipped("no strace, or it may not trace");
    }
    let space = Space::new(crate::project::IACTFILE);
    space.write("in", "1\n");
    space.build(&["all"]);
    let of_no_use = space.cache.join(format!("cas/00/{:064}", 0));
    std::fs::create_dir_all(of_no_use.parent().unwrap()).unwrap();
    let log = space.base().join("strace.log");
    let sweep = |inject: &str| {
        std::fs::write(&of_no_use, "of no use").unwrap();
        crate::space::set_time(&of_no_use, 1_000_000_000);
        let _ = std::fs::remove_file(space.cache.join("stock"));
        let trace = "trace=newfstatat,renameat";
        let wrapper = ["strace", "-f", "-qq", "-o", log.to_str().unwrap(), "-e", trace, "-e", inject];
        let run = space.iact(["cache", "gc"]).below(&wrapper).run();
        (run, of_no_use.exists(), std::fs::read_to_string(&log).unwrap())
    };
    let (run, is_there, lines) = sweep("inject=renameat:delay_enter=1");
    assert!(!is_there, "{run}");
    let moved = lines.lines().find(|line| line.contains("renameat(") && line.contains("cas/00/")).unwrap();
    let who = moved.split(' ').next().unwrap();
    let before = lines.lines().take_while(|line| *line != moved);
    let looks = before.filter(|line| line.starts_with(who) && line.contains("newfstatat(")).count();
    let (run, is_there, lines) = sweep(&format!("inject=newfstatat:error=EIO:when={}", looks + 1));
    let looked =
        lines.lines().skip_while(|line| !line.contains("cas/00/0000")).find(|line| line.contains("INJECTED"));
    assert!(looked.is_some(), "{lines}");
    assert!(is_there, "{run}");
}

/// Whatever is in a folder that cannot be listed stays, and of a folder of results what it may need; nothing else does.
#[test]
fn a_folder_of_the_cache_that_cannot_be_listed_costs_only_itself() {
    if !traces() {
        return skipped("no strace, or it may not trace");
    }
    let names = ["a", "b", "c", "d", "e", "f"];
    let target = |name: &&str| {
        format!("[target.{name}]\ninputs = []\noutputs = ['{name}']\nrun = 'echo {name} > {name}'\n")
    };
    let space = Space::new(&names.iter().map(target).collect::<String>());
    let entries = |kind: &str| {
        let mut all = space.cache_files();
        all.retain(|path| path.strip_prefix(&space.cache).unwrap().starts_with(kind));
        all
    };
    let hiding = |folder: &std::path::Path, args: &[&str]| {
        let _ = std::fs::remove_file(space.cache.join("stock"));
        let folder = folder.to_str().unwrap();
        let inject = "inject=getdents64:error=EIO:when=1+";
        let wrapper =
            ["strace", "-f", "-qq", "-o", "/dev/null", "-P", folder, "-e", "trace=getdents64", "-e", inject];
        space.iact(args).below(&wrapper).limit(60).run()
    };
    space.build(&names);
    let (results, blobs) = (entries("ac"), entries("cas"));
    for path in results.iter().chain(&blobs) {
        crate::space::set_time(path, 1_000_000_000);
    }
    for folder in [&results[0], &blobs[0]].map(|path| path.parent().unwrap()) {
        let run = hiding(folder, &["cache", "verify", "--repair"]).expect_code(3);
        assert_eq!(run.out.matches("it cannot be listed").count(), 1, "{run}");
        assert_eq!((entries("ac"), entries("cas")), (results.clone(), blobs.clone()), "{run}");
        hiding(folder, &["cache", "du"]).expect_code(0);
    }
    let run = hiding(results[0].parent().unwrap(), &["cache", "gc", "--max-size=1B"]).expect_code(1);
    assert_eq!((entries("ac"), entries("cas")), (results, blobs.clone()), "{run}");
    let hidden = blobs[0].parent().unwrap();
    let run = hiding(hidden, &["cache", "gc", "--max-size=1B"]).expect_code(1);
    assert!(run.err.contains("Input/output error"), "{run}");
    assert!(entries("ac").is_empty(), "{run}");
    assert!(entries("cas").iter().all(|path| path.starts_with(hidden)) && blobs[0].exists(), "{run}");
    hiding(hidden, &["cache", "clear"]).expect_code(0);
    assert!(entries("cas").is_empty());
}

/// A scratch folder that could be made but not opened was made again, without end.
#[test]
fn a_folder_of_the_caches_own_that_cannot_be_opened_ends_in_a_sentence() {
    if !traces() {
        return skipped("no strace, or it may not trace");
    }
    let space = project("0\n");
    let folder = space.cache.join("tmp");
    for phase in [Phase::Edit, Phase::Sweep] {
        for when in 1..8 {
            phase.prepare(&space, &format!("{phase:?} {when}\n"));
            let mut wrapper = vec!["strace", "-f", "-qq", "-o", "/dev/null", "-P", folder.to_str().unwrap()];
            let inject = format!("inject=openat:error=EROFS:when={when}+");
            wrapper.extend(["-e", "trace=openat", "-e", &inject]);
            let run = space.iact(phase.arguments()).below(&wrapper).limit(20).run();
            assert!(matches!(run.code, Some(0 | 1 | 4)), "{phase:?} {when}: {run}");
        }
        assert_eq!(litter(&space), [""; 0], "{phase:?}");
    }
}
