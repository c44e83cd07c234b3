//! Services: started when needed and once, ready before their users run, gone with the run however it ends.

mod up;

use crate::space::{Space, left_over, mark, until};
use rustix::process::Signal;
use std::net::{TcpListener, TcpStream};

/// A service that listens on its port and says so in the trail.
const WEB: &str = r#"
[service.web]
port = "auto"
run = "echo up >> @LOG@; exec python3 -m http.server {{ port }} --bind 127.0.0.1 --directory {{ data }}"
ready = { http = "http://127.0.0.1:{{ port }}/", timeout = "20s" }
"#;

fn port(space: &Space, name: &str) -> u16 {
    std::fs::read_to_string(space.base().join(name)).unwrap().trim().parse().unwrap()
}

fn listens(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port)).is_ok()
}

#[test]
fn a_service_is_started_once_for_all_and_not_for_a_no_op() {
    let space = Space::new(&format!(
        r#"{WEB}
        [target.a]
        services = ["web"]
        inputs = ["x"]
        outputs = ["a.out"]
        run = "echo a >> @LOG@; echo {{{{ service.web.port }}}} > @BASE@/port; touch a.out"
        [target.b]
        services = ["web"]
        inputs = ["x"]
        env = {{ PORT = "{{{{ service.web.port }}}}" }}
        exec = ["sh", "-c", "echo b >> @LOG@; python3 -c \"import socket,os; socket.create_connection(('127.0.0.1', int(os.environ['PORT'])))\""]
        [target.each]
        for_each = {{ glob = "f/*", batch = 8 }}
        services = ["web"]
        run = "echo {{{{ files }}}} {{{{ service.web.port }}}} > @BASE@/batch"
        [target.all]
        deps = ["a", "b", "each"]
        "#
    ));
    for name in ["x", "f/1", "f/2"] {
        space.write(name, "1");
    }
    let first = space.build(&["all", "-j4"]);
    assert_eq!(space.trail_sorted(), ["a", "b", "up"], "{first}");
    let port = port(&space, "port");
    assert!(!listens(port), "it outlived the run");
    let batch = std::fs::read_to_string(space.base().join("batch")).unwrap();
    assert_eq!(batch.trim(), format!("f/1 f/2 {port}"));
    assert!(!space.has(".iact/services/web"), "its scratch folder is still there");
    assert!(first.output("a", "stdout").is_empty() && space.read(".iact/services/web.log").contains("GET /"));

    assert_eq!(space.build(&["all"]).kinds(), ["up_to_date"]);
    space.remove("a.out");
    assert_eq!(space.build(&["a"]).kinds(), ["cached"], "another port is no other fingerprint");
    let other = space.checkout("other");
    assert_eq!(other.build(&["all"]).kinds(), ["cached"]);
    assert!(space.trail().is_empty(), "it was started for nothing");
    let logs = space.iact(["logs", "web"]).run().expect_code(0);
    assert!(logs.out.contains("GET /"), "{logs}");
}

#[test]
fn its_definition_is_part_of_the_fingerprint_of_its_users_only() {
    let iactfile = |run: &str, timeout: &str| {
        format!(
            "[service.s]\nrun = \"{run}\"\nready = {{ log = \"go\", timeout = \"{timeout}\" }}\n\
             [target.t]\nservices = [\"s\"]\ninputs = []\nrun = \"true\"\n[target.u]\ninputs = []\nrun = \"true\"\n"
        )
    };
    let space = Space::new(&iactfile("echo go; sleep 1000", "10s"));
    space.build(&["t", "u"]);
    for (run, timeout, expected) in
        [("echo go; sleep 1000", "20s", "up_to_date"), ("echo go on; sleep 1000", "20s", "executed")]
    {
        space.iactfile(&iactfile(run, timeout));
        let run = space.build(&["t", "u"]);
        assert_eq!(
            (run.outcomes()["t"].as_str(), run.outcomes()["u"].as_str()),
            (expected, "up_to_date"),
            "{run}"
        );
    }
}

#[test]
fn what_goes_wrong_with_a_service_is_told_with_its_name_and_last_lines() {
    // (service, a part of the message)
    let cases: &[(&str, &str)] = &[
        (
            r#"run = "echo call $((6*7)); exit 3"
            ready = { log = "never" }"#,
            "ended before it was ready: exit 3",
        ),
        (
            r#"run = "echo call $((6*7)); sleep @MARK@"
            port = "auto"
            ready = { tcp = "127.0.0.1:{{ port }}", timeout = "300ms" }"#,
            "was not ready within 300ms",
        ),
        (
            r#"run = "echo call $((6*7)); sleep @MARK@"
            ready = { run = "echo no; sleep 0.01; false", timeout = "300ms", interval = "10ms" }"#,
            "its `ready` command: exit 1",
        ),
        (
            r#"run = "echo call $((6*7)); sleep @MARK@"
            ready = { run = "sleep @MARK@", timeout = "300ms" }"#,
            "was not ready within 300ms",
        ),
        (
            r#"run = "echo call $((6*7)); python3 -m http.server {{ port }} --bind 127.0.0.1"
            port = "auto"
            ready = { http = "http://127.0.0.1:{{ port }}/nowhere", timeout = "5s", interval = "2s" }"#,
            "answers 404",
        ),
        (
            r#"run = "echo call $((6*7)); kill -9 $$"
            ready = { log = "never" }"#,
            "killed by signal 9",
        ),
        (
            r#"run = "(sleep @MARK@ & echo call $((6*7)))"
            ready = { log = "never" }"#,
            "ended before it was ready: exit 0",
        ),
    ];
    for (service, message) in cases {
        let mark = mark();
        let service = service.replace("@MARK@", &mark);
        let space = Space::new(&format!(
            "[service.wobbly]\n{service}\n[target.t]\nservices = [\"wobbly\"]\nrun = \"echo t >> @LOG@\"\n"
        ));
        let run = space.try_build(&["t"]).expect_code(1);
        let left = left_over(&mark);
        let said = run.said();
        assert!(
            said.contains("`wobbly`") && said.contains("call 42") && said.contains(message),
            "{service}: {run}"
        );
        assert!(space.trail().is_empty() && left.is_empty(), "{service}: {left:?}");
    }
    let space = Space::new(
        "[service.gone]\nexec = [\"no-such-program\"]\n[target.t]\nservices = [\"gone\"]\nrun = \"true\"\n",
    );
    let run = space.try_build(&["t"]).expect_code(1);
    assert!(run.said().contains("`gone`") && run.said().contains("no-such-program"), "{run}");
}

#[test]
fn one_that_answers_a_byte_now_and_then_is_not_waited_for_beyond_its_time() {
    let space = Space::new(
        r#"
[service.drips]
port  = "auto"
ready = { http = "http://127.0.0.1:{{ port }}/", timeout = "3s" }
run   = """exec python3 -c "
import socket, time
listening = socket.create_server(('127.0.0.1', {{ port }}))
while True:
    line, _ = listening.accept()
    try:
        for _ in range(200):
            line.sendall(b'H')
            time.sleep(0.1)
    except OSError:
        pass
" """
[target.t]
services = ["drips"]
run      = "echo t >> @LOG@"
"#,
    );
    let began = std::time::Instant::now();
    let run = space.try_build(&["t"]).expect_code(1);
    assert!(run.said().contains("does not answer within a second"), "{run}");
    assert!(began.elapsed() < std::time::Duration::from_secs(15), "{run}");
    assert!(space.trail().is_empty(), "{run}");
}

#[test]
fn one_that_dies_in_the_middle_ends_its_users_and_only_those() {
    let mark = mark();
    let space = Space::new(&format!(
        r#"
        [service.s]
        run = "echo ready; while ! test -e @BASE@/die; do sleep 0.01; done; echo call $((6*7)); exit 5"
        ready = {{ log = "^ready$" }}
        [target.user]
        services = ["s"]
        inputs = []
        run = "touch @BASE@/die; sleep {mark}"
        [target.careless]
        services = ["s"]
        inputs = []
        run = "touch @BASE@/die; trap '' TERM; while test -e .iact/services/s.json; do sleep 0.01; done"
        [target.other]
        inputs = []
        run = "while ! test -e @BASE@/die; do sleep 0.01; done; sleep 0.3"
        "#
    ));
    for goal in ["user", "careless"] {
        let _ = std::fs::remove_file(space.base().join("die"));
        let run = space.try_build(&["-k", "-j2", goal, "other"]).expect_code(1);
        assert_eq!(run.outcomes()[goal], "failed", "{run}");
        let message = run.finished(goal)["message"].as_str().unwrap().to_owned();
        assert!(
            message.contains("`s` ended while it was needed: exit 5") && message.contains("call 42"),
            "{message}"
        );
        assert_ne!(run.outcomes()["other"], "failed", "{run}");
        assert!(left_over(&mark).is_empty());
        space.remove(".iact/journal");
    }
    let _ = std::fs::remove_file(space.base().join("die"));
    assert_eq!(space.try_build(&["careless"]).outcomes()["careless"], "failed", "its result was stored");
}

#[test]
fn services_that_need_each_other_start_and_end_in_order() {
    let space = Space::new(
        r#"
        [service.base]
        port = "auto"
        env = { FROM = "{{ out_of('seed') }}" }
        deps = ["seed"]
        run = "trap 'echo base ends >> @LOG@; exit' TERM; echo base $(cat $FROM) >> @LOG@; python3 -m http.server {{ port }} --bind 127.0.0.1 & while :; do sleep 0.01; done"
        [service.top]
        services = ["base"]
        run = "trap 'echo top ends >> @LOG@; exit' TERM; echo top {{ service.base.port }} >> @LOG@; echo go; while :; do sleep 0.01; done"
        ready = { log = "^go$" }
        [target.seed]
        inputs = ["in"]
        outputs = ["seed.txt"]
        run = "cp in seed.txt; echo seed >> @LOG@"
        [target.t]
        services = ["top"]
        inputs = []
        run = "echo t >> @LOG@"
        "#,
    );
    space.write("in", "corn");
    space.build(&["t"]);
    let trail = space.trail();
    let words: Vec<&str> =
        trail.iter().map(|line| line.trim_end_matches(|c: char| c.is_ascii_digit() || c == ' ')).collect();
    assert_eq!(words, ["seed", "base corn", "top", "t", "top ends", "base ends"]);
    space.write("in", "wheat");
    assert_eq!(
        space.build(&["t"]).outcomes()["t"],
        "executed",
        "what a service depends on is an input of its users"
    );
}

#[test]
fn nothing_of_a_service_outlives_the_run() {
    // (how it behaves, its `stop`)
    let services = [
        ("trap '' TERM; echo go; while :; do sleep @MARK@; done", "{ grace = \"200ms\" }"),
        ("echo go; sleep @MARK@ & sleep @MARK@ & wait", "{}"),
        ("setsid sleep @MARK@ & echo go; sleep @MARK@", "{ signal = \"SIGINT\", grace = \"300ms\" }"),
        ("echo go; sleep @MARK@", "{ signal = \"SIGKILL\" }"),
    ];
    for (run, stop) in services {
        let mark = mark();
        let space = Space::new(&format!(
            "[service.s]\nrun = \"{}\"\nready = {{ log = \"go\" }}\nstop = {stop}\n\
             [target.good]\nservices = [\"s\"]\nrun = \"true\"\n\
             [target.bad]\nservices = [\"s\"]\nrun = \"exit 7\"\n\
             [target.slow]\nservices = [\"s\"]\nrun = \"touch @BASE@/slow; sleep {mark}\"\n",
            run.replace("@MARK@", &mark)
        ));
        space.build(&["good"]);
        assert_eq!(left_over(&mark), Vec::<i32>::new(), "{run}: a success");
        assert_eq!(space.try_build(&["bad"]).code, Some(1));
        assert_eq!(left_over(&mark), Vec::<i32>::new(), "{run}: a failure");
        for signal in [Signal::INT, Signal::KILL] {
            let _ = std::fs::remove_file(space.base().join("slow"));
            let started = space.iact(["build", "slow"]).start();
            until("the action runs", || space.base().join("slow").exists());
            started.signal(signal);
            started.wait();
            // The supervisor of a killed iact takes a moment.
            let mut left = Vec::new();
            if signal == Signal::KILL {
                until("everything is gone", || processes(&mark) == 0);
            } else {
                left = left_over(&mark);
            }
            assert_eq!(left, Vec::<i32>::new(), "{run}: {signal:?}");
        }
        space.build(&["good"]);
    }
}

/// How many processes carry the mark.
fn processes(mark: &str) -> usize {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(mark)).count()
}

#[test]
fn an_interrupt_wakes_who_waits_for_a_service() {
    let mark = mark();
    let space = Space::new(&format!(
        "[service.s]\nrun = \"touch @BASE@/up; sleep {mark}\"\nready = {{ log = \"never\" }}\n\
         [target.t]\nservices = [\"s\"]\nrun = \"true\"\n"
    ));
    let started = space.iact(["build", "--json", "t"]).start();
    until("the service runs", || space.base().join("up").exists());
    started.signal(Signal::INT);
    let run = started.wait();
    assert_eq!((run.signal, run.outcomes()["t"].as_str()), (Some(2), "cancelled"), "{run}");
    assert!(run.took.as_secs() < 4 && left_over(&mark).is_empty(), "{run}");
}

#[test]
fn it_is_given_no_jobserver_whose_tokens_it_could_keep() {
    let space = Space::new(
        r#"
        [service.s]
        run = "env > @BASE@/service; echo go; sleep 1000"
        ready = { log = "go" }
        [target.t]
        services = ["s"]
        run = "env > @BASE@/action"
        "#,
    );
    space.build(&["t", "-j4"]);
    let told = |name: &str| std::fs::read_to_string(space.base().join(name)).unwrap().contains("jobserver");
    assert_eq!((told("action"), told("service")), (true, false));
}

#[test]
fn a_taken_port_is_told_and_not_mistaken_for_the_service() {
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = other.local_addr().unwrap().port();
    let space = Space::new(&format!(
        "[service.s]\nport = {port}\nrun = \"sleep 1000\"\nready = {{ tcp = \"127.0.0.1:{{{{ port }}}}\" }}\n\
         [target.t]\nservices = [\"s\"]\nrun = \"echo {{{{ service.s.port }}}} >> @LOG@\"\n"
    ));
    let run = space.try_build(&["t"]).expect_code(1);
    assert!(run.said().contains(&format!("`s` cannot start: port {port} is taken")), "{run}");
    assert!(space.trail().is_empty());
}

#[test]
fn a_scratch_folder_is_fresh_and_nobodys_files_are_removed() {
    let space = Space::new(
        r#"
        [service.fresh]
        data = "scratch"
        run = "ls -A {{ data }}; touch {{ data }}/mine; echo go; sleep 1000"
        ready = { log = "go" }
        [service.kept]
        keep_data = true
        run = "touch {{ data }}/$(ls -A {{ data }} | wc -l); echo go; sleep 1000"
        ready = { log = "go" }
        [target.t]
        services = ["fresh", "kept"]
        run = "ls {{ workspace }}/scratch >> @LOG@"
        "#,
    );
    space.build(&["t"]);
    assert!(!space.has("scratch") && space.has(".iact/services/kept/0"));
    space.build(&["t"]);
    assert_eq!(space.trail(), ["mine", "mine"]);
    assert!(!space.read(".iact/services/fresh.log").contains("mine") && space.has(".iact/services/kept/1"));
    space.write("scratch/precious", "");
    let run = space.try_build(&["t"]).expect_code(1);
    assert!(
        run.said().contains("holds files that no service made") && space.has("scratch/precious"),
        "{run}"
    );
}

#[test]
fn mistakes_about_services_are_refused_with_a_place() {
    let target = |service: &str, target: &str| {
        format!("[service.db]\n{service}\n[target.t]\nservices = [\"db\"]\n{target}\n")
    };
    let plain = "run = \"true\"";
    let cases = [
        (target(plain, "run = \"echo {{ service.db.port }}\""), "service `db` declares no `port`"),
        (target(plain, "run = \"echo {{ service.web.port }}\""), "`web` is not listed in `services` here"),
        (
            target("run = \"true\"\nport = 1", "run = \"true\"\ncheck = \"echo {{ service.db.port }}\""),
            "`check` cannot ask for a service",
        ),
        (target(plain, "deps = []"), "`services` needs `run` or `exec` beside it"),
        (target("run = \"true\"\nservices = [\"d\"]", plain), "needs service `d`, which is not defined"),
        (
            target("run = \"true\"\ndeps = [\"x\"]", plain),
            "service `db` depends on `x`, which is not defined",
        ),
        (target("run = \"true\"\ndeps = [\"t\"]", plain), "there is a cycle"),
        (target("run = \"true\"\nservices = [\"db\"]", plain), "in a circle: `db` → `db`"),
        (target("run = \"true\"\nready = { http = \"https://x\" }", plain), "does not start with `http://`"),
        (target("run = \"true\"\nready = { log = \"(\" }", plain), "`(` is not a regular expression"),
        (target("run = \"echo {{ prot }}\"\nport = 1", plain), "undefined name `prot`"),
        (
            "[target.t]\nservices = [\"bd\"]\nrun = \"true\"\n[service.db]\nrun = \"true\"\n".into(),
            "did you mean `db`?",
        ),
    ];
    for (text, message) in cases {
        let run = Space::new(&text).try_build(&["t"]).expect_code(2);
        assert!(run.err.contains(message) && run.err.contains("Iactfile.toml:"), "{text}\n{run}");
    }
}
