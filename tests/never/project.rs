//! The small project that is killed, cut off and crowded: files, folders, links, a program, a blob of some size, one so
//! large that its extents are shared where that is possible, a diamond.
//! Whatever fails in one of its commands fails the command.

use crate::space::{Run, Space, files, tree};
use std::path::Path;

pub(crate) const IACTFILE: &str = r#"
[target.all]
deps = ["left", "right", "large"]
[target.base]
inputs = ["in"]
outputs = ["out/base"]
run = "cp in out/base; echo said"
[target.left]
deps = ["base"]
inputs = []
outputs = ["out/left"]
run = "mkdir out/left out/left/empty; for i in 1 2 3 4 5 6; do cat out/base > out/left/$i; done; ln -s 1 out/left/link"
[target.right]
deps = ["base"]
inputs = ["in"]
outputs = ["out/right"]
run = "c=$(cat in); (echo '#!/bin/sh'; echo echo $c) > out/right; chmod +x out/right"
[target.big]
inputs = ["in"]
outputs = ["out/big"]
run = "c=$(cat in); for i in {1..1600}; do echo $c; done > out/big"
[target.large]
deps = ["big"]
inputs = []
outputs = ["out/large"]
run = "for i in {1..45}; do cat out/big; done > out/large"
"#;

/// The project with this content.
pub(crate) fn project(content: &str) -> Space {
    let space = Space::new(IACTFILE);
    space.write("in", content);
    space
}

/// Everything is what a build from scratch makes of `content`.
#[track_caller]
pub(crate) fn assert_right(space: &Space, content: &str, case: &str) {
    assert_right_at(&space.ws, content, case);
}

/// The same in any checkout.
#[track_caller]
pub(crate) fn assert_right_at(ws: &Path, content: &str, case: &str) {
    let file = |mode: &str, text: &str| format!("file {mode} {text}");
    let out = ws.join("out");
    assert_eq!(tree(&out.join("base"))[""], file("-", content), "{case}: base");
    let right = format!("#!/bin/sh\necho {}\n", content.trim_end());
    assert_eq!(tree(&out.join("right"))[""], file("x", &right), "{case}: right");
    assert_eq!(tree(&out.join("big"))[""], file("-", &content.repeat(1600)), "{case}: big");
    // Too long to be printed.
    assert!(std::fs::read(out.join("large")).unwrap() == content.repeat(72_000).as_bytes(), "{case}: large");
    let left = tree(&out.join("left"));
    assert_eq!((left["link"].as_str(), left["empty"].as_str()), ("link 1", "folder"), "{case}: left");
    for name in 1..7 {
        assert_eq!(left[&name.to_string()], file("-", content), "{case}: left/{name}");
    }
    assert_eq!(left.len(), 9, "{case}: nothing else in left");
}

/// Every entry of the cache is whole.
#[track_caller]
pub(crate) fn assert_sound(space: &Space, case: &str) {
    let run: Run = space.iact(["cache", "verify"]).run();
    assert_eq!(run.code, Some(0), "{case}: the cache holds damage: {run}");
}

/// After a build that stored and one that restored, nothing that is not complete lies about.
#[track_caller]
pub(crate) fn assert_no_litter(space: &Space, case: &str) {
    assert_eq!(litter(space), [""; 0], "{case}: litter");
}

/// What should not be there then, by path.
pub(crate) fn litter(space: &Space) -> Vec<String> {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    let mut found = Vec::new();
    for folder in [space.cache.join("tmp"), space.path(".iact/stage"), space.base().join("tmp")] {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten();
        found.extend(entries.map(|entry| text(&entry.path())));
    }
    let strays = files(&space.ws).into_iter().filter(|path| {
        let name = path.file_name().unwrap().to_string_lossy();
        name.starts_with(".iact-") || name.starts_with(".tmp")
    });
    found.extend(strays.map(|path| text(&path)));
    found
}
