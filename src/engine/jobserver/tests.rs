//! Tokens, and real makes that share them.

#![allow(clippy::disallowed_methods, reason = "a real make, real files")]

use super::*;
use crate::engine::spawn::{Children, End, Launch, Stdin, Stop};
use std::process::Command;

fn free(server: &Jobserver) -> usize {
    let taken = (0..99).filter(|_| server.try_acquire()).count();
    (0..taken).for_each(|_| server.release());
    taken
}

#[test]
fn only_a_gnu_make_older_than_4_4_needs_descriptors() {
    for (text, style) in [
        ("GNU Make 4.3\nBuilt for", Style::Descriptors),
        ("GNU Make 3.81\n", Style::Descriptors),
        ("GNU Make 4.2.1", Style::Descriptors),
        ("GNU Make 4.4\n", Style::Fifo),
        ("GNU Make 4.4.1\n", Style::Fifo),
        ("GNU Make 5\n", Style::Fifo),
        ("bmake", Style::Fifo),
        ("", Style::Fifo),
    ] {
        assert_eq!(Style::of_make(text), style, "{text}");
    }
}

#[test]
fn there_are_as_many_tokens_as_jobs_and_lost_ones_come_back() {
    let server = Jobserver::new(3, Style::Fifo, |_| ()).unwrap();
    assert_eq!(free(&server), 3);
    // Not by an action of ours.
    (0..2).for_each(|_| assert_eq!(rustix::io::read(server.readable(), &mut [0]), Ok(1)));
    assert!(server.try_acquire());
    server.refill_when_idle();
    assert_eq!(free(&server), 0, "an action has the third");
    server.release();
    server.refill_when_idle();
    assert_eq!(free(&server), 3);
    (0..7).for_each(|_| server.release());
    server.refill_when_idle();
    assert_eq!(free(&server), 3);
}

#[test]
fn a_client_shares_the_tokens_of_the_server_and_has_one_of_its_own() {
    for style in [Style::Fifo, Style::Descriptors] {
        let server = Jobserver::new(3, style, |_| ()).unwrap();
        let client = Jobserver::join(server.makeflags()).unwrap();
        assert_eq!((free(&client), free(&server)), (4, 3));
        assert!((0..3).all(|_| client.try_acquire()));
        assert_eq!(free(&server), 1);
        client.release();
        assert_eq!(free(&server), 2);
        drop(client);
        assert_eq!(free(&server), 3, "what a client holds comes back");
    }
}

#[test]
fn flags_without_a_jobserver_in_reach_join_nothing() {
    for flags in [
        "",
        " -j4",
        "s -j4 --jobserver-auth=-2,-2",
        "--jobserver-auth=900,901",
        "--jobserver-auth=fifo:/dev/null",
        "--jobserver-auth=0",
    ] {
        assert!(Jobserver::join(OsStr::new(flags)).is_none(), "{flags}");
    }
}

const MAKEFILE: &str = "\
all: a b c d e f
a b c d e f: ; @echo + >> log; sleep 0.08; echo - >> log
stuck: s1 s2 s3
s1 s2 s3: ; @echo stuck; sleep 1000
";

fn make(server: &Jobserver, folder: &Path, goal: &str) -> (End, String) {
    assert!(server.try_acquire());
    let argv = ["make", "--no-print-directory", goal].map(OsString::from);
    let env = [
        ("PATH".into(), "/usr/local/bin:/usr/bin:/bin".into()),
        ("MAKEFLAGS".into(), server.makeflags().to_owned()),
    ];
    let launch = Launch {
        argv: &argv,
        cwd: folder,
        env: &env,
        timeout_ms: Some(20_000),
        grace_ms: 0,
        stdin: Stdin::Null,
    };
    let stop = Stop::new().unwrap();
    let mut said = String::new();
    let ended = Children::new(None).run(&launch, &stop, &mut |_, bytes| {
        said.push_str(&String::from_utf8_lossy(bytes));
        if said.matches("stuck").count() == 3 {
            stop.kill();
        }
    });
    (ended.end, said)
}

fn styles() -> Vec<Style> {
    let version =
        Command::new("make").arg("--version").output().map(|output| output.stdout).unwrap_or_default();
    match Style::of_make(&String::from_utf8_lossy(&version)) {
        Style::Fifo => vec![Style::Fifo, Style::Descriptors],
        Style::Descriptors => vec![Style::Descriptors],
    }
}

#[test]
fn two_makes_share_three_jobs_and_use_them_all() {
    for style in styles() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Makefile"), MAKEFILE).unwrap();
        let server = Jobserver::new(3, style, |_| ()).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    let (end, said) = make(&server, folder.path(), "all");
                    server.release();
                    assert!(matches!(end, End::Exited(0)) && said.is_empty(), "{end:?}: {said}");
                });
            }
        });
        let log = std::fs::read_to_string(folder.path().join("log")).unwrap();
        let mut at_once = 0;
        let most = log.lines().map(|line| {
            at_once += if line == "+" { 1 } else { -1 };
            at_once
        });
        assert_eq!((most.max(), at_once, log.lines().count()), (Some(3), 0, 24), "{log}");
        assert_eq!(free(&server), 3);
    }
}

#[test]
fn tokens_of_a_killed_make_come_back() {
    for style in styles() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("Makefile"), MAKEFILE).unwrap();
        let server = Jobserver::new(3, style, |_| ()).unwrap();
        let (end, said) = make(&server, folder.path(), "stuck");
        assert!(matches!(end, End::Cancelled), "{end:?}: {said}");
        server.release();
        assert_eq!(free(&server), 1, "two tokens died with the make");
        server.refill_when_idle();
        assert_eq!(free(&server), 3);
    }
}

#[test]
fn its_folder_goes_with_it() {
    let mut announced = None;
    let announce = |folder: &std::path::Path| {
        assert!(!folder.exists(), "whoever removes it should iact be killed knows of it first");
        announced = Some(folder.to_owned());
    };
    let server = Jobserver::new(2, Style::Fifo, announce).unwrap();
    let folder = announced.unwrap();
    assert!(folder.join("tokens").exists());
    drop(server);
    assert!(!folder.exists());
}
