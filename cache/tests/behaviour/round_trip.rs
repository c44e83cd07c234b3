//! Outputs survive the way into a store and back: bytes, permissions, links, empty folders, odd names.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use iact_cache::Restored;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::{Space, hit};

/// What is in a folder: path to a description of what is there.
pub(crate) fn snapshot(folder: &Path) -> BTreeMap<Vec<u8>, String> {
    fn walk(folder: &Path, prefix: &[u8], into: &mut BTreeMap<Vec<u8>, String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let entry = entry.unwrap();
            let path = [prefix, entry.file_name().as_bytes()].concat();
            if path == b".iact" {
                continue;
            }
            let meta = fs::symlink_metadata(entry.path()).unwrap();
            let what = if meta.is_symlink() {
                format!("link {:?}", fs::read_link(entry.path()).unwrap())
            } else if meta.is_dir() {
                walk(&entry.path(), &[&path, b"/".as_slice()].concat(), into);
                "folder".to_owned()
            } else {
                assert_eq!(meta.nlink(), 1);
                assert_eq!(meta.mode() & 0o200, 0o200, "writable");
                format!("file {:o} {:?}", meta.mode() & 0o111, fs::read(entry.path()).unwrap())
            };
            into.insert(path, what);
        }
    }
    let mut into = BTreeMap::new();
    walk(folder, b"", &mut into);
    into
}

#[derive(Clone, Debug)]
enum Item {
    File { bytes: Vec<u8>, executable: bool },
    Link(Vec<u8>),
    Folder,
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(vec!["a", "b", "c.txt", "bin", "a.b", "A", "ä", "-rf", "\n", " "])
            .prop_map(|name| name.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..20),
        1 => Just(vec![b'x'; 255]),
    ]
    .prop_filter("a normal name", |name| {
        name != b"." && name != b".." && !name.iter().any(|b| matches!(b, 0 | b'/'))
    })
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        4 => (prop::collection::vec(any::<u8>(), 0..40), any::<bool>())
            .prop_map(|(bytes, executable)| Item::File { bytes, executable }),
        1 => (any::<u8>(), 100_000..400_000_usize, any::<bool>())
            .prop_map(|(byte, size, executable)| Item::File { bytes: vec![byte; size], executable }),
        2 => prop::sample::select(vec!["a", "../b", "/etc/passwd", "nowhere", "."]).prop_map(|t| Item::Link(t.into())),
        2 => Just(Item::Folder),
    ]
}

type Items = Vec<(Vec<Vec<u8>>, Item)>;

fn items() -> impl Strategy<Value = Items> {
    prop::collection::vec((prop::collection::vec(name(), 1..5), item()), 0..25)
}

/// Makes what it can: an item that collides with an earlier one is left out.
fn make(root: &Path, items: &Items) {
    fs::create_dir_all(root).unwrap();
    for (names, item) in items {
        let path =
            root.join(names.iter().map(|name| OsStr::from_bytes(name)).collect::<std::path::PathBuf>());
        let parent = path.parent().unwrap();
        let through_link = parent.ancestors().take_while(|a| *a != root).any(Path::is_symlink);
        if through_link || fs::create_dir_all(parent).is_err() || fs::symlink_metadata(&path).is_ok() {
            continue;
        }
        match item {
            Item::File { bytes, executable } => {
                fs::write(&path, bytes).unwrap();
                let mode = if *executable { 0o755 } else { 0o644 };
                fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            }
            Item::Link(target) => symlink(OsStr::from_bytes(target), &path).unwrap(),
            Item::Folder => fs::create_dir(&path).unwrap(),
        }
    }
}

#[test]
fn any_tree_comes_back_exactly_over_any_other() {
    let mut runner = TestRunner::new(Config { cases: 60, ..Config::default() });
    let run = |(wanted, other): (Items, Items)| {
        let space = Space::new();
        let (store, root) = (space.store(), &space.root);
        make(&root.join("out/deep"), &wanted);
        space.write("single", "s");
        let (_, collected) = space.keep(&store, "an action", &["out/deep", "single"]);
        let result = hit(&store, "an action").unwrap();
        let before = snapshot(root);
        let restore = || space.restore(&store, &result).unwrap();

        assert_eq!(restore(), Restored { files: collected.files, installed: 0 });

        fs::remove_dir_all(root.join("out")).unwrap();
        let restored = restore();
        assert_eq!(snapshot(root), before);
        assert_eq!(restore(), Restored { installed: 0, ..restored }, "the facts told are those found later");

        fs::remove_dir_all(root.join("out/deep")).unwrap();
        fs::remove_file(root.join("single")).unwrap();
        make(&root.join("out/deep"), &other);
        fs::create_dir_all(root.join("single/folder/in the way")).unwrap();
        let restored = restore();
        assert_eq!(snapshot(root), before);
        assert_eq!(restore(), Restored { installed: 0, ..restored });
        assert_eq!(
            fs::read_dir(root.join(".iact/stage")).unwrap().count(),
            0,
            "nothing is left in the stage"
        );
        Ok(())
    };
    runner.run(&(items(), items()), run).unwrap();
}
