//! The same targets for iact, make and ninja.

use crate::race::is_installed;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// The same targets for iact, make and ninja: ten layers, each target with three sources of 512 bytes, one output, and two outputs of
/// the layer before as inputs. `keys` are more lines for each target of iact's.
pub(crate) fn targets(folder: &Path, count: usize, keys: &str) {
    fs::create_dir_all(folder.join("src")).expect("a folder");
    fs::create_dir_all(folder.join("out")).expect("a folder");
    let layer = (count / 10).max(1);
    let mut iact = String::from("[workspace]\ndefault = [\"all\"]\n[target.all]\ndeps = [");
    let mut make = String::from("all:");
    let mut ninja = String::from("rule copy\n command = cp $src $out\n");
    for number in 0..count {
        let _ = write!(iact, "\"t{number}\", ");
        let _ = write!(make, " out/{number}");
    }
    iact.push_str("]\n");
    make.push('\n');
    for number in 0..count {
        let sources = ['a', 'b', 'c'].map(|letter| format!("src/{number}{letter}"));
        for source in &sources {
            let text = format!("{source}\n").repeat(512);
            fs::write(folder.join(source), &text[..512]).expect("a file");
        }
        let before =
            if number < layer { vec![] } else { vec![number - layer, (number - layer) / layer * layer] };
        let deps: String = before.iter().map(|on| format!("\"t{on}\", ")).collect();
        let outs: String = before.iter().map(|on| format!(" out/{on}")).collect();
        let [a, b, c] = &sources;
        let _ = write!(
            iact,
            "[target.t{number}]\ndeps = [{deps}]\ninputs = [\"{a}\", \"{b}\", \"{c}\"]\noutputs = [\"out/{number}\"]\n{keys}\
             exec = [\"cp\", \"{a}\", \"out/{number}\"]\n"
        );
        let _ = write!(make, "out/{number}: {a} {b} {c}{outs}\n\t@cp {a} out/{number}\n");
        let _ = write!(ninja, "build out/{number}: copy {a} {b} {c}{outs}\n src = {a}\n");
    }
    fs::write(folder.join("Iactfile.toml"), iact).expect("a file");
    fs::write(folder.join("Makefile"), make).expect("a file");
    fs::write(folder.join("build.ninja"), ninja).expect("a file");
}

/// All files of `count` targets: sources and outputs.
pub(crate) fn files(folder: &Path, count: usize) -> Vec<PathBuf> {
    let of = |number| {
        let sources = ['a', 'b', 'c'].map(|letter| folder.join(format!("src/{number}{letter}")));
        sources.into_iter().chain([folder.join(format!("out/{number}"))])
    };
    (0..count).flat_map(of).collect()
}

/// The other tools that are here, with the words of a whole build on two jobs.
pub(crate) fn others() -> Vec<(&'static str, &'static [&'static str])> {
    let all: [(&str, &[&str]); 2] =
        [("make", &["make", "-rR", "-s", "-j2"]), ("ninja", &["ninja", "--quiet", "-j2"])];
    all.into_iter().filter(|(name, _)| is_installed(name)).collect()
}
