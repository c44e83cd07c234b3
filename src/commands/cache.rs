//! `iact cache …`: looking after the cache of this user. It belongs to no workspace: what a workspace says counts only for the
//! limits of `gc` and for the names that `ls` and `forget` know.
//!
//! Each digest function has a cache of its own in the folder; every verb means both, and limits hold for each.
#![allow(clippy::disallowed_methods, reason = "shell: asks the time, looks for the folder")]

use super::{End, answer, document, open, style};
use crate::cli::{CacheVerb, CacheVerify, Forget, Gc, Json, Typed};
use crate::engine::drive::unix_ms;
use crate::engine::generations;
use crate::engine::inquiry::known_as;
use crate::engine::run::{DEFAULT_MAX_SIZE, Memory};
use crate::error::{Error, Kind, Result, exit};
use crate::ui::table::{Column, table};
use crate::ui::{door, phrase};
use crate::workspace::{Caller, Given, Workspace, cache_folder};
use iact_cache::{
    Damage, DigestFunction, ListedResult, LocalOptions, LocalStore, Store, StoreError, SweepPolicy, Swept,
    Usage, Verified, VerifyOptions,
};
use rustc_hash::FxHashMap;
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;

/// Does what was asked for.
///
/// # Errors
/// A cache that cannot be opened, read or changed.
pub fn cache(typed: &Typed, verb: &CacheVerb) -> Result<End> {
    let folder = cache_folder(&Caller::of_process());
    let stores = |read_only| stores(&folder, read_only);
    match verb {
        CacheVerb::Du(json) => du(&folder, &stores(true)?, *json),
        CacheVerb::Gc(asked) => gc(typed, &stores(false)?, asked),
        CacheVerb::Verify(asked) => verify(&stores(!asked.repair)?, asked),
        CacheVerb::Ls(json) => ls(typed, &stores(true)?, *json),
        CacheVerb::Forget(asked) => forget(typed, &stores(false)?, asked),
        CacheVerb::Clear(json) => clear(&folder, &stores(false)?, *json),
        CacheVerb::Doctor => Err(Error::new(Kind::Usage, "not there yet")),
    }
}

fn wrong(error: StoreError) -> Box<Error> {
    Error::new(Kind::Environment, "the cache cannot be used").because(error)
}

fn stores(folder: &Path, read_only: bool) -> Result<Vec<LocalStore>> {
    let store = |digest| {
        let options = LocalOptions { digest, durable: true, read_only };
        LocalStore::open(folder, options).map_err(wrong)
    };
    let mut all = vec![store(DigestFunction::Blake3)?];
    if folder.join("sha256").exists() {
        all.push(store(DigestFunction::Sha256)?);
    }
    Ok(all)
}

/// The workspace here, if there is a sound one: it knows names.
fn nearby(typed: &Typed) -> Option<Workspace> {
    open(typed, Given::default()).ok()
}

fn usage(stores: &[LocalStore]) -> Result<Usage> {
    let mut total = Usage::default();
    for store in stores {
        let usage = store.usage().map_err(wrong)?;
        total.results += usage.results;
        total.result_bytes += usage.result_bytes;
        total.blobs += usage.blobs;
        total.blob_bytes += usage.blob_bytes;
        total.quarantine_bytes += usage.quarantine_bytes;
        total.unlisted += usage.unlisted;
    }
    Ok(total)
}

fn entries(usage: &Usage) -> String {
    let results = phrase::count(usage.results as u64, "result", "results");
    format!("{results}, {}", phrase::count(usage.blobs as u64, "blob", "blobs"))
}

fn total_bytes(usage: &Usage) -> u64 {
    usage.result_bytes + usage.blob_bytes + usage.quarantine_bytes
}

fn du(folder: &Path, stores: &[LocalStore], json: Json) -> Result<End> {
    let usage = usage(stores)?;
    if json.json {
        return document(&json!({
            "path": folder.to_string_lossy(), "results": usage.results, "result_bytes": usage.result_bytes,
            "blobs": usage.blobs, "blob_bytes": usage.blob_bytes, "quarantine_bytes": usage.quarantine_bytes,
            "total_bytes": total_bytes(&usage), "unlisted_folders": usage.unlisted,
        }));
    }
    let mut text = format!("{}  {}\n", phrase::size(total_bytes(&usage)), folder.display());
    let _ = writeln!(text, "{} in {}", entries(&usage), phrase::size(usage.result_bytes + usage.blob_bytes));
    if usage.quarantine_bytes > 0 {
        let _ = writeln!(text, "{} put aside as damaged", phrase::size(usage.quarantine_bytes));
    }
    if usage.unlisted > 0 {
        let folders = phrase::count(usage.unlisted as u64, "folder", "folders");
        let _ = writeln!(text, "{folders} could not be listed: `iact cache verify` says why");
    }
    answer(text)
}

fn gc(typed: &Typed, stores: &[LocalStore], asked: &Gc) -> Result<End> {
    let workspace = nearby(typed);
    let declared = workspace.as_ref().map(|workspace| &workspace.graph.manifests[0].cache);
    let max_size = declared.and_then(|declared| declared.max_size).unwrap_or(DEFAULT_MAX_SIZE);
    let none_asked = asked.max_size.is_none() && asked.max_age.is_none();
    let policy = SweepPolicy {
        max_bytes: asked.max_size.or(none_asked.then_some(max_size)),
        max_age_ms: asked
            .max_age
            .or(declared.filter(|_| none_asked).and_then(|declared| declared.max_age_ms)),
        ..SweepPolicy::unlimited(unix_ms())
    };
    let mut total = Swept::default();
    for store in stores {
        if let Some(workspace) =
            workspace.as_ref().filter(|one| one.digest_function() == store.digest_function())
        {
            let journal = Memory::open(workspace)?.journal;
            generations::thin_all(store, workspace, &journal, unix_ms()).map_err(wrong)?;
        }
        let swept = store.sweep(&policy).map_err(wrong)?;
        total.results += swept.results;
        total.blobs += swept.blobs;
        total.freed_bytes += swept.freed_bytes;
        total.kept_bytes += swept.kept_bytes;
        total.trouble = total.trouble.or(swept.trouble);
    }
    let end = || match &total.trouble {
        None => Ok(End::Code(exit::DONE)),
        Some(trouble) => Err(Error::new(Kind::Environment, "not everything could be swept").because(trouble)),
    };
    if asked.json.json {
        document(&json!({
            "results": total.results, "blobs": total.blobs,
            "freed_bytes": total.freed_bytes, "kept_bytes": total.kept_bytes,
        }))?;
        return end();
    }
    answer(format!(
        "removed {}, {}: {} freed, {} left\n",
        phrase::count(total.results as u64, "result", "results"),
        phrase::count(total.blobs as u64, "blob", "blobs"),
        phrase::size(total.freed_bytes),
        phrase::size(total.kept_bytes)
    ))?;
    end()
}

fn verify(stores: &[LocalStore], asked: &CacheVerify) -> Result<End> {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 1 and what a u64 holds"
    )]
    let one_in = (100.0 / asked.read_data.unwrap_or(100.0)).round().max(1.0) as u64;
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let options = VerifyOptions { one_in, seed: unix_ms(), repair: asked.repair, threads };
    let mut all = Verified::default();
    for store in stores {
        let verified = store.verify(&options).map_err(wrong)?;
        all.checked += verified.checked;
        all.damaged.extend(verified.damaged);
    }
    let sound = all.damaged.is_empty();
    if asked.json.json {
        let damaged: Vec<Value> =
            all.damaged.iter().map(|one| json!({"path": one.path, "reason": one.reason})).collect();
        let repaired = !sound && all.damaged.iter().all(|one| one.is_aside);
        document(&json!({"ok": sound, "checked": all.checked, "damaged": damaged, "repaired": repaired}))?;
    } else {
        let aside = |one: &Damage| if one.is_aside { " (put aside)" } else { "" };
        let mut text: String =
            all.damaged.iter().map(|one| format!("{}: {}{}\n", one.path, one.reason, aside(one))).collect();
        let checked = phrase::count(all.checked as u64, "entry", "entries");
        let _ = match sound {
            true => writeln!(text, "{checked} checked, all sound"),
            false => writeln!(text, "{checked} checked, {} damaged", all.damaged.len()),
        };
        answer(text)?;
        if !sound && !asked.repair {
            door::tell("hint: what is damaged counts as absent; `--repair` puts it aside\n");
        }
    }
    Ok(End::Code(if sound { exit::DONE } else { exit::STALE }))
}

/// Which target of the workspace here a result belongs to, by its last run's fingerprint.
fn owners(typed: &Typed) -> FxHashMap<String, String> {
    let memory = nearby(typed).and_then(|workspace| Memory::open(&workspace).ok());
    let Some(Memory { journal, .. }) = memory else { return FxHashMap::default() };
    let mut names: Vec<&str> = journal.names().collect();
    names.sort_unstable();
    let of = |name: &str| {
        let record = journal.record(name)?;
        Some((iact_cache::Digest { hash: record.fingerprint, size: 0 }.hex(), name.to_owned()))
    };
    names.into_iter().filter_map(of).collect()
}

fn ls(typed: &Typed, stores: &[LocalStore], json: Json) -> Result<End> {
    let mut listed: Vec<ListedResult> = Vec::new();
    for store in stores {
        listed.extend(store.list().map_err(wrong)?);
    }
    let owners = owners(typed);
    let outputs = |one: &ListedResult| -> Vec<String> {
        one.result.outputs.iter().map(|output| output.path.clone()).collect()
    };
    if json.json {
        let row = |one: &ListedResult| {
            json!({
                "fingerprint": one.action.hex(), "target": owners.get(&one.action.hex()),
                "outputs": outputs(one), "duration_ms": one.result.duration_ms,
                "finished_unix_ms": one.result.finished_unix_ms, "used_unix_ms": one.used_unix_ms,
                "pinned": one.pinned,
            })
        };
        return document(&listed.iter().map(row).collect::<Vec<Value>>());
    }
    let now_ms = unix_ms();
    let row = |one: &ListedResult| {
        let hex = one.action.hex();
        let used = phrase::seconds(now_ms.saturating_sub(one.used_unix_ms));
        let target = owners.get(&hex).cloned().unwrap_or_default();
        vec![
            hex[..16].to_owned(),
            used,
            phrase::duration(one.result.duration_ms),
            target,
            outputs(one).join(" "),
        ]
    };
    let column = |title, right| Column { title, right };
    let columns = [
        column("FINGERPRINT", false),
        column("USED", true),
        column("TOOK", true),
        column("TARGET", false),
        column("OUTPUTS", false),
    ];
    answer(table(&columns, &listed.iter().map(row).collect::<Vec<_>>(), style(typed)))
}

fn forget(typed: &Typed, stores: &[LocalStore], asked: &Forget) -> Result<End> {
    let mut hashes: Vec<[u8; 32]> = Vec::new();
    let mut workspace = None;
    for word in &asked.targets {
        match by_prefix(stores, word)? {
            Some(hash) => hashes.push(hash),
            None => {
                let workspace = match &workspace {
                    Some(workspace) => workspace,
                    None => workspace.insert(open(typed, Given::default())?),
                };
                hashes.extend(of_target(workspace, word)?);
            }
        }
    }
    hashes.sort_unstable();
    hashes.dedup();
    let mut forgotten = Vec::new();
    for store in stores {
        for hash in &hashes {
            let action = iact_cache::Digest { hash: *hash, size: 0 };
            if store.forget(&action).map_err(wrong)? {
                forgotten.push(action.hex());
            }
        }
    }
    if asked.json.json {
        return document(&json!({ "forgotten": forgotten }));
    }
    if forgotten.is_empty() {
        door::tell("nothing of that is in the cache\n");
    }
    answer(forgotten.iter().map(|hex| format!("forgot {hex}\n")).collect::<String>())
}

/// The result whose fingerprint begins so; `None`: the word is no fingerprint.
fn by_prefix(stores: &[LocalStore], word: &str) -> Result<Option<[u8; 32]>> {
    if word.len() < 8 || !word.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte)) {
        return Ok(None);
    }
    let mut found = Vec::new();
    for store in stores {
        let listed = store.list().map_err(wrong)?;
        found
            .extend(listed.into_iter().map(|one| one.action).filter(|action| action.hex().starts_with(word)));
    }
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(one.hash)),
        _ => Err(Error::new(Kind::Usage, format!("`{word}` is the beginning of several fingerprints"))),
    }
}

fn of_target(workspace: &Workspace, word: &str) -> Result<Vec<[u8; 32]>> {
    let mut ids = Vec::new();
    for goal in workspace.graph.goal(workspace.nearest(), word)? {
        workspace.graph.each_member(goal, &mut |member| ids.push(member));
    }
    let mut hashes = Vec::new();
    for id in ids {
        hashes.extend(known_as(workspace, id)?.hashes);
    }
    Ok(hashes)
}

fn clear(folder: &Path, stores: &[LocalStore], json: Json) -> Result<End> {
    let usage = usage(stores)?;
    let mut pinned = 0;
    for store in stores {
        pinned += store.list().map_or(0, |all| all.iter().filter(|one| one.pinned).count());
        store.clear().map_err(wrong)?;
    }
    let bytes = total_bytes(&usage);
    if json.json {
        let (results, blobs) = (usage.results, usage.blobs);
        return document(
            &json!({"results": results, "blobs": blobs, "pinned": pinned, "freed_bytes": bytes}),
        );
    }
    let kept = match pinned {
        0 => String::new(),
        _ => format!(" ({} of them kept as generations)", phrase::count(pinned as u64, "result", "results")),
    };
    let freed = phrase::size(bytes);
    answer(format!("removed {}{kept} from {}: {freed} freed\n", entries(&usage), folder.display()))
}
