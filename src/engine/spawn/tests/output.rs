//! What commands write, and what happens to it.

use super::*;
use std::sync::Mutex;

#[test]
fn both_streams_arrive_byte_by_byte_as_written() {
    let seen = sh(r"printf 'a\n\377\000b'; printf 'e1\ne2' >&2").run();
    assert_eq!((seen.out.as_slice(), seen.err.as_slice()), (&b"a\n\xff\0b"[..], &b"e1\ne2"[..]));
}

#[test]
fn a_line_of_a_hundred_megabytes_passes_in_bounded_pieces() {
    let case = sh("head -c 100000000 /dev/zero | tr '\\0' x; echo; echo end");
    let (mut bytes, mut largest, mut tail) = (0, 0, Vec::new());
    let ended = Children::new(None).run(&case.launch(), &Stop::new().unwrap(), &mut |_, piece| {
        bytes += piece.len();
        largest = largest.max(piece.len());
        tail.extend_from_slice(&piece[piece.len().saturating_sub(5)..]);
        tail.drain(..tail.len().saturating_sub(5));
    });
    assert!(matches!(ended.end, End::Exited(0)));
    assert_eq!((bytes, tail.as_slice()), (100_000_005, &b"\nend\n"[..]));
    assert!(largest <= 64 * 1024);
}

#[test]
fn a_prompt_is_seen_before_its_line_ends() {
    let stop = Stop::new().unwrap();
    let case = sh("printf 'name? '; sleep 1000").grace_ms(2_000);
    let seen = case.run_and(&stop, &mut |out| {
        assert_eq!(out, "name? ");
        stop.end(rustix::process::Signal::TERM);
    });
    assert!(matches!(seen.ended.end, End::Cancelled));
}

#[test]
fn lines_of_parallel_commands_are_never_mixed() {
    let script = "i=0; while [ $i -lt 40 ]; do printf 'begin '; printf \"$N \"; echo \"$N end\"; echo \"begin $N $N end\" >&2; i=$((i+1)); done";
    let all = Mutex::new(Vec::new());
    let children = Children::new(None);
    let stop = Stop::new().unwrap();
    std::thread::scope(|scope| {
        for number in 0..64 {
            let (all, children, stop) = (&all, &children, &stop);
            scope.spawn(move || {
                let mut case = sh(script);
                case.env.push(("N".into(), number.to_string().into()));
                let ended = children
                    .run(&case.launch(), stop, &mut |_, bytes| all.lock().unwrap().extend_from_slice(bytes));
                assert!(matches!(ended.end, End::Exited(0)));
            });
        }
    });
    let text = String::from_utf8(all.into_inner().unwrap()).unwrap();
    let whole = |line: &str| {
        let words: Vec<_> = line.split(' ').collect();
        matches!(words[..], ["begin", a, b, "end"] if a == b)
    };
    assert_eq!((text.lines().count(), text.lines().find(|line| !whole(line))), (64 * 80, None));
}

#[test]
fn who_keeps_the_output_open_hangs_nothing() {
    for (script, code, at_least_ms) in [
        ("echo out; sleep 1000 & exit 0", 0, 900),
        ("echo out; sleep 1000 & exit 1", 1, 900),
        ("echo out; setsid sleep 1000 & exit 0", 0, 900),
        ("echo out; while :; do echo again; sleep 0.01; done & exit 1", 1, 900),
    ] {
        let case = sh(script);
        let seen = case.run();
        assert!(matches!(seen.ended.end, End::Exited(got) if got == code), "{script}: {:?}", seen.ended);
        assert!(seen.out.starts_with(b"out\n"));
        assert!(seen.ended.left_running && !seen.ended.output_complete, "{script}: {:?}", seen.ended);
        assert!(
            (at_least_ms..at_least_ms + 2_000).contains(&seen.ended.duration_ms),
            "{script}: {:?}",
            seen.ended
        );
        clear(&case.tag);
    }
}

#[test]
fn a_background_process_with_its_own_output_is_noticed_and_left() {
    let case = sh("sleep 1000 >/dev/null 2>&1 & exit 0");
    let seen = case.run();
    assert!(matches!(seen.ended.end, End::Exited(0)));
    assert!(
        seen.ended.left_running && seen.ended.output_complete && seen.ended.duration_ms < 900,
        "{:?}",
        seen.ended
    );
    assert_eq!(case.alive().len(), 1);
    clear(&case.tag);
}

#[test]
fn output_that_comes_after_a_success_is_waited_for() {
    let seen = sh("(sleep 0.3; echo late) & exit 0").run();
    assert_eq!(seen.out, b"late\n");
    assert!(
        matches!(seen.ended.end, End::Exited(0)) && seen.ended.output_complete && !seen.ended.left_running
    );
}
