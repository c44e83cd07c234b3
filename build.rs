//! Links the program for one fixed place in memory. Otherwise the loader would have to mend seventeen thousand addresses each
//! time it starts, which takes longer than an up-to-date check of a hundred targets.
#![allow(clippy::disallowed_methods, reason = "shell: cargo tells a build script by its environment")]
#![allow(clippy::print_stdout, reason = "a build script tells cargo by printing")]

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let is = |name: &str, value: &str| std::env::var(name).is_ok_and(|set| set == value);
    if is("CARGO_CFG_TARGET_OS", "linux") && is("CARGO_CFG_TARGET_ENV", "gnu") {
        println!("cargo::rustc-link-arg-bin=iact=-no-pie");
    }
}
