//! What the fuzzers begin with and have found is replayed: no input makes a parser panic, take long or forget what it promises.
#![allow(clippy::disallowed_methods, reason = "a test: reads the seeds")]

#[path = "../fuzz/inputs.rs"]
mod inputs;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

fn seeds(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)
        .expect("every target has seeds")
        .map(|entry| entry.expect("it is read").path())
        .collect();
    found.sort();
    found
}

#[test]
fn every_seed_of_every_fuzz_target_is_taken() {
    for (target, take) in inputs::TARGETS {
        let seeds = seeds(target);
        assert!(!seeds.is_empty(), "{target}");
        for seed in seeds {
            let bytes = std::fs::read(&seed).expect("a seed is read");
            let began = Instant::now();
            take(&bytes);
            assert!(began.elapsed() < Duration::from_secs(5), "{}: {:?}", seed.display(), began.elapsed());
            // Cut anywhere, and with a bit flipped anywhere, it is taken too.
            let stride = bytes.len() / 64 + 1;
            for at in (0..bytes.len()).step_by(stride) {
                take(&bytes[..at]);
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                take(&flipped);
            }
        }
    }
}

#[test]
fn every_fuzz_target_has_a_program() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz");
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).expect("fuzz/Cargo.toml");
    for (target, _) in inputs::TARGETS {
        let program = format!("fuzz_targets/{target}.rs");
        assert!(root.join(&program).is_file() && manifest.contains(&program), "{target}");
    }
}
