//! Power cuts: a file system's image is copied while it is mounted, or the file system is shut down beneath a running build.
//! What a finished run has stored is there afterwards, and nothing torn is ever restored. Most cuts come while a build that is
//! stopped there publishes; only those that happened count.

use crate::dice::Dice;
use crate::mounted::{KINDS, Kind, Mounted};
use crate::project::{assert_right, project};
use crate::sizes::tries;
use crate::space::{Iact, Space, Started, is_root, skipped, until};
use rustix::process::Signal;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

fn copy_image(from: &Path, to: &Path) {
    let copied = std::process::Command::new("cp").arg("--sparse=always").args([from, to]).status();
    assert!(copied.unwrap().success());
}

/// Whoever comes after the cut: what is stored is whole; a build from the cache is right; what was reported as stored before
/// the cut comes from the cache.
fn survives(space: &Space, cache: &Path, contents: &[String], unfinished: Option<&str>, case: &str) {
    let iact = |args: &[&str]| space.iact(args).env("IACT_CACHE_DIR", cache);
    let verified = iact(&["cache", "verify"]).run();
    assert_eq!(verified.code, Some(0), "{case}: {verified}");
    for content in contents.iter().map(String::as_str).chain(unfinished) {
        let after = space.checkout("after");
        after.write("in", content);
        let run = after.iact(["build", "--json", "all"]).env("IACT_CACHE_DIR", cache).run().expect_code(0);
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

/// When it is cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    /// Nothing is running.
    Rest,
    /// Somewhere within a build.
    Any,
    /// At one of the points of publishing.
    Publishing,
}

impl Moment {
    /// Most while something is published, where the program can be stopped.
    fn of_turn(turn: usize) -> Self {
        match turn % 5 {
            1 => Self::Any,
            3 => Self::Rest,
            _ if cfg!(feature = "chaos") => Self::Publishing,
            _ => Self::Any,
        }
    }
}

/// Tries it on every kind of file system in turn. `cut` says when it came, or that this kind cannot be cut off like this.
fn on_each_kind(
    name: &'static str,
    normal: usize,
    cut: impl Fn(Kind, Moment, &mut Dice, &str) -> Option<Moment>,
) {
    if !is_root() {
        return skipped("only the superuser mounts file systems");
    }
    let mut tries = tries(name, normal);
    let mut dice = Dice::new(tries.seed);
    let probe = tempfile::tempdir().unwrap();
    let mut kinds: Vec<Kind> = KINDS
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
    let mut publishing = 0;
    while !kinds.is_empty() && tries.done < tries.count {
        kinds.retain(|kind| {
            let case = format!("seed {}, {}, cut {}", tries.seed, kind.name, tries.done);
            let Some(moment) = cut(*kind, Moment::of_turn(tries.done), &mut dice, &case) else {
                skipped(&format!("{} cannot be cut off like this", kind.name));
                return false;
            };
            tries.done += 1;
            publishing += usize::from(moment == Moment::Publishing);
            true
        });
    }
    eprintln!("{name}: {} cuts, {publishing} of them while a build published", tries.done);
    assert!(!cfg!(feature = "chaos") || publishing * 3 >= tries.done, "only {publishing} while it published");
    tries.held();
}

/// A project whose cache, and in some cases all of which, is on an image of its own.
struct Cuttable {
    /// Gone before the folder it is mounted in.
    mounted: Option<Mounted>,
    at: PathBuf,
    space: Space,
    /// The workspace is on the image, too.
    whole: bool,
}

impl Cuttable {
    fn new(kind: Kind, dice: &mut Dice) -> Self {
        let space = project("0\n");
        let image = space.base().join("image");
        kind.image(&image).unwrap();
        let at = space.base().join("mnt");
        let mounted = kind.mount(&image, &at);
        assert!(mounted.is_some(), "{} was mounted before", kind.name);
        std::fs::DirBuilder::new().mode(0o700).create(at.join("cache")).unwrap();
        let whole = dice.one_in(3);
        if whole {
            let iactfile = space.read("Iactfile.toml");
            crate::space::remove(&space.ws);
            std::fs::create_dir(at.join("ws")).unwrap();
            std::os::unix::fs::symlink(at.join("ws"), &space.ws).unwrap();
            space.write("Iactfile.toml", iactfile);
        }
        Self { mounted, at, space, whole }
    }

    fn build(&self) -> Iact<'_> {
        self.space.iact(["build", "--json", "all"]).env("IACT_CACHE_DIR", self.at.join("cache"))
    }

    /// What somebody edits; where it can be lost by the cut, it is on the disk before.
    fn edit(&self, content: &str) {
        self.space.write("in", content);
        if self.whole {
            rustix::fs::syncfs(std::fs::File::open(&self.at).unwrap()).unwrap();
        }
    }

    /// Begins to build this, and comes back at such a moment: the one that it was.
    fn build_until(&self, content: &str, moment: Moment, dice: &mut Dice) -> (Started, Moment) {
        self.edit(content);
        if moment != Moment::Publishing {
            let running = self.build().start();
            std::thread::sleep(Duration::from_micros(dice.below(150_000) as u64));
            return (running, Moment::Any);
        }
        let points = ["written", "flushed", "blob", "blob:2", "blob:3", "result", "result:2", "done"];
        let point = format!("publish.{}", dice.pick(&points));
        let running = self.build().env("IACT_CHAOS_STOP", &point).start();
        let mut stopped = false;
        until("it is stopped or has ended", || {
            let stat = std::fs::read_to_string(format!("/proc/{}/stat", running.pid().as_raw_pid())).unwrap();
            let state = stat.rsplit(") ").next().expect("what comes after the name").as_bytes()[0];
            stopped = state == b'T';
            stopped || state == b'Z'
        });
        (running, if stopped { Moment::Publishing } else { Moment::Any })
    }

    /// Whoever comes after the cut, with what is left mounted in the place of what was.
    fn survives(&self, contents: &[String], unfinished: Option<&str>, case: &str) {
        if self.whole {
            let content = self.space.read("in");
            let last = unfinished.or(contents.last().map(String::as_str));
            assert_eq!(Some(content.as_str()), last, "{case}: an input that was on the disk");
            let run = self.build().run();
            assert_eq!(run.code, Some(0), "{case}: {run}");
            assert_right(&self.space, &content, &format!("{case}: {run}"));
        }
        survives(&self.space, &self.at.join("cache"), contents, unfinished, case);
    }
}

#[test]
fn a_power_cut_loses_nothing_that_was_stored_and_tears_nothing() {
    on_each_kind("power", 14, |kind, moment, dice, case| {
        let mut cuttable = Cuttable::new(kind, dice);
        let finished: Vec<String> = (0..2).map(|_| format!("{}\n", dice.next())).collect();
        for content in &finished {
            cuttable.edit(content);
            cuttable.build().run().expect_code(0);
        }
        let unfinished = format!("{}\n", dice.next());
        let (mut moment, mut running) = (moment, None);
        if moment != Moment::Rest {
            let (started, came) = cuttable.build_until(&unfinished, moment, dice);
            (moment, running) = (came, Some(started));
        }
        let case = format!("{case}, {moment:?}, workspace on it: {}", cuttable.whole);
        let [image, copy] = ["image", "copy"].map(|name| cuttable.space.base().join(name));
        copy_image(&image, &copy);
        let unfinished = running.map(|running| {
            running.signal(Signal::CONT);
            running.wait().expect_code(0);
            unfinished.as_str()
        });
        cuttable.mounted = None;
        cuttable.mounted = Some(kind.mount_copy(&copy, &cuttable.at).expect(&case));
        cuttable.survives(&finished, unfinished, &case);
        Some(moment)
    });
}

#[test]
fn a_file_system_that_is_shut_down_loses_nothing_that_was_stored_and_tears_nothing() {
    on_each_kind("shutdown", 6, |kind, moment, dice, case| {
        let mut cuttable = Cuttable::new(kind, dice);
        let finished = [format!("{}\n", dice.next())];
        cuttable.edit(&finished[0]);
        cuttable.build().run().expect_code(0);
        let unfinished = format!("{}\n", dice.next());
        let (running, moment) = cuttable.build_until(&unfinished, moment, dice);
        let case = format!("{case}, {moment:?}, workspace on it: {}", cuttable.whole);
        let shut_down = shut_down(&cuttable.at);
        running.signal(Signal::CONT);
        let run = running.wait();
        if !shut_down {
            return None;
        }
        // From here on every call on the cache failed: that costs the entry and nothing else.
        if !cuttable.whole {
            assert_eq!(run.code, Some(0), "{case}: {run}");
            assert_right(&cuttable.space, &unfinished, &format!("{case}: {run}"));
        }
        cuttable.mounted = None;
        cuttable.mounted = Some(kind.mount(&cuttable.space.base().join("image"), &cuttable.at).expect(&case));
        cuttable.survives(&finished, Some(&unfinished), &case);
        Some(moment)
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
