//! `valid_for`, `retain`, and `iact artifact`.

use crate::space::Space;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

fn pause() {
    std::thread::sleep(Duration::from_millis(3_100));
}

#[test]
fn what_is_older_than_it_may_be_runs_again_from_the_cache_too() {
    let space = Space::new(
        "[target.t]\ninputs = []\noutputs = ['o']\nvalid_for = '3s'\nrun = 'echo t >> @LOG@; cat @BASE@/db > o'\n\
         [target.d]\ndeps = ['t']\ninputs = ['o']\nrun = 'echo d >> @LOG@'\n",
    );
    space.write("../db", "1");
    space.build(&["d"]);
    space.build(&["d"]);
    space.remove("o");
    assert_eq!(space.build(&["t"]).outcomes()["t"], "cached", "young enough");
    pause();
    let run = space.build(&["d"]);
    assert_eq!(run.reason("t"), "expired", "{run}");
    assert_eq!(run.outcomes()["d"], "up_to_date", "the same content: {run}");
    pause();
    let other = space.checkout("other");
    let run = other.build(&["t"]);
    assert_eq!(run.outcomes()["t"], "executed", "an old entry does not count: {run}");
    let run = space.build(&["t"]);
    assert_eq!(
        (run.outcomes()["t"].as_str(), run.reason("t").as_str()),
        ("cached", "expired"),
        "a younger entry does: {run}"
    );
    assert_eq!(space.trail(), ["t", "d", "t", "t"]);
}

fn dump(more: &str) -> Space {
    Space::new(&format!(
        "[target.dump]\ninputs = []\noutputs = ['out/dump.txt']\nvalid_for = '1ms'\n{more}\nrun = 'cat @BASE@/db > out/dump.txt'\n"
    ))
}

fn make(space: &Space, contents: &str) {
    for content in contents.chars() {
        space.write("../db", content.to_string());
        std::thread::sleep(Duration::from_millis(5));
        space.build(&["dump"]);
    }
}

fn list(space: &Space) -> Vec<serde_json::Value> {
    let run = space.iact(["artifact", "list", "dump", "--json"]).run().expect_code(0);
    serde_json::from_str(&run.out).unwrap()
}

#[test]
fn checkouts_whose_names_are_no_text_have_generations_of_their_own() {
    let space = dump("retain = { last = 1 }");
    let text = std::fs::read(space.path("Iactfile.toml")).unwrap();
    let checkouts = [b"a\xff", b"a\xfe"].map(|name| space.base().join(OsStr::from_bytes(name)));
    let iact = |checkout: &Path, args: &[&str]| {
        let args = args.iter().map(OsStr::new);
        space.iact([OsStr::new("-C"), checkout.as_os_str()].into_iter().chain(args)).run().expect_code(0)
    };
    for (checkout, content) in checkouts.iter().zip(["1", "2"]) {
        std::fs::create_dir(checkout).unwrap();
        std::fs::write(checkout.join("Iactfile.toml"), &text).unwrap();
        space.write("../db", content);
        iact(checkout, &["build", "dump"]);
    }
    for (checkout, content) in checkouts.iter().zip(["1", "2"]) {
        let got = format!("{}/got-{content}", space.base().display());
        iact(checkout, &["artifact", "get", "dump", &got]);
        assert_eq!(std::fs::read_to_string(format!("{got}/out/dump.txt")).unwrap(), content);
    }
}

/// What a sweep goes by when the checkout is deleted.
#[test]
fn generations_are_pinned_for_their_checkout_and_by_a_person_for_good() {
    let space = dump("retain = { last = 3 }");
    make(&space, "12");
    let pins = || {
        let mut texts: Vec<String> = crate::space::files(&space.cache.join("pins"))
            .iter()
            .map(|pin| String::from_utf8_lossy(&std::fs::read(pin).unwrap()).into_owned())
            .collect();
        texts.sort();
        texts
    };
    let root = space.path("").to_str().unwrap().trim_end_matches('/').to_owned();
    assert!(pins().len() == 2 && pins().iter().all(|pin| pin.ends_with(&root)), "{:?}", pins());
    space.iact(["artifact", "pin", "dump@2"]).run().expect_code(0);
    let all = pins();
    assert!(all[..2] == ["", ""] && all.len() == 3 && all[2].ends_with(&root), "{all:?}");
}

/// A sweep lets go of them in time.
#[test]
fn generations_of_a_target_that_is_gone_lapse_unless_it_comes_back() {
    const OTHER: &str = "[target.other]\nrun = 'true'\n";
    const MATRIX: &str = "[target.m]\nmatrix = { v = ['1'] }\nretain = { last = 2 }\ninputs = []\noutputs = ['o-{{ v }}']\nrun = 'touch {{ out }}'\n";
    let space = dump("retain = { last = 3 }");
    let declared = space.read("Iactfile.toml");
    make(&space, "12");
    let pins = |iactfile: &str| {
        space.iactfile(iactfile);
        space.iact(["cache", "gc", "--max-size=1B"]).run().expect_code(0);
        let pins = crate::space::files(&space.cache.join("pins")).into_iter();
        pins.map(|pin| std::fs::read(pin).unwrap()).collect::<Vec<_>>()
    };
    let held = pins(&declared);
    assert_eq!(pins(&format!("{declared}{OTHER}")), held);
    assert_eq!(pins(MATRIX), held, "there may be instances that only the command line makes");
    let lapsing = pins(OTHER);
    assert!(lapsing.len() == 2 && lapsing != held);
    assert_eq!(pins(&declared), held);
    assert_eq!(list(&space).len(), 2);
}

#[test]
fn generations_are_kept_and_can_be_had_again() {
    let space = dump("retain = { last = 3 }");
    make(&space, "1234");
    let all = list(&space);
    let numbers: Vec<u64> = all.iter().map(|one| one["generation"].as_u64().unwrap()).collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(all.iter().all(|one| one["outputs"][0] == "out/dump.txt" && one["target"] == "dump"));
    for (number, content) in [(2, "3"), (3, "2"), (1, "4")] {
        space.iact(["artifact", "restore", &format!("dump@{number}")]).run().expect_code(0);
        assert_eq!(space.read("out/dump.txt"), content);
    }
    space.iact(["artifact", "get", "dump@3", "../elsewhere/x"]).run().expect_code(0);
    let elsewhere = space.base().join("elsewhere/x");
    assert_eq!(std::fs::read_to_string(elsewhere.join("out/dump.txt")).unwrap(), "2");
    assert!(!elsewhere.join(".iact").exists());
    for wrong in ["dump@4", "dump@0", "nobody@1"] {
        space.iact(["artifact", "restore", wrong]).run().expect_code(2);
    }
    let run = space.iact(["artifact", "list", "dump"]).run().expect_code(0);
    assert!(run.out.contains("dump@3") && run.out.contains("out/dump.txt"), "{run}");
}

#[test]
fn what_is_no_output_any_more_is_not_restored_over_somebodys_own() {
    let declared = |output: &str| {
        let run = "mkdir -p lib; echo gen > lib/f";
        format!(
            "[target.dump]\ninputs = []\noutputs = ['{output}']\nretain = {{ last = 2 }}\nrun = '{run}'\n"
        )
    };
    for (now, code) in [("lib", 0), ("lib/f", 2), ("lib2", 2), ("li", 2)] {
        let space = Space::new(&declared("lib"));
        space.build(&["dump"]);
        space.remove("lib");
        space.write("lib/source.c", "mine");
        space.iactfile(&declared(now));
        let run = space.iact(["artifact", "restore", "dump@1"]).run().expect_code(code);
        assert_eq!(space.has("lib/source.c"), code != 0, "{now}: {run}");
        assert!(code == 0 || run.err.contains("`lib`, which is no output of `dump` now"), "{run}");
        space.iact(["artifact", "get", "dump@1", "there"]).run().expect_code(0);
        assert!(space.has("there/lib/f"));
    }
    // What lies in an output is as much the target's.
    let space = Space::new(&declared("lib/f"));
    space.build(&["dump"]);
    space.remove("lib");
    space.iactfile(&declared("lib"));
    space.iact(["artifact", "restore", "dump@1"]).run().expect_code(0);
    assert!(space.has("lib/f"));
}

#[test]
fn generations_are_out_of_reach_of_eviction_and_of_a_lost_memory() {
    let space = dump("retain = { last = 2 }");
    make(&space, "12");
    space.iact(["cache", "gc", "--max-size", "0"]).run().expect_code(0);
    space.remove(".iact");
    assert_eq!(list(&space).len(), 2);
    space.iact(["artifact", "restore", "dump@2"]).run().expect_code(0);
    assert_eq!(space.read("out/dump.txt"), "1");
}

#[test]
fn young_ones_stay_and_pinned_ones_for_good() {
    let space = dump("retain = { age = '1h', last = 1 }");
    make(&space, "123");
    assert_eq!(list(&space).len(), 3);
    space.iact(["artifact", "pin", "dump@3"]).run().expect_code(0);
    space.iactfile(
        "[target.dump]\ninputs = []\noutputs = ['out/dump.txt']\nvalid_for = '1ms'\nretain = { last = 1 }\nrun = 'cat @BASE@/db > out/dump.txt'\n",
    );
    make(&space, "4");
    let all = list(&space);
    assert_eq!(all.iter().map(|one| one["pinned"].as_bool().unwrap()).collect::<Vec<_>>(), [false, true]);
    space.iact(["artifact", "restore", "dump@2"]).run().expect_code(0);
    assert_eq!(space.read("out/dump.txt"), "1");
}

#[test]
fn what_always_runs_or_is_not_cached_can_be_kept_all_the_same() {
    for keys in ["cache = false\ninputs = []\nvalid_for = '1ms'", ""] {
        let space = Space::new(&format!(
            "[target.dump]\noutputs = ['out/dump.txt']\n{keys}\nretain = {{ last = 2 }}\nrun = 'cat @BASE@/db > out/dump.txt'\n"
        ));
        make(&space, "123");
        assert_eq!(list(&space).len(), 2, "{keys}");
        space.iact(["artifact", "restore", "dump@2"]).run().expect_code(0);
        assert_eq!(space.read("out/dump.txt"), "2");
    }
}

#[test]
fn what_the_workspace_has_is_kept_beside_the_newest() {
    let space =
        Space::new("[target.dump]\ninputs = ['i']\noutputs = ['o']\nretain = { last = 1 }\nrun = 'cp i o'\n");
    for (content, count) in [("A", 1), ("B", 1), ("A", 2), ("C", 1)] {
        space.write("i", content);
        space.build(&["dump"]);
        space.iact(["cache", "gc"]).run().expect_code(0);
        assert_eq!(list(&space).len(), count, "{content}");
    }
}

#[test]
fn without_generations_the_last_result_is_the_only_one() {
    let space = dump("");
    make(&space, "12");
    assert_eq!(list(&space).len(), 1);
    space.remove("out");
    space.iact(["artifact", "restore", "dump@1"]).run().expect_code(0);
    assert_eq!(space.read("out/dump.txt"), "2");
}

#[test]
fn verify_proves_a_restored_copy() {
    let space = dump(
        "retain = { last = 3 }\nverify = 'echo {{ out }} >> @LOG@; ! grep -q bad {{ out }}; test ! -e @BASE@/strict || grep -q 2 {{ out }}'",
    );
    make(&space, "12");
    space.trail();
    space.write("out/dump.txt", "bad");
    let run = space.iact(["artifact", "verify"]).run().expect_code(0);
    assert_eq!(run.out, "dump@1  sound\ndump@2  sound\n");
    assert!(space.trail().iter().all(|path| path.starts_with('/') && path.ends_with("/out/dump.txt")));
    space.write("../strict", "");
    let run = space.iact(["artifact", "verify", "dump"]).run().expect_code(3);
    assert!(run.out.contains("dump@1  sound") && run.out.contains("dump@2  damaged"), "{run}");
    space.iact(["artifact", "verify", "dump@1"]).run().expect_code(0);
    assert_eq!(space.read("out/dump.txt"), "bad", "the workspace is not touched");
}

#[test]
fn verify_takes_variables_and_generations_whose_outputs_had_other_names() {
    let space = Space::new(
        "[vars]\nseal = ''\nkey = ''\n[target.dump]\ninputs = []\noutputs = ['z{{ seal }}', 'a']\nretain = { last = 3 }\n\
         run = 'touch {{ outs }}'\nverify = 'echo {{ outs }} >> @LOG@; case {{ out }} in *.age) test -n {{ key }};; esac'\n",
    );
    space.build(&["dump"]);
    space.build(&["dump", "seal=.age", "key=k"]);
    space.trail();
    let names = || -> Vec<String> {
        let all = space.trail();
        let name = |path: &str| path.rsplit('/').next().unwrap().to_owned();
        all.iter().map(|line| line.split(' ').map(name).collect::<Vec<_>>().join(" ")).collect()
    };
    let run = space.iact(["artifact", "verify"]).run().expect_code(0);
    assert_eq!((run.out.lines().count(), names()), (2, vec!["a z.age".to_owned(), "z a".to_owned()]));
    let run = space.iact(["artifact", "verify", "dump@1", "seal=.age"]).run().expect_code(3);
    assert_eq!(names(), ["z.age a"], "{run}");
    space.iact(["artifact", "verify", "dump@1", "seal=.age", "key=k"]).run().expect_code(0);
}

#[test]
fn verify_has_the_services_of_the_target_once_for_all_generations() {
    let space = Space::new(
        r#"
        [service.web]
        port = "auto"
        run = "echo up >> @LOG@; exec python3 -m http.server {{ port }} --bind 127.0.0.1 --directory {{ data }}"
        [target.dump]
        inputs = []
        outputs = ["out/dump.txt"]
        valid_for = "1ms"
        retain = { last = 2 }
        services = ["web"]
        run = "cat @BASE@/db > out/dump.txt"
        verify = "python3 -c 'import socket,sys; socket.create_connection((\"127.0.0.1\", int(sys.argv[1])))' {{ service.web.port }}; echo {{ service.web.port }} > @BASE@/port"
        "#,
    );
    make(&space, "12");
    space.trail();
    let run = space.iact(["artifact", "verify", "dump"]).run().expect_code(0);
    assert_eq!(run.out, "dump@1  sound\ndump@2  sound\n");
    assert_eq!(space.trail(), ["up"]);
    let port: u16 = std::fs::read_to_string(space.base().join("port")).unwrap().trim().parse().unwrap();
    assert!(std::net::TcpStream::connect(("127.0.0.1", port)).is_err(), "the service outlived the command");

    space.iactfile(
        &std::fs::read_to_string(space.path("Iactfile.toml"))
            .unwrap()
            .replace("exec python3", "exit 3; python3"),
    );
    let run = space.iact(["artifact", "verify", "dump@1"]).run().expect_code(3);
    assert!(run.out.contains("dump@1  damaged: service `web` ended before it was ready: exit 3"), "{run}");
}

#[test]
fn a_damaged_generation_is_found() {
    let space = dump("retain = { last = 2 }");
    make(&space, "12");
    for file in space.cache_files().iter().filter(|file| file.to_string_lossy().contains("/cas/")) {
        crate::space::overwrite(file, b"X");
    }
    space.iact(["artifact", "verify"]).run().expect_code(3);
    space.iact(["artifact", "restore", "dump@2"]).run().expect_code(1);
    assert_eq!(space.read("out/dump.txt"), "2", "an earlier artifact stays intact");
}

#[test]
fn what_retain_does_not_ask_for_any_more_goes_with_a_sweep_and_what_is_forgotten_at_once() {
    let space = dump("retain = { last = 3 }");
    make(&space, "1234");
    let less = space.read("Iactfile.toml").replace("last = 3", "last = 2");
    space.write("Iactfile.toml", less);
    let gc = || drop(space.iact(["cache", "gc", "--max-size=1B"]).run().expect_code(0));
    gc();
    assert_eq!(list(&space).len(), 2);
    let newest = list(&space)[0]["digest"].as_str().unwrap().to_owned();
    space.iact(["artifact", "pin", "dump@1"]).run().expect_code(0);
    space.iact(["cache", "forget", &newest]).run().expect_code(0);
    assert_eq!(list(&space).len(), 1);
    let none = space.read("Iactfile.toml").replace("retain = { last = 2 }", "");
    space.write("Iactfile.toml", none);
    gc();
    assert_eq!(crate::space::files(&space.cache.join("pins")).len(), 0);
}

#[test]
fn getting_replaces_nothing_and_a_folder_has_the_size_of_its_files() {
    let space = Space::new(
        "[target.dump]\ninputs = []\noutputs = ['d']\nretain = { last = 1 }\nrun = 'mkdir d; head -c 5000 /dev/zero > d/a; head -c 7 /dev/zero > d/b'\n",
    );
    space.build(&["dump"]);
    assert_eq!(list(&space)[0]["bytes"], 5007);
    space.write("own/d/mine", "precious");
    let run = space.iact(["artifact", "get", "dump", "own"]).run().expect_code(2);
    assert!(run.err.contains("own/d` is there already"), "{run}");
    assert_eq!((space.read("own/d/mine").as_str(), space.has("own/d/a")), ("precious", false));
    space.iact(["artifact", "get", "dump", "other"]).run().expect_code(0);
    assert!(space.has("other/d/a") && !space.has("other/.iact"));
    // What an ended `verify` left goes with the next.
    space.write(".iact/verify-ended/d/a", "copy");
    space.iact(["artifact", "verify", "dump"]).run().expect_code(0);
    assert!(!space.has(".iact/verify-ended"));
}
