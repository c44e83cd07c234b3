//! `secrets`: given to the command, shown nowhere.

use crate::space::{Space, files};

const CANARY: &str = "s3cr3t-canary-9f1c";

fn assert_nowhere(space: &Space) {
    for folder in [&space.ws, &space.cache] {
        for file in files(folder) {
            let bytes = std::fs::read(&file).unwrap();
            let found = bytes.windows(CANARY.len()).any(|window| window == CANARY.as_bytes());
            assert!(!found, "{}", file.display());
        }
    }
}

#[test]
fn a_secret_is_masked_in_everything_however_it_is_written() {
    let rows = [
        "echo using $TOKEN; echo done",
        "echo using $TOKEN >&2",
        "printf s3cr3t-; sleep 0.3; printf canary-9f1c; echo done",
        "printf using; for part in s3 cr3t -can ary- 9f1c; do printf %s $part; sleep 0.15; done",
        "echo $TOKEN$TOKEN; echo x${TOKEN}y",
        "printf $TOKEN",
        "echo $TOKEN; exit 3",
        "head -c 200000 /dev/zero | tr '\\\\0' x; echo $TOKEN; head -c 200000 /dev/zero | tr '\\\\0' x",
    ];
    for script in rows {
        let space = Space::new(&format!(
            "[target.t]\ninputs = []\nsecrets = ['TOKEN']\nrun = \"\"\"{script}\"\"\"\n"
        ));
        let args = ["build", "--json", "-v", "--summary", "../sum.json", "t"];
        let run = space.iact(args).env("TOKEN", CANARY).run();
        let people =
            space.iact(["build", "--force", "-v", "--output=stream", "t"]).env("TOKEN", CANARY).run();
        let log = space.iact(["log", "t"]).run();
        let summary = std::fs::read_to_string(space.base().join("sum.json")).unwrap();
        for text in [&run.out, &run.err, &people.out, &people.err, &log.out, &log.err, &summary] {
            assert!(!text.contains(CANARY) && !text.contains("s3cr3t"), "{script}: {text}");
        }
        assert!(log.out.contains("***") || log.err.contains("***"), "{script}: {log}");
        assert_nowhere(&space);
    }
}

#[test]
fn a_secret_is_masked_where_other_scripts_tell_it() {
    for key in [
        "check = 'echo bad $TOKEN; exit 1'",
        "verify = 'echo bad $TOKEN >&2; exit 1'",
        "probes = ['echo bad $TOKEN; exit 1']",
    ] {
        let space =
            Space::new(&format!("[target.t]\ninputs = []\nsecrets = ['TOKEN']\n{key}\nrun = 'true'\n"));
        let run = space.iact(["build", "--json", "t"]).env("TOKEN", CANARY).run().expect_code(1);
        assert!(run.said().contains("bad ***") && !run.out.contains(CANARY), "{key}: {run}");
    }
}

#[test]
fn a_secret_comes_from_the_environment_or_the_file_beside_the_iactfile() {
    let space = Space::new(
        "[workspace]\ninclude = ['api']\n[target.t]\nsecrets = ['A', 'B']\nrun = 'echo \"$A\" | rev >> @LOG@; echo \"$B\" | rev >> @LOG@'\n",
    );
    space.iactfile_in("api", "[target.t]\nsecrets = ['A']\nrun = 'echo \"$A\" | rev >> @LOG@'\n");
    space.write(".env", "# mine\nA=abcdef\nexport B='gh  ij'\n");
    space.write("api/.env", "A=klmnop\n");
    space.build(&["t", "api:t"]);
    assert_eq!(space.trail_sorted(), ["fedcba", "ji  hg", "ponmlk"]);
    space.iact(["build", "t"]).env("A", "zyxwvu").run().expect_code(0);
    assert_eq!(space.trail(), ["uvwxyz", "ji  hg"]);
}

#[test]
fn missing_secrets_are_told_at_once_before_anything_starts() {
    let space = Space::new(
        "[target.first]\nrun = 'echo first >> @LOG@'\n[target.t]\ndeps = ['first']\nsecrets = ['A', 'B', 'C']\nrun = 'true'\n",
    );
    space.write(".env", "B=\nC=there\n");
    let run = space.iact(["build", "t"]).env("A", "").run().expect_code(4);
    assert!(run.err.contains("`A`") && run.err.contains("`B`") && !run.err.contains("`C`"), "{run}");
    assert!(run.err.contains(".env") && run.err.contains("Iactfile.toml:5"), "{run}");
    assert_eq!(space.trail(), Vec::<String>::new());
}

#[test]
fn a_secret_is_in_no_fingerprint() {
    let space = Space::new("[target.t]\ninputs = []\nsecrets = ['TOKEN']\nrun = 'echo t >> @LOG@'\n");
    let build = |value: &str| space.iact(["build", "--json", "t"]).env("TOKEN", value).run().expect_code(0);
    build("one-secret");
    assert_eq!(build("another").outcomes()["t"], "up_to_date");
    assert_eq!(space.trail(), ["t"]);
}

#[test]
fn only_who_declares_a_secret_gets_it() {
    let space = Space::new(
        "[target.a]\nsecrets = ['TOKEN']\nrun = 'true'\n[target.b]\ndeps = ['a']\nrun = 'echo ${TOKEN-none} >> @LOG@'\n",
    );
    space.iact(["build", "b"]).env("TOKEN", CANARY).run().expect_code(0);
    assert_eq!(space.trail(), ["none"]);
}

const SERVICE: &str = "[service.s]\nsecrets = ['TOKEN']\nrun = 'echo up $TOKEN; touch @BASE@/up; exec sleep 60'\nready = { run = 'test -e @BASE@/up' }\n\
    [target.t]\nservices = ['s']\nrun = 'true'\n";

#[test]
fn a_services_secret_is_masked_in_its_log_and_missed_before_anything_starts() {
    let space = Space::new(SERVICE);
    let run = space.try_build(&["t"]).expect_code(4);
    assert!(run.err.contains("the secret `TOKEN` of `s`"), "{run}");
    space.write(".env", format!("TOKEN={CANARY}\n"));
    space.build(&["t"]);
    let logs = space.iact(["logs", "s"]).run();
    assert!(logs.out.contains("up ***") && !logs.out.contains(CANARY), "{logs}");
    space.remove(".env");
    assert_nowhere(&space);
}

#[test]
fn a_services_secret_is_masked_in_what_is_told_of_its_failure() {
    let space = Space::new(&SERVICE.replace("exec sleep 60", "exit 3").replace("touch @BASE@/up; ", ""));
    let run = space.iact(["build", "--json", "t"]).env("TOKEN", CANARY).run().expect_code(1);
    assert!(run.said().contains("up ***") && !run.out.contains(CANARY) && !run.err.contains(CANARY), "{run}");
}

#[test]
fn a_secret_in_an_output_is_never_stored() {
    let target = |more: &str| {
        format!(
            "[target.t]\ninputs = []\noutputs = ['d/', 'o']\nsecrets = ['TOKEN', 'SHORT']\n{more}\n\
             run = 'mkdir -p d/e; echo url=$TOKEN > d/e/conf; echo $SHORT > o'\n"
        )
    };
    let build = |space: &Space, flags: &[&str]| {
        let words = [&["build", "t", "--json"], flags].concat();
        space.iact(words).env("TOKEN", CANARY).env("SHORT", "abc").run()
    };
    let space = Space::new(&target(""));
    for flags in [&[][..], &["--no-cache"]] {
        let run = build(&space, flags).expect_code(1);
        assert!(run.out.contains("output `d/e/conf` holds the secret `TOKEN`"), "{run}");
    }
    assert!(space.read("d/e/conf").contains(CANARY), "it stays where the command left it");
    space.iactfile(&target("cache = false\nretain = { last = 2 }"));
    build(&space, &[]).expect_code(1);
    space.iactfile(&target("cache = false"));
    build(&space, &[]).expect_code(0);
    space.remove("d");
    assert_nowhere(&space);
}
