//! How a command starts and how its end is told.

use super::*;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;

#[test]
fn an_end_is_told_as_it_was() {
    for code in [0, 1, 3, 124, 137, 255] {
        let seen = sh(&format!("exit {code}")).run();
        assert!(matches!(seen.ended.end, End::Exited(got) if got == code), "{:?}", seen.ended);
        assert!(seen.ended.output_complete && !seen.ended.left_running);
    }
    for signal in [2, 6, 9, 11, 15] {
        let seen = sh(&format!("kill -{signal} $$")).run();
        assert!(matches!(seen.ended.end, End::Signalled(got) if got == signal), "{:?}", seen.ended);
    }
}

#[test]
fn what_it_used_is_told() {
    let seen = sh("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done").run();
    let usage = seen.ended.usage;
    assert!(usage.user_ms + usage.sys_ms > 10, "{usage:?}");
    assert!(usage.user_ms + usage.sys_ms <= seen.ended.duration_ms + 20, "{:?}", seen.ended);
    assert!((100_000..1 << 30).contains(&usage.max_rss_bytes), "{usage:?}");
}

#[test]
fn a_command_sees_its_environment_its_folder_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut case = sh("/usr/bin/env; pwd; cat");
    case.cwd = folder.path().canonicalize().unwrap();
    let text = String::from_utf8(case.run().out).unwrap();
    let mut lines: Vec<&str> = text.lines().filter(|line| !line.starts_with("IACT_ACTION=")).collect();
    lines.sort_unstable();
    let pwd = format!("PWD={}", case.cwd.display());
    let tag = format!("{TAG}={}", case.tag);
    let mut expected =
        vec![case.cwd.to_str().unwrap(), tag.as_str(), "PATH=/usr/local/bin:/usr/bin:/bin", &pwd];
    expected.sort_unstable();
    assert_eq!(lines, expected);
    assert!(text.contains("IACT_ACTION="));
}

#[test]
fn a_command_inherits_none_of_our_descriptors() {
    let stop = Stop::new().unwrap();
    let seen = sh("ls -l /proc/self/fd").run_and(&stop, &mut |_| {});
    let listing = String::from_utf8(seen.out).unwrap();
    let ours: Vec<_> = [stop.end_bell(), stop.kill_bell()]
        .iter()
        .map(|bell| std::fs::read_link(format!("/proc/self/fd/{}", bell.as_raw_fd())).unwrap())
        .collect();
    assert!(listing.contains("0 -> /dev/null"), "{listing}");
    assert!(ours.iter().all(|pipe| !listing.contains(pipe.to_str().unwrap())), "{listing}");
}

fn script(path: &Path, text: &str, mode: u32) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}

#[test]
fn a_program_is_found_in_the_path_of_the_action() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    for sub in ["a", "b", "b/tool-folder"] {
        std::fs::create_dir(root.join(sub)).unwrap();
    }
    script(&root.join("a/tool"), "not executable", 0o644);
    script(&root.join("b/tool"), "#!/bin/sh\necho \"$0\"\n", 0o755);
    let whole = root.join("b/tool").to_str().unwrap().to_owned();
    let path = format!("{0}/missing:{0}/a:{0}/b", root.display());
    for (name, path, told) in [
        ("tool", path.as_str(), whole.as_str()),
        ("tool", "a:b", "b/tool"),
        ("b/tool", "", "b/tool"),
        ("./b/tool", "", "./b/tool"),
        (&whole, "", whole.as_str()),
    ] {
        let mut case = sh("");
        case.argv = vec![name.into()];
        case.cwd = root.to_owned();
        case.env = vec![("PATH".into(), path.into())];
        let seen = case.run();
        assert_eq!(
            String::from_utf8_lossy(&seen.out),
            format!("{told}\n"),
            "{name} in {path}: {:?}",
            seen.ended
        );
    }
}

#[test]
fn what_cannot_be_started_says_who_is_at_fault() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    script(&root.join("plain"), "text", 0o644);
    script(&root.join("lost"), "#!/no/such/interpreter\n", 0o755);
    std::fs::create_dir(root.join("folder")).unwrap();
    let long = "x".repeat(3_000_000);
    let cases: [(&[&str], &Path, io::ErrorKind, &str); 8] = [
        (&["no-such-tool"], root, io::ErrorKind::NotFound, "no-such-tool"),
        (&["./missing"], root, io::ErrorKind::NotFound, "./missing"),
        (&["./plain"], root, io::ErrorKind::PermissionDenied, "./plain"),
        (&["./folder"], root, io::ErrorKind::PermissionDenied, "./folder"),
        (&["./lost"], root, io::ErrorKind::NotFound, "./lost"),
        (&["/bin/true"], Path::new("/no/such/folder"), io::ErrorKind::NotFound, "/no/such/folder"),
        (&["/bin/echo", &long], root, io::ErrorKind::ArgumentListTooLong, "/bin/echo"),
        (&[], root, io::ErrorKind::InvalidInput, ""),
    ];
    for (argv, cwd, kind, path) in cases {
        let mut case = sh("");
        case.argv = argv.iter().map(OsString::from).collect();
        case.cwd = cwd.to_owned();
        let End::NotStarted(error) = case.run().ended.end else { panic!("{path} was started") };
        assert_eq!((error.error.kind(), error.path.to_str().unwrap()), (kind, path));
    }
}

#[test]
fn a_program_written_a_moment_ago_by_a_busy_process_starts() {
    let folder = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let root = folder.path();
            scope.spawn(move || {
                for round in 0..20 {
                    let path = root.join(format!("{thread}-{round}"));
                    std::fs::copy("/bin/true", &path).unwrap();
                    let mut case = sh("");
                    case.argv = vec![path.into()];
                    let ended = case.run().ended;
                    assert!(matches!(ended.end, End::Exited(0)), "{ended:?}");
                }
            });
        }
    });
}

#[test]
fn nothing_starts_once_the_run_is_over() {
    for kill in [false, true] {
        let stop = Stop::new().unwrap();
        if kill {
            stop.kill()
        } else {
            stop.end(rustix::process::Signal::INT)
        }
        let seen = sh("echo started").run_and(&stop, &mut |_| {});
        assert!(matches!(seen.ended.end, End::Cancelled) && seen.out.is_empty());
    }
}

/// A line of `/proc/self/status` as a set of signals.
fn signals(status: &str, line: &str) -> u64 {
    let value = status.lines().find_map(|text| text.strip_prefix(line)).unwrap();
    u64::from_str_radix(value.trim(), 16).unwrap()
}

#[test]
fn a_command_starts_without_handlers_nothing_blocked_and_what_iact_ignores_for_itself() {
    let _signals = crate::engine::signal::Signals::install(|_| true).unwrap();
    let before = std::fs::read_to_string("/proc/self/status").unwrap();
    let bit = |signal: i32| 1_u64 << (signal - 1);
    let known = crate::engine::signal::ENDING.iter().map(|signal| signal.as_raw());
    // From 32 on the C library has some for its own threads. The one of SIGXFSZ does nothing, also there.
    let known: u64 =
        known.chain([libc::SIGSEGV, libc::SIGBUS, libc::SIGXFSZ]).chain(32..libc::SIGRTMIN()).map(bit).sum();
    assert_eq!(
        signals(&before, "SigCgt:") & !known,
        0,
        "each of these would run in a child that is being born"
    );
    let mut case = sh("");
    case.argv = ["/bin/cat", "/proc/self/status"].map(OsString::from).to_vec();
    let now = String::from_utf8(case.run().out).unwrap();
    assert_eq!((signals(&now, "SigCgt:"), signals(&now, "SigBlk:")), (0, 0));
    assert_eq!(signals(&now, "SigIgn:"), signals(&before, "SigIgn:") & !bit(libc::SIGPIPE));
}
