//! A made-up project as plain values, and what building it from scratch must come to.
//!
//! Every command is `mix.sh`, whose output is a function of its arguments, of one environment variable, of the files its
//! pattern matches, of the headers these include, and of its dependencies' outputs. [`World::expect`] computes the same without running anything.

use crate::dice::Dice;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A file or a link among the sources.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Source {
    File { text: String, executable: bool },
    Link(String),
}

/// What a target makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A file.
    File,
    /// A folder with files, a link, a program, an empty folder, and a file whose name depends on the inputs.
    Folder,
    /// Nothing but the result itself.
    Lint,
    /// A file for each of two values.
    Matrix,
    /// A file for each source file of one folder.
    Each,
    /// A file that is in no cache.
    Uncached,
    /// Nothing, and every time.
    Always,
    /// A file among the sources.
    Inside,
    /// A file, with the headers that the lines it reads ask for; only its depfile names them.
    Discovers,
}

const KINDS: [Kind; 14] = [
    Kind::File,
    Kind::File,
    Kind::File,
    Kind::Folder,
    Kind::Folder,
    Kind::Lint,
    Kind::Matrix,
    Kind::Each,
    Kind::Each,
    Kind::Uncached,
    Kind::Always,
    Kind::Inside,
    Kind::Discovers,
    Kind::Discovers,
];

/// Pattern of the Iactfile, and the same for the shell.
const PATTERNS: [(&str, &str); 6] = [
    ("src/d0/*", "src/d0/*"),
    ("src/d1/*", "src/d1/*"),
    ("src/d2", "src/d2/*"),
    ("src/**", "src/* src/*/*"),
    ("src/*/a*", "src/*/a*"),
    ("src/keep", "src/keep"),
];

const EXCLUDED: [&str; 4] = ["-", "-", "src/d1/b*", "src/*/c*"];

/// A target of the project; its name is `t` and its place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) kind: Kind,
    pub(super) salt: usize,
    pattern: usize,
    excluded: usize,
    /// Lines that begin with `#` make no difference.
    strips: bool,
    passes_env: bool,
    pub(super) fails: bool,
    deps: Vec<usize>,
}

/// The project.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) sources: BTreeMap<String, Source>,
    pub(super) targets: Vec<Target>,
    pub(super) env: Option<String>,
}

/// What one instance must come to.
#[derive(Clone, Debug)]
pub(super) struct Expected {
    pub(super) name: String,
    pub(super) target: usize,
    /// Everything that may decide about the result.
    pub(super) key: String,
    /// Its output: where, and what stands there in the form of [`crate::space::tree`].
    pub(super) output: Option<(String, BTreeMap<String, String>)>,
    /// Names of instances it depends on.
    pub(super) deps: Vec<String>,
}

impl Target {
    pub(super) fn random(dice: &mut Dice, place: usize) -> Self {
        let mut deps: Vec<usize> = (0..place).filter(|_| dice.one_in(3)).collect();
        deps.truncate(3);
        let kind = *dice.pick(&KINDS);
        let pattern = dice.below(PATTERNS.len());
        Self {
            kind,
            salt: dice.below(3),
            // An output among its own inputs is refused.
            pattern: if kind == Kind::Inside && PATTERNS[pattern].0 == "src/**" { 0 } else { pattern },
            excluded: dice.below(EXCLUDED.len()),
            strips: dice.one_in(2),
            passes_env: dice.one_in(4),
            fails: false,
            deps,
        }
    }

    fn values(&self) -> &'static [&'static str] {
        if self.kind == Kind::Matrix { &["a", "b"] } else { &[""] }
    }
}

fn output_path(place: usize, kind: Kind, part: &str) -> Option<String> {
    Some(match kind {
        Kind::File | Kind::Uncached | Kind::Discovers => format!("out/t{place}.file"),
        Kind::Folder => format!("out/t{place}.dir"),
        Kind::Matrix => format!("out/t{place}.{part}"),
        Kind::Each => format!("out/t{place}.each/{part}"),
        Kind::Inside => format!("src/d3/gen-t{place}"),
        Kind::Lint | Kind::Always => return None,
    })
}

/// The script of every target.
pub(super) const MIX: &str = r##"#!/bin/sh
# mix.sh TRAIL NAME KIND OUT SALT STRIPS PATTERNS EXCLUDED DEPENDENCY…
set -eu
trail=$1 name=$2 kind=$3 out=$4 salt=$5 strips=$6 patterns=$7 excluded=$8
shift 8
echo "$name" >> "$trail"
into=$out count=0
case $kind in
  folder) mkdir "$out" "$out/empty"; into=$out/list ;;
  nothing) into=/dev/null ;;
  discovers) printf 'x:' > "dep/$name.d" ;;
esac
{
  echo "$name $salt ${E-unset}"
  for f in $patterns; do
    case $f in */gen-*|$excluded) continue ;; esac
    if [ -L "$f" ]; then echo "link $f $(readlink "$f")"; count=$((count + 1)); fi
    [ -f "$f" ] || continue
    [ -L "$f" ] || count=$((count + 1))
    if [ -x "$f" ]; then echo "program $f"; else echo "file $f"; fi
    set -- "$@" "$f"
  done
  if [ $kind = discovers ]; then
    for n in 0 1 2 3; do
      grep -q "$n\$" "$@" /dev/null || continue
      case $n in 0) h=inc/h0 ;; 1) h=./src/../inc/h1 ;; 2) h=$PWD/inc/h2 ;; 3) h=src/d0/../../inc/h3 ;; esac
      if [ -x "$h" ]; then echo "program $n"; fi
      cat "$h"
      printf ' %s' "$h" >> "dep/$name.d"
    done
  fi
  if [ $# -gt 0 ]; then
    if [ "$strips" = yes ]; then grep -hv '^#' "$@" || true; else cat "$@"; fi
  fi
} > "$into"
if [ "$kind" = folder ]; then
  ln -s list "$out/link"
  echo "run $salt" > "$out/run"
  chmod 755 "$out/run"
  echo many > "$out/n$count"
fi
case $salt in *fails) exit 3 ;; esac
"##;

impl World {
    pub(super) fn random(dice: &mut Dice) -> Self {
        let mut world = Self { sources: BTreeMap::new(), targets: Vec::new(), env: None };
        world.sources.insert("src/keep".into(), file(dice));
        for folder in ["d0", "d1", "d2", "d3"] {
            for name in ["a1", "b1", "c1"] {
                world.sources.insert(format!("src/{folder}/{name}"), file(dice));
            }
        }
        for header in 0..4 {
            world.sources.insert(format!("inc/h{header}"), file(dice));
        }
        world.sources.insert("src/d1/a9".into(), Source::Link("b1".into()));
        world.sources.insert("src/d2/b9".into(), Source::Link("nowhere".into()));
        let count = 6 + dice.below(8);
        for place in 0..count {
            world.targets.push(Target::random(dice, place));
        }
        world
    }

    pub(super) fn iactfile(&self, base: &str) -> String {
        let mut text = String::new();
        for (place, target) in self.targets.iter().enumerate() {
            let (pattern, _) = PATTERNS[target.pattern];
            writeln!(text, "[target.t{place}]").unwrap();
            let deps: Vec<String> = target.deps.iter().map(|dep| format!("t{dep}")).collect();
            writeln!(text, "deps = {deps:?}").unwrap();
            let excluded = EXCLUDED[target.excluded];
            let (mut part, mut name) = ("", format!("t{place}"));
            match target.kind {
                Kind::Always => {}
                Kind::Each => {
                    writeln!(text, "for_each = \"src/d0/*\"").unwrap();
                    (part, name) = ("{{ file.stem }}", format!("t{place}[{{{{ file }}}}]"));
                }
                _ if excluded == "-" => writeln!(text, "inputs = [{pattern:?}]").unwrap(),
                _ => writeln!(text, "inputs = [{pattern:?}, \"!{excluded}\"]").unwrap(),
            }
            if target.kind == Kind::Matrix {
                writeln!(text, "matrix = {{ v = [\"a\", \"b\"] }}").unwrap();
                (part, name) = ("{{ v }}", format!("t{place}[v={{{{ v }}}}]"));
            }
            if target.kind == Kind::Discovers {
                writeln!(text, "depfile = \"dep/t{place}.d\"").unwrap();
            }
            if target.kind == Kind::Uncached {
                writeln!(text, "cache = false").unwrap();
            }
            if target.passes_env {
                writeln!(text, "pass_env = [\"E\"]").unwrap();
            }
            let output = output_path(place, target.kind, part);
            if let Some(output) = &output {
                writeln!(text, "outputs = [{output:?}]").unwrap();
            }
            let patterns = if target.kind == Kind::Each { "{{ file }}" } else { PATTERNS[target.pattern].1 };
            let mut argv = vec!["sh".to_owned(), format!("{base}/mix.sh"), format!("{base}/trail"), name];
            argv.extend(self.arguments(target, output.as_deref(), patterns));
            argv.extend(self.dependency_files(target));
            writeln!(text, "exec = {argv:?}").unwrap();
        }
        text
    }

    fn arguments(&self, target: &Target, output: Option<&str>, patterns: &str) -> Vec<String> {
        let kind = match target.kind {
            Kind::Folder => "folder",
            Kind::Lint | Kind::Always => "nothing",
            Kind::Discovers => "discovers",
            _ => "file",
        };
        let strips = if target.strips { "yes" } else { "no" };
        let excluded = if target.kind == Kind::Each { "-" } else { EXCLUDED[target.excluded] };
        [kind, output.unwrap_or("-"), &salt(target), strips, patterns, excluded].map(str::to_owned).to_vec()
    }

    /// What of its dependencies' outputs a command reads.
    fn dependency_files(&self, target: &Target) -> Vec<String> {
        let mut files = Vec::new();
        for &dep in &target.deps {
            let kind = self.targets[dep].kind;
            let outputs = self.parts(dep).into_iter().filter_map(|part| output_path(dep, kind, &part));
            files.extend(outputs.map(|path| if kind == Kind::Folder { path + "/list" } else { path }));
        }
        files
    }

    /// What tells the instances of a target apart.
    fn parts(&self, place: usize) -> Vec<String> {
        match self.targets[place].kind {
            Kind::Each => self.matching("src/d0/*").into_iter().map(|path| path[7..].to_owned()).collect(),
            _ => self.targets[place].values().iter().map(|&value| value.to_owned()).collect(),
        }
    }

    /// Sources that a list of shell patterns matches, in the shell's order.
    fn matching(&self, patterns: &str) -> Vec<&String> {
        let one = |pattern: &str, path: &str| match pattern {
            "src/*" => path.matches('/').count() == 1,
            "src/*/*" => path.matches('/').count() == 2,
            "src/*/a*" => path.matches('/').count() == 2 && path[6..].starts_with("/a"),
            "src/*/c*" => path.matches('/').count() == 2 && path[6..].starts_with("/c"),
            _ => pattern.strip_suffix('*').map_or(path == pattern, |start| path.starts_with(start)),
        };
        patterns
            .split(' ')
            .flat_map(|pattern| {
                self.sources.keys().filter(move |path| path.starts_with("src/") && one(pattern, path))
            })
            .collect()
    }

    /// Where reading a source ends: a file's text and executable bit.
    fn through(&self, path: &str) -> Option<(&str, bool)> {
        match self.sources.get(path)? {
            Source::File { text, executable } => Some((text, *executable)),
            Source::Link(to) => {
                let folder = &path[..path.rfind('/')?];
                match self.sources.get(&format!("{folder}/{to}"))? {
                    Source::File { text, executable } => Some((text, *executable)),
                    Source::Link(_) => None,
                }
            }
        }
    }

    /// What a build from scratch comes to, dependencies first.
    pub(super) fn expect(&self) -> Vec<Expected> {
        let mut all: Vec<Expected> = Vec::new();
        for place in 0..self.targets.len() {
            for part in self.parts(place) {
                let expected = self.instance(place, &part, &all);
                all.push(expected);
            }
        }
        all
    }

    fn instance(&self, place: usize, part: &str, before: &[Expected]) -> Expected {
        let target = &self.targets[place];
        let (name, patterns) = match target.kind {
            Kind::Matrix => (format!("t{place}[v={part}]"), PATTERNS[target.pattern].1.to_owned()),
            Kind::Each => (format!("t{place}[src/d0/{part}]"), format!("src/d0/{part}")),
            _ => (format!("t{place}"), PATTERNS[target.pattern].1.to_owned()),
        };
        let output = output_path(place, target.kind, part);
        let arguments = self.arguments(target, output.as_deref(), &patterns);
        let passed = target.passes_env.then_some(self.env.as_deref());
        let env = passed.flatten();
        let excluded: Vec<&String> = match arguments[5].as_str() {
            "-" => Vec::new(),
            excluded => self.matching(excluded),
        };
        let inputs: Vec<&String> =
            self.matching(&patterns).into_iter().filter(|path| !excluded.contains(path)).collect();

        let dependencies: Vec<&Expected> =
            before.iter().filter(|expected| target.deps.contains(&expected.target)).collect();
        let mut contents = String::new();
        for &dep in &target.deps {
            for made in dependencies.iter().filter(|expected| expected.target == dep) {
                let Some((_, tree)) = &made.output else { continue };
                let file = tree.get("list").unwrap_or_else(|| &tree[""]);
                contents.push_str(&file["file - ".len()..]);
            }
        }
        let mut key = format!("{name} {arguments:?} {:?} {passed:?}", self.dependency_files(target));
        let mut list = format!("{name} {} {}\n", salt(target), env.unwrap_or("unset"));
        for &path in &inputs {
            let source = &self.sources[path];
            if let Source::Link(to) = source {
                writeln!(list, "link {path} {to}").unwrap();
            }
            let through = self.through(path);
            write!(key, "\n{path} {source:?} {through:?}").unwrap();
            if let Some((text, executable)) = through {
                writeln!(list, "{} {path}", if executable { "program" } else { "file" }).unwrap();
                contents.push_str(text);
            }
        }
        // One that makes nothing only comes before.
        for dependency in dependencies.iter().filter(|dependency| dependency.output.is_some()) {
            write!(key, "\n{} {:?}", dependency.name, dependency.output).unwrap();
        }
        if target.kind == Kind::Discovers {
            for number in 0..4 {
                if contents.lines().any(|line| line.ends_with(char::from(b'0' + number))) {
                    let header = &self.sources[&format!("inc/h{number}")];
                    let Source::File { text, executable } = header else { unreachable!() };
                    write!(key, "\nheader {number} {header:?}").unwrap();
                    if *executable {
                        writeln!(list, "program {number}").unwrap();
                    }
                    list.push_str(text);
                }
            }
        }
        let kept = |line: &&str| !target.strips || !line.starts_with('#');
        list.extend(contents.split_inclusive('\n').filter(kept));
        let deps = dependencies.into_iter().map(|dependency| dependency.name.clone()).collect();
        let output = output.map(|path| (path, output_tree(target, &list, inputs.len())));
        Expected { name, target: place, key, output, deps }
    }
}

fn salt(target: &Target) -> String {
    format!("{}{}", target.salt, if target.fails { "fails" } else { "" })
}

fn output_tree(target: &Target, list: &str, inputs: usize) -> BTreeMap<String, String> {
    let list = format!("file - {list}");
    if target.kind != Kind::Folder {
        return [(String::new(), list)].into();
    }
    [
        (String::new(), "folder".to_owned()),
        ("empty".to_owned(), "folder".to_owned()),
        ("link".to_owned(), "link list".to_owned()),
        ("list".to_owned(), list),
        ("run".to_owned(), format!("file x run {}\n", salt(target))),
        (format!("n{inputs}"), "file - many\n".to_owned()),
    ]
    .into()
}

/// A file with some lines, comments among them.
pub(super) fn file(dice: &mut Dice) -> Source {
    Source::File { text: text(dice), executable: dice.one_in(5) }
}

pub(super) fn text(dice: &mut Dice) -> String {
    let mut text = String::new();
    for _ in 0..1 + dice.below(3) {
        let number = dice.below(10_000);
        writeln!(text, "{}{number:04}", if dice.one_in(3) { "# " } else { "" }).unwrap();
    }
    text
}
