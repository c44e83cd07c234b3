//! Power cuts: a file system's image is copied while it is mounted, or the file system is shut down beneath a running build.
//! What a finished run has stored is there afterwards, and nothing torn is ever restored.

use crate::dice::Dice;
use crate::mounted::{KINDS, Kind, Mounted};
use crate::project::{assert_right, project};
use crate::sizes::tries;
use crate::space::{Space, is_root, skipped};
use std::path::Path;
use std::time::Duration;

fn copy_image(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("--sparse=always").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Whoever comes after the cut: what is stored is whole; a build from the cache is right; what was reported as stored before
/// the cut comes from the cache.
fn survives(space: &Space, mounted: &Mounted, contents: &[String], unfinished: Option<&str>, case: &str) {
    let cache = mounted.at.join("cache");
    let iact = |args: &[&str]| space.iact(args).env("IACT_CACHE_DIR", &cache);
    let verified = iact(&["cache", "verify"]).run();
    assert_eq!(verified.code, Some(0), "{case}: {verified}");
    for content in contents.iter().map(String::as_str).chain(unfinished) {
        let after = space.checkout("after");
        after.write("in", content);
        let run = after.iact(["build", "--json", "all"]).env("IACT_CACHE_DIR", &cache).run().expect_code(0);
        assert_right(&after, content, case);
        if unfinished != Some(content) {
            assert_eq!(
                run.kinds(),
                ["cached"],
                "{case}: a finished run stored {content:?}, and it is lost: {run}"
            );
        }
        crate::space::remove(&after.ws);
    }
}

fn on_each_kind(name: &'static str, normal: usize, cut: impl Fn(Kind, &mut Dice, &str)) {
    if !is_root() {
        return skipped("only the superuser mounts file systems");
    }
    let mut tries = tries(name, normal);
    let mut dice = Dice::new(tries.seed);
    let probe = tempfile::tempdir().unwrap();
    let kinds: Vec<Kind> = KINDS
        .into_iter()
        .filter(|kind| {
            let image = probe.path().join(kind.name);
            let fits =
                kind.image(&image).and_then(|()| kind.mount(&image, &probe.path().join("at"))).is_some();
            if !fits {
                skipped(&format!("no {} can be made and mounted here", kind.name));
            }
            fits
        })
        .collect();
    drop(probe);
    while !kinds.is_empty() && tries.done < tries.count {
        for kind in &kinds {
            cut(*kind, &mut dice, &format!("seed {}, {}, cut {}", tries.seed, kind.name, tries.done));
            tries.done += 1;
        }
    }
    tries.held();
}

/// A project beside an image that holds its cache.
fn with_cache_on(kind: Kind) -> (Space, Mounted) {
    let space = project("0\n");
    let image = space.base().join("image");
    kind.image(&image).unwrap();
    let mounted = kind.mount(&image, &space.base().join("mnt")).unwrap();
    std::fs::create_dir(mounted.at.join("cache")).unwrap();
    (space, mounted)
}

#[test]
fn a_power_cut_loses_nothing_that_was_stored_and_tears_nothing() {
    on_each_kind("power", 14, |kind, dice, case| {
        let (space, mounted) = with_cache_on(kind);
        let cache = mounted.at.join("cache");
        let build = || space.iact(["build", "--json", "all"]).env("IACT_CACHE_DIR", &cache);
        let finished: Vec<String> = (0..2).map(|_| format!("{}\n", dice.next())).collect();
        for content in &finished {
            space.write("in", content);
            build().run().expect_code(0);
        }
        // The cut, in one half of the cases in the middle of another build.
        let unfinished = dice.one_in(2).then(|| format!("{}\n", dice.next()));
        let copy = space.base().join("copy");
        let running = unfinished.as_ref().map(|content| {
            space.write("in", content);
            let running = build().start();
            std::thread::sleep(Duration::from_micros(dice.below(80_000) as u64));
            running
        });
        copy_image(&space.base().join("image"), &copy);
        if let Some(running) = running {
            running.wait().expect_code(0);
        }
        let after = kind.mount_copy(&copy, &space.base().join("after-cut")).expect(case);
        survives(&space, &after, &finished, unfinished.as_deref(), case);
    });
}

#[test]
fn a_file_system_that_is_shut_down_loses_nothing_that_was_stored_and_tears_nothing() {
    on_each_kind("shutdown", 6, |kind, dice, case| {
        let (space, mounted) = with_cache_on(kind);
        let cache = mounted.at.join("cache");
        let build = || space.iact(["build", "--json", "all"]).env("IACT_CACHE_DIR", &cache);
        let finished = [format!("{}\n", dice.next())];
        space.write("in", &finished[0]);
        build().run().expect_code(0);
        let unfinished = format!("{}\n", dice.next());
        space.write("in", &unfinished);
        let running = build().start();
        std::thread::sleep(Duration::from_micros(dice.below(80_000) as u64));
        if !shut_down(&mounted.at) {
            running.wait();
            return skipped(&format!("{} cannot be shut down", kind.name));
        }
        // From here on every call on the cache fails: that costs the entry and nothing else.
        let run = running.wait().expect_code(0);
        assert_right(&space, &unfinished, &format!("{case}: {run}"));
        drop(mounted);
        let after = kind.mount(&space.base().join("image"), &space.base().join("mnt")).expect(case);
        survives(&space, &after, &finished, Some(&unfinished), case);
    });
}

/// Ends a file system as a power cut does: nothing that is not on the disk yet gets there.
#[allow(unsafe_code, reason = "no safe wrapper knows this ioctl")]
fn shut_down(at: &Path) -> bool {
    use std::os::fd::AsRawFd;
    /// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN` are one; 2: not even the log is flushed.
    const SHUTDOWN: libc::c_ulong = 0x8004_587d;
    let folder = std::fs::File::open(at).unwrap();
    let how: u32 = 2;
    // SAFETY: the call reads four bytes from a pointer that is valid for all of it.
    unsafe { libc::ioctl(folder.as_raw_fd(), SHUTDOWN, &raw const how) == 0 }
}
