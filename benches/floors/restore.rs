//! Outputs that are gone, and what the cache puts in their place.

use crate::race::{IACT, Table, cache, race, racer, remove, run};
use crate::work::targets;
use std::fs;
use std::path::Path;

pub(crate) fn small_outputs(folder: &Path, table: &mut Table) {
    targets(folder, 1_000, "");
    run(folder, &[IACT, "-q"]);
    let (out, saved) = (folder.join("out"), folder.join("saved"));
    run(folder, &["cp", "-r", "out", "saved"]);
    let words = ["cp", "-r", "saved", "out"];
    let times = race(
        5,
        &mut [
            racer(|| remove(&out), || run(folder, &words)),
            racer(|| remove(&out), || run(folder, &[IACT, "-q"])),
        ],
    );
    remove(&saved);
    table.row("restore 1,000 outputs of 1,000 targets", ("cp -r", times[0]), times[1], &[]);
}

pub(crate) fn large_tree(folder: &Path, table: &mut Table) {
    let seed = folder.with_extension("seed");
    fs::create_dir_all(folder).expect("a folder");
    for number in 0..5_000_u32 {
        let inner = seed.join(format!("{}", number / 100));
        fs::create_dir_all(&inner).expect("a folder");
        let bytes: Vec<u8> =
            (0..10_000_u32).flat_map(|at| at.wrapping_mul(number | 1).to_le_bytes()).collect();
        fs::write(inner.join(number.to_string()), bytes).expect("a file");
    }
    let seed_text = seed.display();
    let text = format!(
        "[workspace]\ndefault = [\"tree\"]\n[target.tree]\ninputs = []\noutputs = [\"tree/\"]\n\
         exec = [\"cp\", \"-r\", \"{seed_text}\", \"tree\"]\n"
    );
    fs::write(folder.join("Iactfile.toml"), text).expect("a file");
    run(folder, &[IACT, "-q"]);
    let (tree, copy) = (folder.join("tree"), folder.join("copy"));
    let seed_text = seed_text.to_string();
    let words = ["cp", "-r", &seed_text, "copy"];
    let times = race(
        5,
        &mut [
            racer(|| remove(&copy), || run(folder, &words)),
            racer(|| remove(&tree), || run(folder, &[IACT, "-q"])),
        ],
    );
    for path in [&seed, &copy, &tree, &cache(folder)] {
        remove(path);
    }
    table.row("restore a tree of 5,000 files, 200 MB", ("cp -r", times[0]), times[1], &[]);
}
