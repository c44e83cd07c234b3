//! `iact cache …`.

use super::{chain, each, json, out};
use crate::mounted::Mounted;
use crate::space::{Space, harm, skipped};

#[test]
fn the_cache_is_measured_listed_and_swept() {
    let space = chain();
    assert_eq!(json(&space, &["cache", "du", "--json"], 0)["total_bytes"], 0);
    assert!(!space.cache.exists(), "asking makes nothing");
    space.build(&["all"]);
    let usage = json(&space, &["cache", "du", "--json"], 0);
    assert_eq!((&usage["results"], usage["path"].as_str()), (&2.into(), space.cache.to_str()));
    let listed = json(&space, &["cache", "ls", "--json"], 0);
    let mut targets = each(&listed, "target");
    targets.sort_unstable();
    assert_eq!(targets, ["a", "b"]);
    assert!(out(&space, &["cache", "ls"]).contains("out/b"));
    assert_eq!(json(&space, &["cache", "gc", "--json"], 0)["results"], 0, "within the limits nothing goes");
    assert_eq!(json(&space, &["cache", "gc", "--max-size=1B", "--json"], 0)["results"], 2);
    space.iact(["cache", "gc", "--max-size", "1G"]).run().expect_code(2);
    assert_eq!(json(&space, &["cache", "du", "--json"], 0)["results"], 0);
}

#[test]
fn verify_tells_damage_by_its_exit_code_and_mends_if_told_to() {
    let space = chain();
    space.build(&["all"]);
    assert_eq!(json(&space, &["cache", "verify", "--json"], 0)["ok"], true);
    let blob = space.cache_files().into_iter().find(|path| path.to_string_lossy().contains("/cas/")).unwrap();
    harm(&blob, false);
    for args in [&["cache", "verify", "--json"][..], &["cache", "verify", "--json", "--read-data"]] {
        let told = json(&space, args, 3);
        assert!(!told["damaged"].as_array().unwrap().is_empty() && blob.exists(), "{told}");
    }
    space.iact(["cache", "verify", "--read-data=0%"]).run().expect_code(2);
    space.iact(["cache", "verify", "--repair"]).run().expect_code(3);
    assert!(!blob.exists());
    assert!(out(&space, &["cache", "verify"]).contains("all sound"));
}

#[test]
fn verify_of_a_part_of_the_data_reads_a_part_and_every_result() {
    let space = Space::new(
        "[target.t]\ninputs = []\noutputs = ['o']\nrun = 'mkdir o; for i in $(seq 300); do echo $i > o/$i; done'\n",
    );
    space.build(&["t"]);
    let all = json(&space, &["cache", "verify", "--json"], 0)["checked"].as_u64().unwrap();
    let part = json(&space, &["cache", "verify", "--json", "--read-data=5%"], 0)["checked"].as_u64().unwrap();
    assert!(all > 300 && (2..all / 4).contains(&part), "{part} of {all}");
    let (blobs, results): (Vec<_>, Vec<_>) = space
        .cache_files()
        .into_iter()
        .filter(|path| ["/cas/", "/ac/"].iter().any(|kind| path.to_string_lossy().contains(kind)))
        .partition(|path| path.to_string_lossy().contains("/cas/"));
    // A result is always read.
    results.iter().for_each(|path| harm(path, false));
    let told = json(&space, &["cache", "verify", "--json", "--read-data=5%"], 3);
    let is_result = |one: &&serde_json::Value| one["path"].as_str().unwrap().starts_with("ac/");
    assert_eq!(told["damaged"].as_array().unwrap().iter().filter(is_result).count(), results.len(), "{told}");
    // Of blobs about one in twenty is found, and put aside if it is said.
    blobs.iter().for_each(|path| harm(path, false));
    space.iact(["cache", "verify", "--read-data=5%", "--repair"]).run().expect_code(3);
    let gone = blobs.iter().filter(|path| !path.exists()).count();
    assert!(gone > 0 && gone < blobs.len() / 4, "{gone} of {} put aside", blobs.len());
}

#[test]
fn what_is_cached_is_its_owners_alone_whatever_the_umask() {
    use std::os::unix::fs::PermissionsExt;
    for umask in ["000", "022", "077"] {
        let space = chain();
        let line = format!("umask {umask}; exec \"$0\" \"$@\"");
        space.iact(["build", "all"]).below(&["sh", "-c", &line]).run().expect_code(0);
        let below = crate::space::snapshot(&space.cache);
        assert!(below.len() > 8, "{below:?}");
        for (path, (mode, ..)) in &below {
            assert_eq!(mode & 0o077, 0, "umask {umask}: {}", path.display());
        }
        assert_eq!(std::fs::metadata(&space.cache).unwrap().permissions().mode() & 0o777, 0o700, "{umask}");
    }
}

#[test]
fn results_are_forgotten_by_target_or_by_fingerprint() {
    let space = chain();
    let run = space.build(&["all"]);
    let (a, b) = (run.fingerprint("a"), run.fingerprint("b"));
    space.trail();
    assert_eq!(json(&space, &["cache", "forget", "first", "--json"], 0)["forgotten"], serde_json::json!([a]));
    assert_eq!(out(&space, &["cache", "forget", &b[..12]]), format!("forgot {b}\n"));
    assert!(out(&space, &["cache", "forget", "a"]).is_empty());
    space.iact(["cache", "forget", "abcdef0123456789"]).run().expect_code(2);
    out(&space, &["clean"]);
    space.build(&["all"]);
    assert_eq!(space.trail(), ["a", "b"], "nothing was left to restore");
}

#[test]
fn clear_removes_all_of_it_and_says_what() {
    let space = chain();
    space.build(&["all"]);
    assert!(out(&space, &["cache", "clear"]).starts_with("removed 2 results, "));
    let usage = json(&space, &["cache", "du", "--json"], 0);
    assert_eq!((&usage["results"], &usage["blobs"]), (&0.into(), &0.into()));
    space.build(&["all", "--force"]);
    assert_eq!(json(&space, &["cache", "clear", "--json"], 0)["results"], 2);
}

#[test]
fn what_clear_cannot_remove_is_told() {
    let space = chain();
    space.build(&["all"]);
    // What another file system is mounted on can neither be moved nor removed.
    let Some(_mounted) = Mounted::tmpfs(&space.cache.join("quarantine"), "size=1M") else {
        return skipped("no file system can be mounted here");
    };
    let run = space.iact(["cache", "clear"]).run().expect_code(1);
    assert!(run.err.contains("quarantine") && !run.out.contains("removed"), "{run}");
}

#[test]
fn the_cache_can_be_looked_after_from_anywhere() {
    let space = chain();
    space.build(&["all"]);
    let run = space.iact(["cache", "du", "--json"]).dir("..").run().expect_code(0);
    assert!(run.out.contains("\"results\": 2"), "{run}");
    space.write("Iactfile.toml", "[target.\n");
    assert_eq!(json(&space, &["cache", "ls", "--json"], 0).as_array().unwrap().len(), 2);
}

#[test]
fn clearing_and_verifying_beside_builds_find_no_fault() {
    let space = chain();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let clearing = scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                space.iact(["cache", "clear"]).run().expect_code(0);
            }
        });
        let verifying = scope.spawn(|| {
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                space.iact(["cache", "verify", "--repair"]).run().expect_code(0);
            }
        });
        let builds: Vec<_> = (0..25).map(|_| space.build(&["all", "--force"]).warnings()).collect();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        clearing.join().unwrap();
        verifying.join().unwrap();
        assert!(builds.iter().all(Vec::is_empty), "{builds:?}");
    });
}

#[test]
fn a_cache_inside_the_workspace_is_nobodys_input() {
    let space = crate::space::Space::new(
        "[target.t]\ninputs = [\"**\", \"!o\"]\noutputs = [\"o\"]\nrun = \"ls > o\"\n",
    );
    space.write("in", "1");
    let build = || {
        let run = space.iact(["build", "--json", "t"]).env("IACT_CACHE_DIR", space.path("own")).run();
        run.expect_code(0).kinds()
    };
    build();
    assert_eq!([build(), build()], [["up_to_date"], ["up_to_date"]]);
    space.write("in", "2");
    assert_eq!([build(), build()], [["executed"], ["up_to_date"]]);
}
