//! Fingerprints depend on what is declared and on nothing else; a build with nothing to do writes nothing.

use crate::space::{Space, has_program, set_time, skipped};
use std::fmt::Write;

fn many() -> Space {
    let mut iactfile = String::new();
    for n in 0..24 {
        let dep = if n < 4 { String::new() } else { format!("deps = ['t{}', 't{}']\n", n - 4, n - 3) };
        writeln!(
            iactfile,
            "[target.t{n}]\n{dep}inputs = ['src/**', '!src/{n}']\noutputs = ['o/{n}', 'd/{n}']\n\
             run = 'cat src/* > o/{n}; mkdir d/{n}; cp src/* d/{n}'"
        )
        .unwrap();
    }
    writeln!(
        iactfile,
        "[target.all]\ndeps = [{}]",
        (0..24).map(|n| format!("'t{n}'")).collect::<Vec<_>>().join(",")
    )
    .unwrap();
    let space = Space::new(&iactfile);
    (0..30).for_each(|n| drop(space.write(format!("src/{n}"), format!("{n}\n"))));
    space
}

fn prints(space: &Space, args: &[&str]) -> Vec<String> {
    let run = space.build(args);
    (0..24).map(|n| run.fingerprint(&format!("t{n}"))).collect()
}

#[test]
fn fingerprints_depend_on_nothing_but_what_is_declared() {
    let space = many();
    let first = prints(&space, &["all", "-j1"]);
    let other = space.checkout("a/much/longer/place/for/the/same/checkout");
    (0..30).for_each(|n| set_time(&other.path(format!("src/{n}")), 1_000_000_000 + n));
    assert_eq!(prints(&other, &["all", "-j64"]), first, "jobs, place and times");
    assert_eq!(prints(&other, &["all", "--force", "-j3"]), first, "run again");
    assert_eq!(prints(&other, &["all", "--no-cache", "--force", "--output=none"]), first, "without a cache");
    let turned = space.checkout("turned");
    let mut tables: Vec<String> = space
        .read("Iactfile.toml")
        .split("\n[")
        .map(|table| table.trim_start_matches('[').to_owned())
        .collect();
    tables.reverse();
    turned.write("Iactfile.toml", tables.iter().fold(String::new(), |all, table| all + "[" + table + "\n"));
    turned.remove(".iact");
    assert_eq!(prints(&turned, &["all"]), first, "the order in the file");
}

#[test]
fn a_build_with_nothing_to_do_writes_nothing() {
    if !has_program("strace") {
        return skipped("no strace");
    }
    let space = many();
    space.build(&["all"]);
    // So that files are old enough to be vouched for without being read.
    std::thread::sleep(std::time::Duration::from_millis(2_200));
    space.build(&["all"]);
    let calls = space.base().join("calls");
    let strace = [
        "strace",
        "-f",
        "-qq",
        "-y",
        "-o",
        calls.to_str().unwrap(),
        "-e",
        "trace=openat,write,pwrite64,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,ftruncate,symlinkat,execve,utimensat,fchmod",
    ];
    let run = space.iact(["build", "--json", "all"]).below(&strace).run();
    if run.err.contains("ptrace") {
        return skipped("nobody may trace here");
    }
    assert_eq!(run.expect_code(0).kinds(), ["up_to_date"]);
    let text = std::fs::read_to_string(&calls).unwrap();
    let base = space.base().to_str().unwrap();
    let (mut wrote, mut read) = (Vec::new(), 0);
    for line in text.lines().filter(|line| line.contains(base) && !line.contains(" = -1 ")) {
        let opened_for_reading =
            line.contains("openat(") && !line.contains("O_WRONLY") && !line.contains("O_RDWR");
        let is_lock = line.contains(".iact/lock") && line.contains("openat(");
        let to_own_output = line.contains("write(") && line.contains("/out.");
        if opened_for_reading {
            read += usize::from(line.contains("/src/"));
        } else if !is_lock && !to_own_output && !line.contains("execve(") {
            wrote.push(line);
        }
    }
    assert!(wrote.is_empty(), "{wrote:#?}");
    assert_eq!(read, 0, "no source is read again");
    assert_eq!(text.matches("execve(").count(), 1, "nothing is started");
}
