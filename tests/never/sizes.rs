//! How often a harness tries, from which seed, and what it tells when it is through.
//!
//! `IACT_TRY_<NAME>` sets the number of tries, `IACT_TRY_SEED` the seed (else one of the clock, printed with a failure), and
//! `IACT_TRY_REPORT` a file that gets a line for every harness that held.

use std::io::Write;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// A harness on its way.
pub(crate) struct Tries {
    name: &'static str,
    pub(crate) count: usize,
    pub(crate) seed: u64,
    began: Instant,
    pub(crate) done: usize,
}

/// How many tries `name` has, `normal` for every commit.
pub(crate) fn tries(name: &'static str, normal: usize) -> Tries {
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse::<u64>().unwrap());
    let clock = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64 % 1_000_000;
    let count = number(&format!("IACT_TRY_{}", name.to_uppercase())).map_or(normal, |count| count as usize);
    let seed = number("IACT_TRY_SEED").unwrap_or_else(clock);
    eprintln!("{name}: {count} tries, seed {seed}");
    Tries { name, count, seed, began: Instant::now(), done: 0 }
}

impl Tries {
    /// It held: everything was as promised.
    pub(crate) fn held(&self) {
        let Some(path) = std::env::var_os("IACT_TRY_REPORT") else { return };
        let seconds = self.began.elapsed().as_secs();
        let mut file = std::fs::File::options().append(true).create(true).open(path).unwrap();
        writeln!(file, "{}\t{}\tseed {}\t{} s\theld", self.name, self.done, self.seed, seconds).unwrap();
    }
}
