//! What each fuzz target does with one input: the fuzzer's programs and the replay of the corpora in the tests share it.
//!
//! Invariant: a function here comes back for any bytes, and what it panics about is a broken promise. Files with checksums
//! get a right one first where the first byte says so: else nothing behind a checksum would ever be reached.

use iact::engine::depfile;
use iact::journal::format;
use iact::manifest::{self, quantity};
use iact::path;
use iact::scan::patterns::Patterns;
use iact::standstill::Proof;
use iact::template::{Layer, Quoting, Scope, Templates};
use iact_cache::tree::decode_tree;
use iact_cache::{DigestFunction, LocalOptions, LocalStore, StoredResult, SweepPolicy};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

const FUNCTION: DigestFunction = DigestFunction::Blake3;

/// A fuzz target: its name, which is that of its folder of seeds, and what it does with an input.
pub(crate) type Target = (&'static str, fn(&[u8]));

/// All of them.
#[allow(dead_code, reason = "a program of the fuzzer takes one")]
pub(crate) const TARGETS: [Target; 9] = [
    ("iactfile", iactfile),
    ("globs", globs),
    ("templates", templates),
    ("quantities", quantities),
    ("journal", journal),
    ("index", index),
    ("entries", entries),
    ("trees", trees),
    ("depfiles", depfiles),
];

/// An Iactfile is a manifest, or a mistake with a place inside the text.
pub(crate) fn iactfile(bytes: &[u8]) {
    let Ok(source) = manifest::decode("Iactfile.toml", bytes.to_vec()) else { return };
    match manifest::parse(Arc::clone(&source), "") {
        Ok(manifest) => {
            for target in &manifest.targets {
                let span = &target.name.span;
                assert!(source.text.get(span.start as usize..span.end as usize).is_some());
            }
        }
        Err(wrong) => {
            let place = wrong.place.as_ref().expect("a mistake has a place");
            let span = &place.span;
            assert!(source.text.get(span.start as usize..span.end as usize).is_some());
        }
    }
}

/// Patterns and a path, one each line, the path last: whatever excludes a folder as a whole takes nothing in it.
pub(crate) fn globs(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    let Some(path) = lines.pop() else { return };
    let normal = path::normalise("", &path);
    if let Ok(normal) = &normal
        && !normal.path.is_empty()
    {
        let again = path::normalise("", &normal.path).expect("what is normal can be normalised");
        assert_eq!(again.path, normal.path);
    }
    let Ok(patterns) = Patterns::compile(lines) else { return };
    let Ok(normal) = normal else { return };
    let taken = patterns.takes(&normal.path, false);
    patterns.takes(&normal.path, true);
    patterns.first_taking(&normal.path, false);
    patterns.first_taking(&normal.path, true);
    if let Some((folder, _)) = normal.path.rsplit_once('/') {
        assert!(!(taken && patterns.prunes(folder)), "a pruned folder holds an input");
    }
}

/// A template comes to an end, and a text without one is not touched.
pub(crate) fn templates(bytes: &[u8]) {
    static ENGINE: OnceLock<Templates> = OnceLock::new();
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let engine = ENGINE.get_or_init(Templates::new);
    let mut layer = Layer::default();
    for (name, value) in [("name", "a'; $(b) `c` \"d\""), ("empty", ""), ("version", "3.12.6")] {
        layer.set_text(name, value);
    }
    let scope = Scope::new([Arc::new(layer)]);
    let _ = engine.uses(text);
    for quoting in [Quoting::Shell, Quoting::None] {
        if let Ok(rendered) = engine.render(text, &scope, quoting)
            && !iact::template::is_template(text)
        {
            assert_eq!(rendered, text);
        }
    }
}

/// Durations and sizes: what is read is shown as something that reads back as the same.
pub(crate) fn quantities(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = quantity::duration_ms(text);
    if let Ok(bytes) = quantity::size_bytes(text) {
        let _ = quantity::Size { bytes }.to_string();
    }
    if let Ok(ms) = quantity::duration_ms(text) {
        let _ = quantity::Duration { ms }.to_string();
    }
}

/// A journal gives entries up to the first that does not count.
pub(crate) fn journal(bytes: &[u8]) {
    let Some((&mended, body)) = bytes.split_first() else { return };
    let mut file = format::header(FUNCTION).to_vec();
    if mended % 2 == 0 {
        // The body is frames without their heads, each after its length.
        let mut rest = body;
        while let Some((length, tail)) = rest.split_first_chunk() {
            let length = usize::from(u16::from_le_bytes(*length));
            let (payload, tail) = tail.split_at(length.min(tail.len()));
            put_frame(&mut file, payload);
            rest = tail;
        }
    } else {
        file.extend_from_slice(body);
    }
    let mut kept = Vec::new();
    let length = format::read(&file, FUNCTION, |entry, _| {
        kept.push(entry);
        true
    });
    assert!(length <= file.len());
    // What was read is written and read as the same.
    let mut again = format::header(FUNCTION).to_vec();
    kept.iter().for_each(|entry| format::put(&mut again, 0, entry));
    let mut same = Vec::new();
    format::read(&again, FUNCTION, |entry, _| {
        same.push(entry);
        true
    });
    assert_eq!(kept, same);
}

fn put_frame(file: &mut Vec<u8>, payload: &[u8]) {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&(file.len() as u64).to_le_bytes()).update(payload);
    file.extend_from_slice(&u32::try_from(payload.len()).expect("two bytes' worth").to_le_bytes());
    file.extend_from_slice(&hasher.finalize().as_bytes()[..4]);
    file.extend_from_slice(payload);
}

/// The folder that targets with files work in, one for each process.
fn folder() -> &'static PathBuf {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let memory = PathBuf::from("/dev/shm");
        let parent = if memory.is_dir() { memory } else { std::env::temp_dir() };
        let folder = parent.join(format!("iact-fuzz-{}", std::process::id()));
        std::fs::create_dir_all(folder.join("cache/ac/00")).expect("a folder for files");
        folder
    })
}

fn store() -> LocalStore {
    let options = LocalOptions { durable: false, ..LocalOptions::default() };
    LocalStore::open(folder().join("cache"), options).expect("a cache")
}

/// What is derived (uses, total) and the proof of a standstill: any bytes cost only themselves.
pub(crate) fn index(bytes: &[u8]) {
    let Some((&which, body)) = bytes.split_first() else { return };
    let cache = folder().join("cache");
    match which % 3 {
        0 => {
            std::fs::write(cache.join("uses"), body).expect("a file");
            store().list().expect("a list");
        }
        1 => {
            std::fs::write(cache.join("total"), body).expect("a file");
            let policy =
                SweepPolicy { max_bytes: Some(1 << 40), ..SweepPolicy::unlimited(1_700_000_000_000) };
            store().sweep_if_needed(&policy).expect("a sweep");
        }
        _ => {
            let place = folder().join("proof");
            let head = 48.min(body.len());
            let mut file = body.to_vec();
            if let (Some(magic), true) = (file.get_mut(..16), which & 0x80 == 0) {
                magic.copy_from_slice(iact::standstill::MAGIC);
                let sum = *blake3::hash(&body[head..]).as_bytes();
                if let Some(place) = file.get_mut(16..48) {
                    place.copy_from_slice(&sum);
                }
            }
            std::fs::write(&place, &file).expect("a file");
            if let Some(proof) = Proof::read(&place) {
                let root = std::fs::File::open(folder()).expect("a folder");
                proof.look(std::os::fd::AsFd::as_fd(&root), |_| Vec::new());
                proof.actions().for_each(drop);
            }
        }
    }
}

/// An entry of the action cache is a result, or damaged.
pub(crate) fn entries(bytes: &[u8]) {
    let Some((&mended, body)) = bytes.split_first() else { return };
    if let Ok(result) = StoredResult::decode(body) {
        let again = StoredResult::decode(&result.encode()).expect("what is written is read");
        assert_eq!(again, result);
    }
    let action = [0; 32];
    let mut file = body.to_vec();
    if mended % 2 == 0 {
        file = b"iact-ac1".to_vec();
        let rest = [&7_u64.to_le_bytes()[..], body].concat();
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"iact-ac1").update(&action).update(&rest);
        file.extend_from_slice(hasher.finalize().as_bytes());
        file.extend_from_slice(&rest);
    }
    let name = "0".repeat(64);
    std::fs::write(folder().join("cache/ac/00").join(name), file).expect("a file");
    let found = store().find(&action).expect("the file can be read");
    assert_eq!(found.is_some(), mended % 2 == 0 && StoredResult::decode(body).is_ok());
}

/// A folder's tree has entries with normal paths, or is refused.
pub(crate) fn trees(bytes: &[u8]) {
    let Ok(decoded) = decode_tree(FUNCTION, bytes) else { return };
    for (path, _) in &decoded.entries {
        iact_cache::tree::check_path(path).expect("a path that stays inside");
    }
}

/// A depfile names files, each once.
pub(crate) fn depfiles(bytes: &[u8]) {
    let Ok(files) = depfile::parse(bytes) else { return };
    let once: std::collections::BTreeSet<&Vec<u8>> = files.iter().collect();
    assert_eq!(once.len(), files.len());
}
