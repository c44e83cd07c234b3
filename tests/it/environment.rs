//! What an action sees of its caller, and what of that is in the fingerprint.

use crate::space::Space;

#[test]
fn an_action_sees_the_documented_variables_and_no_other() {
    let space = Space::new(
        "[env]\nALL = 'a'\n[target.t]\ninputs = []\nenv = { OWN = 'o', ALL2 = '{{ v }}' }\nvars = { v = 'two words' }\npass_env = ['GIVEN']\nuntracked_env = ['LOOSE']\nexec = ['env']\n",
    );
    let run = space
        .iact(["build", "--json", "t"])
        .env("GIVEN", "g")
        .env("LOOSE", "l")
        .env("STRAY", "s")
        .env("LD_PRELOAD", "")
        .env("TERM", "dumb")
        .env("LOGNAME", "me")
        .run()
        .expect_code(0);
    let seen = run.output("t", "stdout");
    let mut names: Vec<&str> =
        seen.lines().filter_map(|line| line.split_once('=')).map(|pair| pair.0).collect();
    // The jobserver's address and iact's own mark are what it adds; HOME and so on are the caller's.
    names.retain(|name| !name.starts_with("IACT_") && *name != "MAKEFLAGS" && *name != "CARGO_MAKEFLAGS");
    names.sort_unstable();
    assert_eq!(
        names,
        ["ALL", "ALL2", "GIVEN", "HOME", "LOGNAME", "LOOSE", "OWN", "PATH", "TERM", "TMPDIR", "USER"]
    );
    for line in ["ALL=a", "ALL2=two words", "OWN=o", "GIVEN=g", "LOOSE=l", "USER=tester"] {
        assert!(seen.lines().any(|seen| seen == line), "{line}: {seen}");
    }
}

#[test]
fn only_what_is_declared_decides() {
    let space = Space::new(
        "[target.t]\ninputs = []\npass_env = ['GIVEN']\nuntracked_env = ['LOOSE']\nrun = 'echo t >> @LOG@'\n",
    );
    let run = |env: &[(&str, &str)]| {
        let iact = space.iact(["build", "--json", "t"]);
        env.iter().fold(iact, |iact, (name, value)| iact.env(name, value)).run().expect_code(0)
    };
    run(&[]);
    space.trail();
    for env in [
        &[("STRAY", "1")][..],
        &[("LOOSE", "1")],
        &[("HOME", "/")],
        &[("TMPDIR", "/tmp")],
        &[("TERM", "xterm")],
        &[("LANG", "tr_TR.UTF-8"), ("LC_ALL", "C")],
        &[("TZ", "Asia/Tokyo")],
        &[("USER", "somebody")],
    ] {
        assert_eq!(run(env).kinds(), ["up_to_date"], "{env:?}");
    }
    let empty = run(&[("GIVEN", "")]);
    assert_eq!(empty.reason("t"), "env_changed GIVEN", "unset and empty differ");
    assert_eq!(run(&[("GIVEN", "1")]).reason("t"), "env_changed GIVEN");
    assert_eq!(run(&[]).kinds(), ["cached"]);
    assert!(!run(&[("GIVEN", "s3cret-value")]).out.contains("s3cret-value"), "never the value");
}

#[test]
fn what_a_command_is_given_or_proved_with_is_another_result() {
    // A target, and the same with something that changes what its command or its proof sees.
    for (before, after, says) in [
        ("", "secrets = ['TOKEN']", "given"),
        ("secrets = ['TOKEN']", "secrets = ['TOKEN', 'OTHER']", "given"),
        ("verify = 'exit 0'", "verify = 'exit 0'\nshell = ['bash', '-c', 'test -s o', '--']", "none"),
    ] {
        let space = Space::bare();
        let build = |key: &str| {
            space.iactfile(&format!(
                "[target.t]\ninputs = []\noutputs = ['o']\n{key}\nexec = ['sh', '-c', 'test -n \"$TOKEN\" && echo given > o || echo none > o']\n"
            ));
            space
                .iact(["build", "--json", "t"])
                .env("TOKEN", "abcdefghijk")
                .env("OTHER", "x1")
                .run()
                .expect_code(0)
        };
        build(before);
        assert_eq!(build(after).reason("t"), "command_changed", "{after}");
        assert_eq!(space.read("o").trim(), says, "{after}");
        assert_eq!(build(after).kinds(), ["up_to_date"], "{after}");
        space.remove(".iact");
        space.remove("o");
        assert_eq!(build(after).kinds(), ["cached"], "{after}");
        assert_eq!(space.read("o").trim(), says, "{after}");
    }
}

#[test]
fn a_value_that_is_no_text_is_passed_as_it_is() {
    use std::os::unix::ffi::OsStrExt;
    let space = Space::new(
        "[target.t]\ninputs = []\noutputs = ['o']\npass_env = ['GIVEN']\nrun = 'printf %s \"$GIVEN\" > o'\n",
    );
    let value = std::ffi::OsStr::from_bytes(b"a\xff\nb");
    space.iact(["build", "t"]).env("GIVEN", value).run().expect_code(0);
    assert_eq!(std::fs::read(space.path("o")).unwrap(), b"a\xff\nb");
}

#[test]
fn moving_a_value_between_names_is_another_fingerprint() {
    let space = Space::bare();
    let mut seen = std::collections::BTreeSet::new();
    let texts = [
        "env = { AB = 'c' }",
        "env = { A = 'Bc' }",
        "env = { A = 'B', c = '' }",
        "env = { A = 'B=c' }",
        "env = {}",
        "cwd = 'sub'",
        "outputs = ['ab', 'c']",
        "outputs = ['a', 'bc']",
        "relocatable = false",
        "pass_env = ['AB']",
        "tools = ['sh']",
        "probes = ['true']",
        "shell = ['sh', '-c']",
    ];
    std::fs::create_dir(space.path("sub")).unwrap();
    for text in texts {
        space.iactfile(&format!("[target.t]\ninputs = []\nrun = 'touch ab c a bc'\n{text}\n"));
        let print = space.build(&["t"]).fingerprint("t");
        assert!(seen.insert(print), "{text} has the fingerprint of another");
    }
    for exec in ["['true', 'ab', 'c']", "['true', 'a', 'bc']", "['true', 'abc']", "['true', 'ab', 'c', '']"] {
        space.iactfile(&format!("[target.t]\ninputs = []\nexec = {exec}\n"));
        assert!(seen.insert(space.build(&["t"]).fingerprint("t")), "{exec} has the fingerprint of another");
    }
}
