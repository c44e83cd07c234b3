//! `iact up` and `iact down`: services that go on between builds.

use super::{WEB, listens, port};
use crate::space::{Space, until};
use rustix::process::Signal;

#[test]
fn up_holds_services_that_builds_use_and_down_ends_them() {
    let space = Space::new(&format!(
        r#"{WEB}
        [service.dull]
        run = "sleep 1000"
        [target.t]
        services = ["web"]
        run = "echo {{{{ service.web.port }}}} > @BASE@/port"
        "#
    ));
    let ps = || {
        let run = space.iact(["ps", "--json"]).run().expect_code(0);
        serde_json::from_str::<Vec<serde_json::Value>>(&run.out).unwrap()
    };
    let state = |name: &str| {
        ps().iter().find(|row| row["service"] == name).unwrap()["state"].as_str().unwrap().to_owned()
    };
    assert_eq!(state("web"), "stopped");
    let up = space.iact(["up"]).start();
    until("both are up", || state("web") == "ready" && state("dull") == "ready");
    let web = ps()[0].clone();
    space.build(&["t"]);
    space.build(&["t"]);
    assert_eq!(
        (space.trail(), web["port"].as_u64()),
        (vec!["up".to_owned()], Some(port(&space, "port").into()))
    );
    let second = space.iact(["up"]).run().expect_code(1);
    assert!(second.err.contains("is up already"), "{second}");

    let text = std::fs::read_to_string(space.path("Iactfile.toml")).unwrap();
    space.write("Iactfile.toml", text.replace("echo up", "echo other"));
    let run = space.try_build(&["t"]).expect_code(1);
    assert!(run.said().contains("`iact down web`"), "{run}");
    space.write("Iactfile.toml", text);

    space.iact(["down", "dull"]).run().expect_code(0);
    assert_eq!((state("dull").as_str(), state("web").as_str()), ("stopped", "ready"));
    let down = space.iact(["down"]).run().expect_code(0);
    assert_eq!(down.out, "web ended\n");
    let up = up.wait().expect_code(0);
    assert!(up.err.contains("web is ready on port") && !listens(port(&space, "port")), "{up}");

    let up = space.iact(["up", "web"]).start();
    until("it is up", || state("web") == "ready");
    up.signal(Signal::INT);
    assert_eq!((up.wait().signal, state("web").as_str()), (Some(2), "stopped"));
}

#[test]
fn an_action_that_fails_after_down_is_told_why() {
    let space = Space::new(
        r#"
        [service.s]
        run = "echo go; sleep 1000"
        ready = { log = "go" }
        [target.t]
        services = ["s"]
        run = "touch @BASE@/runs; until [ -e @BASE@/fail ]; do sleep 0.02; done; false"
        "#,
    );
    let up = space.iact(["up"]).start();
    until("it is up", || up.err().contains("s is ready"));
    let build = space.iact(["build", "--json", "t"]).start();
    until("it is used", || space.base().join("runs").exists());
    space.iact(["down"]).run().expect_code(0);
    up.wait().expect_code(0);
    std::fs::write(space.base().join("fail"), "").unwrap();
    let run = build.wait().expect_code(1);
    assert!(run.said().contains("service `s` of `iact up` ended while it was needed"), "{run}");
}

#[test]
fn after_a_killed_up_a_service_is_started_when_the_old_one_is_gone() {
    let space = Space::new(
        r#"
        [service.s]
        run = "trap '' TERM; echo $$ > @BASE@/new; mv @BASE@/new @BASE@/pid; touch @BASE@/up; while :; do sleep 0.05; done"
        ready = { run = "test -e @BASE@/up", timeout = "20s" }
        [target.t]
        services = ["s"]
        run = "cat @BASE@/pid"
        "#,
    );
    // One that was killed and is not collected yet has no words any more.
    let lives = |pid: &str| {
        std::fs::read(format!("/proc/{}/cmdline", pid.trim())).is_ok_and(|words| !words.is_empty())
    };
    for verb in [&["up"][..], &["build", "t"]] {
        let up = space.iact(["up"]).start();
        until("it is up", || up.err().contains("s is ready"));
        let pid = std::fs::read_to_string(space.base().join("pid")).unwrap();
        up.signal(Signal::KILL);
        up.wait();
        assert!(lives(&pid), "it is stubborn");
        std::fs::remove_file(space.base().join("up")).unwrap();
        let next = space.iact(verb).start();
        until("the next one is up", || space.base().join("up").exists());
        assert!(!lives(&pid), "never two at once");
        if verb == ["up"] {
            next.signal(Signal::INT);
            next.wait();
        } else {
            next.wait().expect_code(0);
        }
        std::fs::remove_file(space.base().join("up")).unwrap();
    }
}

#[test]
fn down_ends_a_service_that_waits_for_another() {
    let space = Space::new(
        r#"
        [service.db]
        run = "until [ -e @BASE@/go ]; do sleep 0.02; done; echo up; sleep 1000"
        ready = { log = "up", timeout = "60s" }
        [service.app]
        services = ["db"]
        run = "touch @BASE@/app; sleep 1000"
        "#,
    );
    let up = space.iact(["up"]).start();
    until("the first is started", || space.has(".iact/services/db.json"));
    let down = space.iact(["down", "app"]).run().expect_code(0);
    assert_eq!(down.out, "app ended\n", "{down}");
    std::fs::write(space.base().join("go"), "").unwrap();
    until("the first is up", || up.err().contains("db is ready"));
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(!space.base().join("app").exists(), "it was not started any more");
    let down = space.iact(["down"]).run().expect_code(0);
    assert_eq!(down.out, "db ended\n");
    up.wait().expect_code(0);
}
