//! Input nobody should give: refused with its place and exit code 2 before anything happens, or taken as it is.

use crate::space::{Space, has_program, is_root, os, set_mode, skipped, snapshot};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

const GOOD: &str = "[target.t]\ninputs = [\"in\"]\noutputs = [\"o\"]\nrun = \"cp in o\"\n";

/// Iactfile; where the mistake is; words of the message; the suggestion.
type Refusal = (&'static str, &'static str, &'static [&'static str]);

const REFUSALS: &[Refusal] = &[
    // Names
    (
        "[target.compile]\nrun='x'\n[target.t]\ndeps = [\"complie\"]\n",
        "4:9",
        &["`complie`", "did you mean `compile`"],
    ),
    ("[target.t]\nrun='x'\nafter = [\"u\"]\n", "3:10", &["`u`"]),
    ("[target.t]\nrun='x'\npool = \"net\"\n[pool.nets]\nslots = 1\n", "3:8", &["`net`", "`nets`"]),
    ("[vars]\npython='3'\n[target.t]\nrun = \"echo {{ pyhton }}\"\n", "4:", &["`pyhton`", "`python`"]),
    ("[target.t]\nrun = \"echo {{ 1 + }}\"\n", "2:", &[]),
    ("[target.t]\nrun = \"echo {{ x\"\n", "2:", &[]),
    ("[target.t]\nrun = \"{{ x | nosuchfilter }}\"\nvars = { x = '1' }\n", "2:", &["nosuchfilter"]),
    (
        "[target.t]\nrun = \"{{ out_of('u') }}\"\n[target.u]\ninputs=[]\noutputs=['o']\nrun='x'\n",
        "2:",
        &["`u`"],
    ),
    (
        "[target.t]\nrun='x'\ndeps = [{ target = 'u', vars = { nope = '1' } }]\n[target.u]\nrun='x'\n",
        "3:",
        &["nope"],
    ),
    // Shape
    ("[target.t]\ninptus = [\"x\"]\nrun='x'\n", "2:1", &["`inptus`", "did you mean `inputs`"]),
    ("[target.t]\ninputs = \"x\"\nrun='x'\n", "2:10", &["inputs"]),
    ("[target.t]\ninputs = [\n", "", &["TOML"]),
    ("[target.t]\nrun='x'\nexec=['x']\n", "3:1", &["run", "exec"]),
    ("[target.t]\nrun='x'\ntimeout='3 parsecs'\n", "3:9", &["3 parsecs", "duration"]),
    ("[target.t]\nrun='x'\nplatform={ a = 'b' }\n", "3:1", &["not there yet"]),
    ("[remote]\nurl='http://x'\n[target.t]\nrun='x'\n", "1:", &["not there yet"]),
    ("iact = '>=999'\n[target.t]\nrun='x'\n", "1:8", &["999"]),
    (
        "[target.t]\naliases=['both']\nrun='x'\n[target.u]\naliases=['both']\nrun='x'\n",
        "5:10",
        &["both", "`t`"],
    ),
    ("[target.t]\nrun='x'\n[target.t]\nrun='y'\n", "3:9", &["twice"]),
    // Cycles
    ("[target.t]\ndeps=['t']\nrun='x'\n", "2:7", &["cycle", "`t`"]),
    (
        "[target.t]\ndeps=['u']\n[target.u]\ndeps=['v']\n[target.v]\ndeps=['u']\n",
        "",
        &["cycle", "`u`", "`v`"],
    ),
    ("[target.t]\nafter=['u']\nrun='x'\n[target.u]\ndeps=['t']\nrun='x'\n", "", &["cycle", "`t`", "`u`"]),
    // Paths
    ("[target.t]\ninputs=[]\noutputs=['../x']\nrun='x'\n", "3:10", &["../x"]),
    ("[target.t]\ninputs=[]\noutputs=['/etc/x']\nrun='x'\n", "3:10", &["/etc/x"]),
    ("[target.t]\ninputs=[]\noutputs=['a/../../x']\nrun='x'\n", "3:10", &["a/../../x"]),
    ("[target.t]\ninputs=['../x']\nrun='x'\n", "2:9", &["../x"]),
    ("[target.t]\ninputs=['/etc/hosts']\nrun='x'\n", "2:9", &["/etc/hosts"]),
    ("[target.t]\ninputs=[]\noutputs=['.']\nrun='x'\n", "3:10", &[]),
    ("[target.t]\ninputs=[]\noutputs=['']\nrun='x'\n", "3:10", &[]),
    ("[target.t]\ninputs=[]\noutputs=['.iact/x']\nrun='x'\n", "3:10", &[".iact"]),
    ("[target.t]\ninputs=[]\noutputs=['.git/hooks/x']\nrun='x'\n", "3:10", &[".git"]),
    ("[target.t]\ninputs=[]\noutputs=['Iactfile.toml']\nrun='x'\n", "3:10", &["Iactfile.toml"]),
    ("[target.t]\ncwd='../x'\nrun='x'\n", "2:5", &["../x"]),
    ("[workspace]\ninclude=['../x']\n[target.t]\nrun='x'\n", "2:10", &["../x"]),
    ("[workspace]\ninclude=['nowhere']\n[target.t]\nrun='x'\n", "2:10", &["nowhere"]),
    // Inputs and outputs
    ("[target.t]\ninputs=['no-such']\nrun='x'\n", "2:9", &["no-such"]),
    ("[target.t]\ninputs=['src/[a']\nrun='x'\n", "2:9", &["src/[a"]),
    ("[target.t]\ninputs=['a**b/{c']\nrun='x'\n", "2:9", &["a**b/{c"]),
    ("[target.t]\nfor_each='src/[a'\nrun='x'\n", "2:10", &["src/[a"]),
    ("[target.t]\ninputs=['*.md']\noutputs=['o.md']\nrun='x'\n", "", &["o.md"]),
    ("[target.t]\ninputs=['d']\noutputs=['d/o']\nrun='x'\n", "", &["d/o"]),
    ("[target.t]\ninputs=['o']\noutputs=['o']\nrun='x'\n", "", &["`o`"]),
    (
        "[target.t]\ninputs=['g/x']\nrun='x'\n[target.u]\ninputs=[]\noutputs=['g/x']\nrun='x'\n",
        "2:9",
        &["g/x", "deps", "`u`"],
    ),
    (
        "[target.t]\ninputs=['g/x']\nrun='x'\n[target.u]\ninputs=[]\noutputs=['g']\nrun='x'\n",
        "2:9",
        &["g/x", "deps", "`u`"],
    ),
    (
        "[target.t]\ninputs=[]\noutputs=['z/x']\nrun='x'\n[target.u]\ninputs=[]\noutputs=['z']\nrun='x'\n",
        "",
        &["`t`", "`u`", "z/x"],
    ),
    (
        "[target.t]\ninputs=[]\noutputs=['z']\nrun='x'\n[target.u]\ninputs=[]\noutputs=['./z/']\nrun='x'\n",
        "",
        &["`t`", "`u`"],
    ),
    ("[target.t]\ninputs=[]\noutputs=['z', 'z/y']\nrun='x'\n", "3:", &["z/y"]),
    (
        "[target.t]\nmatrix={ v=['a','b'] }\ninputs=[]\noutputs=['z']\nrun='x'\n",
        "4:10",
        &["`z`", "t[v=a]", "t[v=b]"],
    ),
    (
        "[target.t]\ninputs=[]\noutputs=['Z']\nrun='x'\n[target.u]\ninputs=[]\noutputs=['z']\nrun='x'\n",
        "7:10",
        &["`Z`", "`z`", "case"],
    ),
    (
        "[target.t]\nfor_each={ glob='*', batch=2 }\nrun='echo {{ file.stem }} {% for f in files %}{{ f }}{% endfor %}'\n",
        "3:5",
        &["`file`", "batch", "`{{ files }}`"],
    ),
    (
        "[target.t]\nfor_each={ glob='none/*', batch=2 }\noutputs=['o/{{ file.stem }}']\nexec=['cp', '{{ out }}']\n",
        "4:13",
        &["`out`", "batch"],
    ),
    (
        "[target.m]\nmatrix={ db=['pg','my'] }\nrun='x'\n[target.t]\ndeps=['m[db=pgg]']\n",
        "5:7",
        &["m[db=pgg]", "`pg`"],
    ),
    (
        "[target.m]\nmatrix={ db=['pg','my'] }\nrun='x'\n[target.t]\ndeps=[{ target='m[db=pg]', vars={ db='my' } }]\n",
        "5:16",
        &["`db`", "`my`", "`pg`"],
    ),
    (
        "[service.s]\ndeps=['m[db=pgg]']\nrun='x'\n[target.m]\nmatrix={ db=['pg','my'] }\nrun='x'\n[target.t]\nservices=['s']\nrun='x'\n",
        "2:7",
        &["m[db=pgg]", "`pg`"],
    ),
    (
        "[target.x]\nvars={ f='', l='' }\nrun='x'\n[target.t]\ndeps=[{ target='x', vars={ f='1,l=2' } }, { target='x', vars={ f='1', l='2' } }]\n",
        "1:9",
        &["x[f=1,l=2]", "two instances"],
    ),
];

#[test]
fn every_refusal_has_a_place_an_excerpt_and_a_suggestion() {
    let space = Space::bare();
    let mut wrong = Vec::new();
    for (text, place, words) in REFUSALS {
        space.write("Iactfile.toml", text);
        let before = snapshot(&space.ws);
        let run = space.iact(["build", "t"]).run();
        let mut missing: Vec<String> =
            words.iter().filter(|word| !run.err.contains(**word)).map(|word| (*word).to_owned()).collect();
        let place = format!("Iactfile.toml:{place}");
        missing.extend((!run.err.contains(&place)).then_some(place));
        // Some line of the file itself.
        let excerpt = text.lines().any(|line| run.err.contains(&format!("{line}\n")));
        missing.extend((!excerpt).then(|| "an excerpt".to_owned()));
        missing.extend((run.code != Some(2)).then(|| "exit code 2".to_owned()));
        missing.extend((!run.out.is_empty()).then(|| "nothing on standard output".to_owned()));
        missing.extend(
            (snapshot(&space.ws) != before || space.cache.exists()).then(|| "nothing written".to_owned()),
        );
        if !missing.is_empty() {
            wrong.push(format!("{text}\nlacks {missing:?}: {run}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), REFUSALS.len(), wrong.join("\n\n"));
}

#[test]
fn mistakes_on_the_command_line_are_told_with_a_suggestion() {
    let space = Space::new(
        "[vars]\nwho = 'x'\n[target.compile]\naliases=['cc']\nrun = 'echo {{ who }}'\ntags=['ci']\n[target.other]\nrun='x'\n",
    );
    for (args, words) in [
        (vec!["build", "complie"], vec!["`complie`", "`compile`"]),
        (vec!["complie"], vec!["`complie`", "`compile`"]),
        (vec!["statsu", "compile"], vec!["`statsu`", "`status`"]),
        (vec!["build", "compile", "whoo=1"], vec!["`whoo`", "`who`"]),
        (vec!["build", "other", "who=1"], vec!["`who`"]),
        (vec!["build", "--tag", "c"], vec!["`c`", "`ci`"]),
        (vec!["build"], vec!["default"]),
        (vec!["build", "compile[x=1]"], vec!["compile[x=1]"]),
        (vec!["build", "--output=loud", "compile"], vec!["loud"]),
        (vec!["build", "--force=complie", "compile"], vec!["`complie`"]),
        (vec!["build", "--force=other", "compile"], vec!["nothing that was asked for needs `other`"]),
        (vec!["build", "-j", "many", "compile"], vec!["many"]),
        (vec!["build", "--affected", "compile"], vec!["not there yet"]),
        (vec!["build", ""], vec![]),
    ] {
        let run = space.iact(&args).run();
        assert_eq!(run.code, Some(2), "{args:?}: {run}");
        for word in words {
            assert!(run.err.contains(word), "{args:?}, {word}: {run}");
        }
        assert!(run.out.is_empty() && !space.has(".iact") && !space.cache.exists(), "{args:?}: {run}");
    }
    let run = space.iact(os(&[b"build", b"com\xffpile"])).run();
    assert_eq!(run.code, Some(2), "{run}");
}

#[test]
fn a_default_goal_that_nobody_has_is_refused_where_it_is_meant() {
    let space = Space::new("[workspace]\ndefault = [\"compil\"]\n[target.compile]\nrun='x'\n");
    for args in [&["build"][..], &["check"]] {
        let run = space.iact(args).run().expect_code(2);
        for words in ["Iactfile.toml:2:12", "`compil`", "`compile`"] {
            assert!(run.err.contains(words), "{args:?}, {words}: {run}");
        }
    }
}

#[test]
fn bytes_that_are_no_iactfile_are_refused() {
    let space = Space::bare();
    let deep = format!("[target.t]\nx = {}1{}\n", "[".repeat(10_000), "]".repeat(10_000));
    let deep_table = format!("x = {}{}\n", "{a=".repeat(5_000), "}".repeat(5_000));
    let big = "# a comment\n".repeat(900_000);
    let template = format!("[target.t]\nrun = \"{}\"\n", "{{ (".repeat(20_000));
    let dotted = format!("[{}a]\n", "a.".repeat(20_000));
    for (what, bytes) in [
        ("nothing of use", b"".to_vec()),
        ("not UTF-8", b"[target.t]\nrun = \"\xff\xfe\"\n".to_vec()),
        ("NUL bytes", vec![0; 4096]),
        ("a byte order mark and rubbish", b"\xef\xbb\xbf]]]]".to_vec()),
        ("very deep lists", deep.into_bytes()),
        ("very deep tables", deep_table.into_bytes()),
        ("very deep names", dotted.into_bytes()),
        ("a very deep template", template.into_bytes()),
        ("over ten megabytes", big.into_bytes()),
        ("a bomb of a template", b"[target.t]\nrun = \"{% for a in range(100000) %}{% for b in range(100000) %}x{% endfor %}{% endfor %}\"\n".to_vec()),
    ] {
        space.write("Iactfile.toml", bytes);
        let run = space.iact(["build", "t"]).limit(20).run();
        assert_eq!(run.code, Some(2), "{what}: {}", run.err.chars().take(2000).collect::<String>());
        assert!(run.err.contains("Iactfile.toml") || what == "nothing of use", "{what}");
        assert!(run.err.len() < 20_000, "{what}: a message of {} bytes", run.err.len());
    }
    for (what, make) in [
        ("a folder", (|path| std::fs::create_dir(path).unwrap()) as fn(&std::path::Path)),
        ("a loop of links", |path| symlink("Iactfile.toml", path).unwrap()),
        ("a dangling link", |path| symlink("nowhere", path).unwrap()),
        ("a FIFO", mkfifo),
        ("an endless device", |path| symlink("/dev/zero", path).unwrap()),
    ] {
        space.remove("Iactfile.toml");
        make(&space.path("Iactfile.toml"));
        let run = space.iact(["build", "t"]).limit(10).run();
        assert_eq!(run.code, Some(2), "{what}: {run}");
    }
}

fn mkfifo(path: &std::path::Path) {
    rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, rustix::fs::Mode::from(0o644), 0)
        .unwrap();
}

#[test]
fn what_cannot_be_read_as_an_input_is_named_and_never_waited_for() {
    for inputs in ["src/odd", "src/*", "src"] {
        for what in ["FIFO", "socket", "device", "cannot be read"] {
            // Nodes of devices are the superuser's to make, who may read everything.
            if matches!((what, is_root()), ("cannot be read", true) | ("device", false)) {
                continue;
            }
            let space =
                Space::new(&format!("[target.t]\ninputs = [\"{inputs}\"]\nrun = \"echo t >> @LOG@\"\n"));
            space.write("src/fine", "1");
            let odd = space.path("src/odd");
            let _socket = match what {
                "FIFO" => {
                    mkfifo(&odd);
                    None
                }
                "device" => {
                    // `/dev/zero`, which never ends.
                    let made = std::process::Command::new("mknod").arg(&odd).args(["c", "1", "5"]).status();
                    if !made.is_ok_and(|made| made.success()) {
                        continue;
                    }
                    None
                }
                "socket" => Some(std::os::unix::net::UnixListener::bind(&odd).unwrap()),
                _ => {
                    set_mode(&space.write("src/odd", "1"), 0o000);
                    None
                }
            };
            let run = space.iact(["build", "--json", "t"]).limit(10).run();
            let case = format!("{what} as `{inputs}`");
            assert!(matches!(run.code, Some(1 | 2)), "{case}: {run}");
            assert!(run.said().contains("src/odd") && run.said().contains(what), "{case}: {run}");
            assert!(space.trail().is_empty(), "{case}");
        }
    }
}

#[test]
fn an_input_that_somebody_has_a_lease_on_is_read_when_it_was_given_back() {
    if !has_program("python3") {
        return skipped("no python3");
    }
    let space = Space::new("[target.t]\ninputs = [\"in\"]\noutputs = [\"o\"]\nrun = \"cp in o\"\n");
    space.write("in", "1");
    let script = "import fcntl, os, signal, sys, time\n\
        held = os.open('in', os.O_RDWR)\n\
        def give_back(*_):\n    time.sleep(1)\n    fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_UNLCK)\n    sys.exit()\n\
        signal.signal(signal.SIGIO, give_back)\n\
        fcntl.fcntl(held, fcntl.F_SETLEASE, fcntl.F_WRLCK)\n\
        open('held', 'w')\n\
        time.sleep(60)\n";
    let mut holder = space.program("python3").args(["-c", script]).spawn().unwrap();
    while !space.has("held") {
        if holder.try_wait().unwrap().is_some() {
            return skipped("no lease is given here");
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    let run = space.build(&["t"]);
    assert_eq!((run.kinds(), space.read("o").as_str()), (vec!["executed".to_owned()], "1"), "{run}");
    holder.wait().unwrap();
}

#[test]
fn a_literal_path_that_cannot_be_looked_at_is_not_taken_for_absent() {
    let space = Space::new("[target.t]\ninputs = [\"loop/in\"]\nrun = \"echo t >> @LOG@\"\n");
    std::os::unix::fs::symlink("loop", space.path("loop")).unwrap();
    let run = space.iact(["build", "t"]).run();
    assert!(run.code == Some(2) || run.code == Some(1), "{run}");
    assert!(run.err.contains("`loop/in` cannot be read"), "{run}");
    assert!(space.trail().is_empty());
}

#[test]
fn a_file_that_nobody_may_read_is_named() {
    if !is_root() {
        return skipped("done by the table above");
    }
    let space = Space::new("[target.t]\ninputs = [\"src/*\"]\nrun = \"cat src/*\"\n");
    set_mode(&space.write("src/odd", "1"), 0o000);
    set_mode(space.base(), 0o777);
    for folder in [&space.ws, &space.base().join("home"), &space.base().join("tmp")] {
        std::os::unix::fs::chown(folder, Some(65534), Some(65534)).unwrap();
    }
    std::os::unix::fs::chown(space.path("Iactfile.toml"), Some(65534), Some(65534)).unwrap();
    let wrapper = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let run = space.iact(["build", "--json", "t"]).below(&wrapper).run();
    if run.err.contains("setpriv") {
        return skipped("another user cannot start the program here");
    }
    run.said().find("src/odd").unwrap_or_else(|| panic!("{run}"));
    assert!(matches!(run.code, Some(1 | 2)), "{run}");
}

#[test]
fn odd_names_are_taken_byte_by_byte() {
    let space = Space::new(
        "[target.t]\ninputs = [\"src/**\"]\noutputs = [\"o\"]\nrun = \"echo t >> @LOG@; rm -rf o; cp -a src o\"\n",
    );
    let long = "x".repeat(255);
    let names: [&[u8]; 10] = [
        b"plain",
        b"-rf",
        b"new\nline",
        b"tab\tand space ",
        b"\xff\xfe\x80",
        b"quote'\"\\",
        b"*?[a]",
        b"$(touch pwned)",
        "e\u{301}".as_bytes(),
        long.as_bytes(),
    ];
    for name in names {
        space.write(std::path::Path::new("src").join(std::ffi::OsStr::from_bytes(name)), name);
    }
    space.write("src/Case", "upper");
    space.write("src/case", "lower");
    let deep = vec!["deep"; 120].join("/");
    space.write(format!("src/{deep}/file"), "far down");
    space.build(&["t"]);
    let made = snapshot(&space.path("o")).len();
    for name in names {
        space.trail();
        space.write(std::path::Path::new("src").join(std::ffi::OsStr::from_bytes(name)), b"changed");
        assert_eq!(space.build(&["t"]).kinds(), ["executed"], "{:?}", String::from_utf8_lossy(name));
        let found = std::fs::read(space.path("o").join(std::ffi::OsStr::from_bytes(name))).unwrap();
        assert_eq!(found, b"changed");
    }
    space.remove("o");
    assert_eq!(space.build(&["t"]).kinds(), ["cached"]);
    assert_eq!(snapshot(&space.path("o")).len(), made);
    assert!(!space.has("pwned"));
    // The same names with contents exchanged are another tree.
    space.write("src/Case", "lower");
    space.write("src/case", "upper");
    assert_eq!(space.build(&["t"]).kinds(), ["executed"]);
}

#[test]
fn a_file_of_for_each_with_an_odd_name_is_quoted_or_refused() {
    let space = Space::new("[target.t]\nfor_each = \"src/*\"\nrun = \"cat {{ file }} >> @LOG@\"\n");
    for name in ["-n", "two words", "it's", "$(touch pwned)", "a;b", "*"] {
        space.write(format!("src/{name}"), format!("{name}\n"));
    }
    let run = space.build(&["t"]);
    assert_eq!(run.outcomes().len(), 6, "{run}");
    assert_eq!(space.trail_sorted(), ["$(touch pwned)", "*", "-n", "a;b", "it's", "two words"]);
    assert!(!space.has("pwned"));
    space.write(std::path::Path::new("src").join(std::ffi::OsStr::from_bytes(b"\xff")), "x");
    let run = space.try_build(&["t"]).expect_code(2);
    assert!(run.err.contains("UTF-8"), "{run}");
}

#[test]
fn links_as_inputs_count_by_what_they_say_and_where_they_lead() {
    let space = Space::new("[target.t]\ninputs = [\"src/**\", \"one\"]\nrun = \"echo t >> @LOG@\"\n");
    space.write("src/file", "1");
    space.write("elsewhere/file", "1");
    symlink("nowhere", space.path("src/dangling")).unwrap();
    symlink("loop2", space.path("src/loop1")).unwrap();
    symlink("loop1", space.path("src/loop2")).unwrap();
    symlink("../src", space.path("src/up")).unwrap();
    symlink("elsewhere/file", space.path("one")).unwrap();
    let runs = |what: &str| {
        let run = space.iact(["build", "--json", "t"]).limit(10).run().expect_code(0);
        assert_eq!(space.trail(), ["t"], "{what}: {run}");
        assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"], "{what}");
    };
    runs("at first");
    space.write("elsewhere/file", "2");
    runs("the file behind a link");
    space.remove("src/dangling");
    symlink("nowhere else", space.path("src/dangling")).unwrap();
    runs("the text of a dangling link");
    space.remove("src/up");
    symlink("../elsewhere", space.path("src/up")).unwrap();
    runs("the text of a link to a folder");
    space.write("src/nowhere else", "there now");
    runs("where a dangling link leads");
}

#[test]
fn a_hundred_megabytes_in_one_line_are_kept_whole_in_little_memory() {
    let space = Space::new(
        "[target.t]\ninputs = []\nrun = \"echo begin; head -c 100000000 /dev/zero | tr '\\\\0' x; echo; echo end\"\n",
    );
    let sink = std::fs::File::create("/dev/null").unwrap();
    let run = if has_program("prlimit") {
        let limit = ["prlimit", "--as=900000000"];
        space.iact(["build", "t"]).below(&limit).stdout(sink).limit(100).run()
    } else {
        space.iact(["build", "t"]).stdout(sink).limit(100).run()
    };
    assert_eq!(run.code, Some(0), "{}", run.err.chars().take(1000).collect::<String>());
    let kept: u64 = crate::space::files(&space.path(".iact/log"))
        .iter()
        .map(|path| std::fs::metadata(path).unwrap().len())
        .sum();
    assert!(kept > 100_000_000, "{kept}");
}

#[test]
fn a_closed_or_full_standard_output_harms_nothing() {
    let space = Space::new("[target.t]\ninputs = [\"in\"]\noutputs = [\"o\"]\nrun = \"seq 3000; cp in o\"\n");
    let iact = crate::space::IACT;
    for (number, line) in [
        "\"$0\" build t --json | head -n 1 > /dev/null",
        "\"$0\" build t --output=stream | head -n 1 > /dev/null",
        "\"$0\" build t --output=stream 2>&1 | head -n 1 > /dev/null",
        "\"$0\" build t --json >&-",
        "\"$0\" build t >&- 2>&-",
        "\"$0\" build t <&- >&- 2>&-",
        "\"$0\" build t --json > /dev/full",
        "\"$0\" build t --output=stream > /dev/full 2> /dev/full",
    ]
    .iter()
    .enumerate()
    {
        space.write("in", format!("{number}"));
        space.remove("o");
        let done = space.program("bash").args(["-c", line, iact]).output().unwrap();
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(!said.contains("panicked"), "{line}: {said}");
        // Whoever stops listening may end the run, but not spoil it.
        space.build(&["t"]);
        assert_eq!(space.read("o"), format!("{number}"), "{line}");
        assert_eq!(space.build(&["t"]).kinds(), ["up_to_date"], "{line}");
    }
}

#[test]
fn a_thousand_inputs_with_long_names_and_long_arguments_fit() {
    let space = Space::new(&format!(
        "[target.batch]\nfor_each = {{ glob = \"src/*\", batch = 300 }}\nrun = \"for f in {{{{ files }}}}; do cat $f; done\"\n\
         [target.args]\ninputs = []\nrun = '''\nprintf '%s' {{{{ args }}}} | wc -c >> @LOG@\n'''\n\
         [target.script]\ninputs = []\noutputs = [\"o\"]\nrun = '''\ntrue # {}\necho fine > o\n'''\n",
        "x".repeat(300_000)
    ));
    for n in 0..1500 {
        space.write(format!("src/{}{n:04}", "n".repeat(200)), "1");
    }
    let run = space.build(&["batch", "--output=none"]);
    assert_eq!((run.kinds(), run.outcomes().len()), (vec!["executed".into()], 1500), "{}", run.err);
    let run = space.try_build(&["script"]);
    // The system's limit for one argument is 128 KiB: either it is got around, or it is named.
    assert!(run.code == Some(0) && space.has("o") || run.said().contains("too long"), "{run}");
    let long = "y".repeat(100_000);
    space.build(&["args", "--", &long]);
    assert_eq!(space.trail(), ["100000"]);
}

#[test]
fn few_descriptors_are_enough() {
    if !has_program("prlimit") {
        return skipped("no prlimit");
    }
    let space = Space::new("[target.t]\ninputs = [\"src/**\"]\noutputs = [\"o\"]\nrun = \"cp -r src o\"\n");
    for n in 0..400 {
        space.write(format!("src/{}/{n}", n % 20), format!("{n}"));
    }
    let run =
        space.iact(["build", "--json", "-j4", "t"]).below(&["prlimit", "--nofile=64"]).run().expect_code(0);
    assert_eq!(run.kinds(), ["executed"], "{run}");
    space.remove("o");
    let run =
        space.iact(["build", "--json", "-j4", "t"]).below(&["prlimit", "--nofile=64"]).run().expect_code(0);
    assert_eq!(run.kinds(), ["cached"], "{run}");
}

#[test]
fn an_iactfile_that_others_may_write_is_refused() {
    let space = Space::new(GOOD);
    space.write("in", "1");
    set_mode(&space.path("Iactfile.toml"), 0o666);
    let run = space.try_build(&["t"]).expect_code(4);
    assert!(run.err.contains("Iactfile.toml") && !space.has("o") && !space.has(".iact"), "{run}");
    set_mode(&space.path("Iactfile.toml"), 0o644);
    space.build(&["t"]);
}
