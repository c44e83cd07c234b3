//! The verbs, and what each of them can be told beside goals. A verb that is documented but not there yet has
//! its types here too; [`later`](super::later) keeps it out of sight.

use super::{Build, Goals, Json, One, words};
use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build goals, or the workspace's default ones
    #[command(visible_alias = "run")]
    Build(Box<Build>),
    /// Build, and again whenever an input changes
    Watch(Box<Watch>),
    /// Start services and what they need
    Up(Services),
    /// Stop services
    Down(Services),
    /// Show services
    Ps(ServicesJson),
    /// Show what services said
    Logs(Services),
    /// List the targets
    List(List),
    /// Show all there is to know about a target
    Show(Show),
    /// Draw the graph of what depends on what
    Graph(Graph),
    /// Tell fresh from stale (exit 3)
    Status(Status),
    /// Tell why a target would run, or ran
    Why(Why),
    /// Show the output of a target's last run
    Log(One),
    /// Show a report of the last run
    Report(ReportVerb),
    /// Look for mistakes in the Iactfiles
    Check(Json),
    /// Look for what is missing on this machine
    Doctor(Json),
    /// Write a first Iactfile
    Init(Init),
    /// Make an Iactfile from a Makefile, justfile or Taskfile
    Import(Import),
    /// Look after the cache
    Cache(CacheArgs),
    /// List, fetch and check kept results
    Artifact(ArtifactArgs),
    /// Remove outputs
    Clean(Clean),
    /// Trust an Iactfile that somebody else owns
    Trust(Trust),
    /// Print the completions of a shell
    Completions(Completions),
    /// Answer the completions of a shell
    #[command(hide = true)]
    Complete(Complete),
    /// Print the JSON schema of an Iactfile
    Schema,
    /// Serve an editor
    Lsp,
    /// Print the manual page
    Man,
}

/// `iact watch`.
#[derive(Args, Debug, Default)]
pub struct Watch {
    /// What is built, and how.
    #[command(flatten)]
    pub build: Build,
    /// Let actions that a change made obsolete end by themselves
    #[arg(long)]
    pub finish: bool,
    /// Build once nothing has changed for that long [default: 2ms, longer in bursts]
    #[arg(long, value_name = "TIME", value_parser = words::parse_duration)]
    pub debounce: Option<u64>,
}

/// `iact up|down|logs|ps`.
#[derive(Args, Debug)]
pub struct Services {
    /// Services; all of them if none is named
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
}

/// `iact ps`.
#[derive(Args, Debug)]
#[allow(missing_docs, reason = "the types say it")]
pub struct ServicesJson {
    #[command(flatten)]
    pub asked: Services,
    #[command(flatten)]
    pub json: Json,
}

/// `iact list`.
#[derive(Args, Debug)]
pub struct List {
    /// By tag
    #[arg(long = "tag", value_name = "TAG")]
    pub tags: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the type says it")]
    pub json: Json,
}

/// `iact show`.
#[derive(Args, Debug)]
#[allow(missing_docs, reason = "the types say it")]
pub struct Show {
    #[command(flatten)]
    pub one: One,
    #[command(flatten)]
    pub json: Json,
}

/// `iact graph`.
#[derive(Args, Debug)]
pub struct Graph {
    /// What to write
    #[arg(long, value_enum, default_value = "dot", value_name = "FORMAT")]
    pub format: GraphFormat,
    /// What to draw; everything if nothing is named.
    #[command(flatten)]
    pub goals: Goals,
}

/// `--format` of `iact graph`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum GraphFormat {
    Dot,
    Mermaid,
    Json,
    #[value(hide = true)]
    Svg,
    #[value(hide = true)]
    Html,
}

/// `iact status`.
#[derive(Args, Debug)]
#[allow(missing_docs, reason = "the types say it")]
pub struct Status {
    #[command(flatten)]
    pub goals: Goals,
    #[command(flatten)]
    pub json: Json,
}

/// `iact why`.
#[derive(Args, Debug)]
#[allow(missing_docs, reason = "the types say it")]
pub struct Why {
    #[command(flatten)]
    pub one: One,
    /// Compare with the summary of another run
    #[arg(long, value_name = "FILE")]
    pub against: Option<PathBuf>,
    #[command(flatten)]
    pub json: Json,
}

/// `iact report`.
#[derive(Args, Debug)]
pub struct ReportVerb {
    /// Open it in the browser
    #[arg(long)]
    pub open: bool,
}

/// `iact init`.
#[derive(Args, Debug)]
pub struct Init {
    /// Replace the one that is there
    #[arg(long)]
    pub replace: bool,
}

/// `iact import`.
#[derive(Args, Debug)]
pub struct Import {
    /// What it is written for
    #[arg(value_enum, value_name = "TOOL")]
    pub from: ImportFrom,
    /// The file; the tool's usual one if none is named
    #[arg(value_name = "FILE")]
    pub input: Option<PathBuf>,
    /// Write here instead of to standard output
    #[arg(short, long, value_name = "FILE")]
    pub output_file: Option<PathBuf>,
}

/// What can be imported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum ImportFrom {
    Make,
    Just,
    Task,
}

/// `iact cache …`.
#[derive(Args, Debug)]
pub struct CacheArgs {
    /// What to do with it.
    #[command(subcommand)]
    pub verb: CacheVerb,
}

/// What can be done with the cache.
#[derive(Debug, Subcommand)]
pub enum CacheVerb {
    /// Show what takes how much room
    Du(Json),
    /// Remove what is worth least
    Gc(Gc),
    /// Check every entry (damage: exit 3)
    Verify(CacheVerify),
    /// List the entries
    Ls(Json),
    /// Forget the entries of targets
    Forget(Forget),
    /// Remove every entry
    Clear(Json),
    /// Look for what could be wrong with it
    Doctor,
}

/// `iact cache gc`.
#[derive(Args, Debug)]
pub struct Gc {
    /// At most that much stays, as in `20GiB` [default: the workspace's]
    #[arg(long, value_name = "SIZE", value_parser = words::parse_size)]
    pub max_size: Option<u64>,
    /// Nothing unused for longer stays, as in `30d` [default: the workspace's]
    #[arg(long, value_name = "AGE", value_parser = words::parse_duration)]
    pub max_age: Option<u64>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the type says it")]
    pub json: Json,
}

/// `iact cache verify`.
#[derive(Args, Debug)]
pub struct CacheVerify {
    /// How much of the data is read, as in `5%` [default: all]
    #[arg(long, value_name = "PART", num_args = 0..=1, require_equals = true, default_missing_value = "100%",
          value_parser = words::parse_percent)]
    pub read_data: Option<f64>,
    /// Put aside what is damaged, so that it is made anew
    #[arg(long)]
    pub repair: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the type says it")]
    pub json: Json,
}

/// `iact cache forget`.
#[derive(Args, Debug)]
pub struct Forget {
    /// Targets, or fingerprints as `iact cache ls` shows them
    #[arg(value_name = "TARGET", required = true)]
    pub targets: Vec<String>,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the type says it")]
    pub json: Json,
}

/// `iact artifact …`.
#[derive(Args, Debug)]
pub struct ArtifactArgs {
    /// What to do with them.
    #[command(subcommand)]
    pub verb: ArtifactVerb,
}

/// What can be done with kept results.
#[derive(Debug, Subcommand)]
#[allow(missing_docs, reason = "the types say it")]
pub enum ArtifactVerb {
    /// List the generations, newest first
    List {
        #[command(flatten)]
        one: One,
        #[command(flatten)]
        json: Json,
    },
    /// Write a generation into a folder
    Get {
        /// `TARGET` or `TARGET@N`
        target: String,
        /// Where to
        #[arg(value_name = "DIR")]
        into: PathBuf,
    },
    /// Put a generation into the workspace
    Restore {
        /// `TARGET@N`; `@1` is the newest
        target: String,
    },
    /// Check generations (damage: exit 3)
    Verify {
        /// Targets, all of them if none is named; and variables for them
        #[arg(value_name = "TARGET|NAME=VALUE", value_parser = words::parse_word)]
        words: Vec<words::Word>,
    },
    /// Keep a generation for good
    Pin {
        /// `TARGET@N`
        target: String,
    },
}

/// `iact clean`.
#[derive(Args, Debug)]
pub struct Clean {
    /// Whose outputs; everybody's if nothing is named.
    #[command(flatten)]
    pub goals: Goals,
    /// Tell what would go; remove nothing
    #[arg(short = 'n', long)]
    pub dry_run: bool,
    #[command(flatten)]
    #[allow(missing_docs, reason = "the type says it")]
    pub json: Json,
}

/// `iact trust`.
#[derive(Args, Debug)]
pub struct Trust {
    /// The Iactfile; the nearest if none is named
    #[arg(value_name = "FILE")]
    pub path: Option<PathBuf>,
}

/// `iact completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// For which shell
    #[arg(value_enum, value_name = "SHELL")]
    pub shell: Shell,
}

/// A shell with completions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[allow(missing_docs, reason = "the names say it")]
pub enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// What a completion script asks.
#[derive(Args, Debug)]
pub struct Complete {
    /// The words up to the cursor, without the program; the last one is the one to complete
    #[arg(last = true)]
    pub words: Vec<String>,
}
