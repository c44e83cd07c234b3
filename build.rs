//! Links the program so that it starts at once, which for an up-to-date build of a hundred targets is half of the time: for one
//! fixed place in memory, or the loader would mend seventeen thousand addresses at each start; and with the C library inside,
//! or it would look for three libraries and for a hundred and seventy names in them.
//!
//! `-C target-feature=+crt-static` says the second in one word, but whoever builds for the machine he is at cannot say it: it would
//! hold for procedural macros, too, which have to be shared libraries. So the shared libraries that rustc names are shadowed
//! by linker scripts that name the archives beside them, as the C library itself does with its `libc.so`. Where the archives
//! are not installed the program is linked as usual, and where somebody asks for `crt-static` rustc does all of it.
#![allow(clippy::disallowed_methods, reason = "shell: cargo tells a build script by its environment")]
#![allow(clippy::print_stdout, reason = "a build script tells cargo by printing")]

use std::path::Path;
use std::process::Command;

/// What rustc links from the C toolchain, and the archives with the same in them.
const SHADOWED: [(&str, &[&str]); 7] = [
    ("gcc_s", &["libgcc_eh.a", "libgcc.a", "libc.a"]),
    ("util", &["libutil.a"]),
    ("rt", &["librt.a"]),
    ("pthread", &["libpthread.a"]),
    ("m", &["libm.a"]),
    ("dl", &["libdl.a"]),
    ("c", &["libc.a"]),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let has = |name: &str, value: &str| {
        std::env::var(name).is_ok_and(|set| set.split(',').any(|part| part == value))
    };
    if !has("CARGO_CFG_TARGET_OS", "linux")
        || !has("CARGO_CFG_TARGET_ENV", "gnu")
        || has("CARGO_CFG_TARGET_FEATURE", "crt-static")
    {
        return;
    }
    link_arg("-no-pie");
    let out = std::env::var("OUT_DIR").expect("cargo says where a build script may write");
    let archives = SHADOWED.iter().flat_map(|(_, archives)| *archives);
    if archives.into_iter().all(|archive| is_installed(archive)) {
        for (name, archives) in SHADOWED {
            let script = format!("GROUP({})\n", archives.join(" "));
            std::fs::write(Path::new(&out).join(format!("lib{name}.so")), script)
                .expect("a build script may write there");
        }
        link_arg(&format!("-L{out}"));
        link_arg("-static");
    }
}

fn link_arg(argument: &str) {
    println!("cargo::rustc-link-arg-bin=iact={argument}");
}

/// Whether the linker would find it: a compiler driver says a whole path then, and otherwise the name.
fn is_installed(archive: &str) -> bool {
    let linker = std::env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    let asked = Command::new(linker).arg(format!("-print-file-name={archive}")).output();
    asked.is_ok_and(|answer| Path::new(String::from_utf8_lossy(&answer.stdout).trim()).is_absolute())
}
