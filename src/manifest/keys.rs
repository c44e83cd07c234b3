//! The one table of what an Iactfile may hold: every key, the shape of its value and a line about it. The
//! checker, the suggestions, the messages about types and the JSON Schema are all read from here, so none of
//! them can drift.
//!
//! Refused: serde's derive. It knows no place for a wrong value inside a list, stops at its own words, and
//! would need this table a second time for the schema and the suggestions.

use super::shape::{Fields, Names, Row, Rule, Shape};

const fn row(name: &'static str, shape: Shape, about: &'static str) -> Row {
    Row { name, shape, about }
}

const WORDS: Shape = Shape::List { of: &Shape::Word, least: 0 };

const ARGV: Shape = Shape::List { of: &Shape::Text, least: 1 };
const ENV_NAMES: Shape = Shape::List { of: &Shape::EnvName, least: 0 };
const NAMES: Shape = Shape::List { of: &Shape::Name(Names::Target), least: 0 };
const DEPS: Shape = Shape::List { of: &Shape::TextOr(&Shape::Word, &DEP), least: 0 };
const ONE_OR_MORE: Shape = Shape::OneOrMore(&Shape::Word);

/// The whole file.
pub(crate) static ROOT: Fields = Fields {
    id: "root",
    rows: &[
        row("iact", Shape::Version, "Version requirement on the tool, such as `>=0.1`"),
        row("workspace", Shape::Table(&WORKSPACE), "The workspace; only the root's counts"),
        row(
            "vars",
            Shape::Values(Names::Variable),
            "Text constants; NAME=VALUE on the command line overrides them",
        ),
        row("env", Shape::Values(Names::Env), "Environment of every target; part of the fingerprint"),
        row("cache", Shape::Table(&CACHE), "The local cache"),
        row("remote", Shape::Table(&REMOTE), "A shared cache"),
        row("pool", Shape::Named(Names::Target, &POOL), "Pools of limited slots"),
        row("target", Shape::Named(Names::Target, &TARGET), "Targets"),
        row("service", Shape::Named(Names::Service, &SERVICE), "Services that targets need while they run"),
    ],
    rules: &[],
};

static WORKSPACE: Fields = Fields {
    id: "workspace",
    rows: &[
        row("name", Shape::Word, "The workspace's name, for people"),
        row("default", WORDS, "Goals of a bare `iact build`"),
        row("include", WORDS, "Folders, globs allowed, with an Iactfile.toml of their own"),
        row("shell", ARGV, "Program and arguments put in front of every `run`"),
        row("gitignore", Shape::Bool, "Whether wildcard globs skip what a .gitignore names; default true"),
    ],
    rules: &[],
};

static CACHE: Fields = Fields {
    id: "cache",
    rows: &[
        row("max_size", Shape::Size, "Above this the least valuable entries go first"),
        row("max_age", Shape::Duration, "Entries not used for this long go"),
        row(
            "digest",
            Shape::Choice(&["blake3", "sha256"]),
            "Digest function; `sha256` for remotes that know nothing else",
        ),
        row(
            "durability",
            Shape::Choice(&["batch", "none"]),
            "Whether the newest entries survive a power cut",
        ),
    ],
    rules: &[],
};

static REMOTE: Fields = Fields {
    id: "remote",
    rows: &[
        row("url", Shape::Word, "Where it is: grpc, grpcs, unix, s3, gs, az, file, http or https"),
        row("instance", Shape::Word, "Instance name of the remote"),
        row("mode", Shape::Choice(&["read", "read-write"]), "Default `read`; `read-write` where CI=true"),
        row("execute", Shape::Bool, "Whether actions run remotely"),
        row("token_env", Shape::EnvName, "Variable that holds the token"),
        row("token_file", Shape::Word, "File that holds the token"),
        row("token_command", Shape::Word, "Command that prints the token"),
        row("headers", Shape::Values(Names::Free), "Headers sent with every request"),
        row("tls", Shape::Table(&TLS), "Certificates"),
        row("scope", Shape::Word, "What this writer writes; readers read `trusted` and their own"),
        row("trust", Shape::Table(&TRUST), "Whose results are believed"),
    ],
    rules: &[Rule::Needs("url"), Rule::AtMostOne(&["token_env", "token_file", "token_command"])],
};

static TLS: Fields = Fields {
    id: "tls",
    rows: &[
        row("ca", Shape::Word, "File with the authority's certificate"),
        row("cert", Shape::Word, "File with the client's certificate"),
        row("key", Shape::Word, "File with the client's key"),
    ],
    rules: &[],
};

static TRUST: Fields = Fields {
    id: "trust",
    rows: &[
        row("require_signature", Shape::Bool, "Whether results without a signature are refused"),
        row("keys", Shape::Values(Names::Free), "Public keys (ed25519, base64) by the signer's name"),
    ],
    rules: &[],
};

static POOL: Fields = Fields {
    id: "pool",
    rows: &[row("slots", Shape::Count { least: 1, most: u32::MAX }, "How many of its targets run at once")],
    rules: &[Rule::Needs("slots")],
};

/// `[target.NAME]`.
pub(crate) static TARGET: Fields = Fields {
    id: "target",
    rows: &[
        row("run", Shape::Word, "A script for the shell"),
        row("deps", DEPS, "Targets that must succeed first; their outputs are inputs"),
        row("inputs", WORDS, "Globs of source files, `!` excludes, later wins; absent means: always runs"),
        row("outputs", WORDS, "Files and folders it makes inside the workspace"),
        row("description", Shape::Text, "What it is for, for people"),
        row("aliases", NAMES, "Other names for it"),
        row("tags", WORDS, "Words to select it by (`--tag`)"),
        row("group", Shape::Word, "Heading in `iact list`"),
        row("after", WORDS, "Targets that go first if both are wanted"),
        row("keep_outputs", Shape::Bool, "Leftover outputs are not removed before it runs"),
        row("exec", ARGV, "Program and arguments, without a shell"),
        row("cwd", Shape::Word, "Folder it runs in, relative to the Iactfile"),
        row("shell", ARGV, "Overrides the workspace's shell"),
        row("vars", Shape::Values(Names::Variable), "Defaults of variables for this target"),
        row("matrix", Shape::Axes, "Lists of values by variable; one instance per combination"),
        row("for_each", Shape::TextOr(&Shape::Word, &FOR_EACH), "A glob; one action per file it matches"),
        row("env", Shape::Values(Names::Env), "Environment variables that are set; part of the fingerprint"),
        row(
            "pass_env",
            ENV_NAMES,
            "Variables taken from the caller; name and value are part of the fingerprint",
        ),
        row("untracked_env", ENV_NAMES, "Variables taken from the caller; not part of the fingerprint"),
        row("secrets", ENV_NAMES, "Secret variables from the caller or `.env`; masked, never stored"),
        row("tools", WORDS, "Programs whose content is part of the fingerprint"),
        row("probes", WORDS, "Commands whose output is part of the fingerprint"),
        row("depfile", Shape::Word, "A Makefile-style file the command writes, naming inputs for next time"),
        row("services", WORDS, "Services started if an action that needs them really runs"),
        row("cache", Shape::Bool, "`false`: never stored in or fetched from a cache"),
        row("remote", Shape::Bool, "`false`: stays on this machine"),
        row("relocatable", Shape::Bool, "`false`: the workspace's absolute path is part of the fingerprint"),
        row("valid_for", Shape::Duration, "Older than this is stale even if nothing changed"),
        row("retain", Shape::Table(&RETAIN), "Earlier results kept as generations"),
        row("check", Shape::Word, "Command that must pass before the target is called up to date"),
        row("verify", Shape::Word, "Command that must pass before the outputs are stored"),
        row(
            "exports",
            Shape::List { of: &Shape::EnvName, least: 0 },
            "Values it writes to `$IACT_EXPORTS` for dependents",
        ),
        row("timeout", Shape::Duration, "After this the whole process tree is ended"),
        row("retry", Shape::Table(&RETRY), "Runs again after a failure"),
        row("cpus", Shape::Amount, "Processors it takes of the machine's budget, or `all`"),
        row("memory", Shape::Size, "Memory it takes of the machine's budget"),
        row("pool", Shape::Name(Names::Target), "Pool it takes a slot of"),
        row("lock", Shape::Word, "One at a time across processes and checkouts"),
        row("exclusive", Shape::Bool, "Nothing else runs beside it"),
        row("when", Shape::Table(&WHEN), "Otherwise it is skipped"),
        row(
            "requires",
            Shape::List { of: &Shape::Table(&REQUIRES), least: 0 },
            "Checked before anything starts",
        ),
        row("severity", Shape::Choice(&["error", "warn", "info"]), "What a failure means for the run"),
        row("confirm", Shape::Word, "Question asked before it runs"),
        row("on_failure", WORDS, "Targets run when it failed"),
        row("finally", WORDS, "Targets run whenever it was started"),
        row("interactive", Shape::Bool, "It owns the terminal, alone"),
        row("platform", Shape::Values(Names::Free), "Properties of the machine for remote execution"),
    ],
    rules: &[
        Rule::AtMostOne(&["run", "exec"]),
        Rule::OnlyWith(OF_A_COMMAND, &["run", "exec"]),
        Rule::Apart("secrets", &["env", "pass_env", "untracked_env"]),
    ],
};

/// What a group, which runs nothing, could only ignore.
const OF_A_COMMAND: &[&str] = &[
    "inputs",
    "outputs",
    "keep_outputs",
    "cwd",
    "shell",
    "for_each",
    "env",
    "pass_env",
    "untracked_env",
    "secrets",
    "tools",
    "probes",
    "depfile",
    "services",
    "cache",
    "remote",
    "relocatable",
    "valid_for",
    "retain",
    "check",
    "verify",
    "exports",
    "timeout",
    "retry",
    "cpus",
    "memory",
    "pool",
    "lock",
    "exclusive",
    "when",
    "severity",
    "confirm",
    "interactive",
    "platform",
];

static DEP: Fields = Fields {
    id: "dependency",
    rows: &[
        row("target", Shape::Word, "Name of the target"),
        row("vars", Shape::Values(Names::Variable), "Variables given to it"),
    ],
    rules: &[Rule::Needs("target")],
};

static FOR_EACH: Fields = Fields {
    id: "for_each",
    rows: &[
        row("glob", Shape::Word, "One action per file it matches"),
        row("batch", Shape::Count { least: 1, most: u32::MAX }, "How many stale files may share one command"),
    ],
    rules: &[Rule::Needs("glob")],
};

static RETAIN: Fields = Fields {
    id: "retain",
    rows: &[
        row("age", Shape::Duration, "Younger results are kept"),
        row("last", Shape::Count { least: 1, most: u32::MAX }, "At least so many results are kept"),
    ],
    rules: &[Rule::AtLeastOne(&["age", "last"])],
};

static RETRY: Fields = Fields {
    id: "retry",
    rows: &[
        row("attempts", Shape::Count { least: 1, most: 1000 }, "How often it runs at most"),
        row("delay", Shape::Duration, "Pause before the second attempt; doubles with each; default 1s"),
        row("max_delay", Shape::Duration, "The longest pause"),
        row(
            "on_exit",
            Shape::List { of: &Shape::Count { least: 1, most: 255 }, least: 1 },
            "Exit codes worth another attempt; default: all",
        ),
    ],
    rules: &[Rule::Needs("attempts")],
};

static WHEN: Fields = Fields {
    id: "when",
    rows: &[
        row("os", ONE_OR_MORE, "One of these operating systems"),
        row("arch", ONE_OR_MORE, "One of these architectures"),
        row("exists", ONE_OR_MORE, "Paths that exist"),
        row("env", Shape::OneOrMore(&Shape::EnvName), "Variables that are set"),
    ],
    rules: &[Rule::AtLeastOne(&["os", "arch", "exists", "env"])],
};

static REQUIRES: Fields = Fields {
    id: "requirement",
    rows: &[
        row("tool", Shape::Word, "A program on PATH"),
        row("env", Shape::EnvName, "A variable that is set"),
        row("file", Shape::Word, "A file that exists"),
        row("disk", Shape::Size, "Free space on the workspace's disk"),
        row("memory", Shape::Size, "Memory in the machine"),
        row("version", Shape::Word, "Version requirement on the program, such as `>=2.3`"),
        row("hint", Shape::Text, "What helps if it is missing"),
        row("optional", Shape::Bool, "Without it the target is skipped; the run is not refused"),
    ],
    rules: &[
        Rule::ExactlyOne(&["tool", "env", "file", "disk", "memory"]),
        Rule::OnlyWith(&["version"], &["tool"]),
    ],
};

/// `[service.NAME]`.
static SERVICE: Fields = Fields {
    id: "service",
    rows: &[
        row("run", Shape::Word, "A script for the shell"),
        row("exec", ARGV, "Program and arguments, without a shell"),
        row("cwd", Shape::Word, "Folder it runs in, relative to the Iactfile"),
        row("env", Shape::Values(Names::Env), "Environment variables that are set"),
        row("secrets", ENV_NAMES, "Secret variables from the caller or `.env`; masked"),
        row("deps", DEPS, "Targets built before it starts"),
        row("services", WORDS, "Other services it needs"),
        row("port", Shape::Port, "Where it listens; `auto` takes a free port"),
        row("ready", Shape::Table(&READY), "When it counts as ready"),
        row("stop", Shape::Table(&STOP), "How it is ended"),
        row("data", Shape::Word, "A scratch folder made fresh for each start"),
        row("keep_data", Shape::Bool, "The scratch folder stays"),
    ],
    rules: &[Rule::ExactlyOne(&["run", "exec"]), Rule::Apart("secrets", &["env"])],
};

static READY: Fields = Fields {
    id: "ready",
    rows: &[
        row("tcp", Shape::Word, "`host:port` accepts a connection"),
        row("http", Shape::Word, "A URL answers with 2xx"),
        row("run", Shape::Word, "A command succeeds"),
        row("log", Shape::Word, "A line of its output matches this regular expression"),
        row("interval", Shape::Duration, "How often it is tried"),
        row("timeout", Shape::Duration, "How long it may take"),
    ],
    rules: &[Rule::ExactlyOne(&["tcp", "http", "run", "log"])],
};

static STOP: Fields = Fields {
    id: "stop",
    rows: &[
        row(
            "signal",
            Shape::Choice(&["SIGTERM", "SIGINT", "SIGQUIT", "SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2"]),
            "Signal that asks it to end",
        ),
        row("grace", Shape::Duration, "How long it may take to end"),
    ],
    rules: &[],
};

/// What other tools call a key, and what it is called here.
pub(crate) const ELSEWHERE: &[(&str, &str)] = &[
    ("args", "exec"),
    ("cmd", "run"),
    ("cmds", "run"),
    ("command", "run"),
    ("commands", "run"),
    ("script", "run"),
    ("depends", "deps"),
    ("depends_on", "deps"),
    ("dependencies", "deps"),
    ("needs", "deps"),
    ("dependsOn", "deps"),
    ("srcs", "inputs"),
    ("src", "inputs"),
    ("sources", "inputs"),
    ("generates", "outputs"),
    ("outs", "outputs"),
    ("out", "outputs"),
    ("produces", "outputs"),
    ("artifacts", "outputs"),
    ("desc", "description"),
    ("help", "description"),
    ("environment", "env"),
    ("passEnv", "pass_env"),
    ("pass_through_env", "untracked_env"),
    ("dir", "cwd"),
    ("workdir", "cwd"),
    ("working_dir", "cwd"),
    ("variables", "vars"),
    ("labels", "tags"),
    ("foreach", "for_each"),
    ("tasks", "target"),
    ("task", "target"),
    ("targets", "target"),
    ("services", "service"),
    ("pools", "pool"),
    ("retries", "retry"),
    ("if", "when"),
    ("includes", "include"),
];
#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_has_what_needs_no_command() {
        let keys = TARGET.rows.iter().map(|row| row.name);
        let of_a_group: Vec<&str> = keys.filter(|key| !OF_A_COMMAND.contains(key)).collect();
        let expected = [
            "run",
            "deps",
            "description",
            "aliases",
            "tags",
            "group",
            "after",
            "exec",
            "vars",
            "matrix",
            "requires",
            "on_failure",
            "finally",
        ];
        assert_eq!(of_a_group, expected);
        assert!(OF_A_COMMAND.iter().all(|key| TARGET.row(key).is_some()));
    }

    #[test]
    fn what_others_call_it_is_not_a_key_where_it_is_suggested() {
        for (theirs, ours) in ELSEWHERE {
            for fields in [&ROOT, &WORKSPACE, &TARGET, &SERVICE] {
                assert!(
                    fields.row(ours).is_none() || fields.row(theirs).is_none() || *theirs == "services",
                    "{theirs}"
                );
            }
        }
    }
}
