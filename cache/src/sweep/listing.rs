//! Lists the folders of a cache, and of those that hold what they held only their times.
#![allow(clippy::disallowed_methods, reason = "shell: lists the cache's files")]

use std::io;

use super::Entry;
use crate::digest::decode_hex;
use crate::folder::{FileFacts, Folder};
use crate::local::LocalStore;
use crate::stock::{self, Row, SHARDS, Stock};
use crate::store::StoreError;

impl LocalStore {
    /// What every folder holds, and how many could not be listed: of those, what they held. Only those that changed are listed.
    /// `keeps`: the lock of sweeps is held, and what was found may be written down.
    pub(super) fn stock(&self, folder: &Folder, keeps: bool) -> (Stock, usize) {
        let began_ns = stock::now_ns();
        let mut stock = Stock::read(folder).unwrap_or_else(Stock::unknown);
        let (mut is_other, mut unlisted) = (false, 0);
        for shard in 0..2 * SHARDS {
            let row = self.shard_facts(folder, shard).and_then(|facts| {
                let is_same = stock.rows[shard].is_same(facts.as_ref());
                let list = || self.list_shard(folder, shard, (facts, began_ns));
                if is_same { Ok(None) } else { list().map(|(row, _)| Some(row)) }
            });
            match row {
                Ok(None) => {}
                Ok(Some(row)) => {
                    stock.rows[shard].listed_as(row);
                    is_other = true;
                }
                Err(_) => unlisted += 1,
            }
        }
        if keeps && is_other {
            // Without it the next one lists again.
            let _ = self.local().scratch().map(|scratch| stock.write(folder, scratch.folder()));
        }
        (stock, unlisted)
    }

    pub(super) fn shard_facts(&self, folder: &Folder, shard: usize) -> Result<Option<FileFacts>, StoreError> {
        let path = shard_path(shard);
        let facts = folder.facts(path.as_bytes()).map_err(|error| self.local().io(&path, error))?;
        Ok(facts.filter(FileFacts::is_folder))
    }

    /// The entries of a folder that showed these facts.
    pub(super) fn list_shard(
        &self,
        folder: &Folder,
        shard: usize,
        (facts, began_ns): (Option<FileFacts>, i64),
    ) -> Result<(Row, Vec<Entry>), StoreError> {
        let path = shard_path(shard);
        let mut entries = Vec::new();
        let mut list = || -> io::Result<()> {
            let opened = match folder
                .child(&path.as_bytes()[..path.len() - 3])
                .and_then(|kind| kind.child(&path.as_bytes()[path.len() - 2..]))
            {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
                opened => opened?,
            };
            for (file, _) in opened.list()? {
                let Some(facts) = opened.facts(&file)? else { continue };
                let hash = decode_hex(&file).filter(|_| facts.is_file());
                if let Some(hash) = hash.filter(|hash| usize::from(hash[0]) == shard % SHARDS) {
                    entries.push(Entry { hash, facts });
                }
            }
            Ok(())
        };
        if facts.is_some() {
            list().map_err(|error| self.local().io(&path, error))?;
        }
        Ok((Row::new(facts.as_ref(), entries.iter().map(|entry| &entry.facts), began_ns), entries))
    }

    /// The entries of many folders, by hash. One that cannot be listed costs only itself.
    pub(super) fn list_all(&self, folder: &Folder, shards: std::ops::Range<usize>, began_ns: i64) -> Listed {
        let mut all = Listed { rows: Vec::with_capacity(shards.len()), entries: Vec::new(), trouble: None };
        for shard in shards {
            let listed = self
                .shard_facts(folder, shard)
                .and_then(|facts| self.list_shard(folder, shard, (facts, began_ns)));
            let (row, entries) = listed.unwrap_or_else(|error| {
                all.trouble.get_or_insert(error);
                Default::default()
            });
            all.rows.push(row);
            all.entries.extend(entries);
        }
        all
    }

    /// What a sweep leaves in a folder it removed from; `known`: what it saw in all of this kind. One that cannot be listed, or
    /// where somebody stored meanwhile, is left for the next sweep to list.
    pub(super) fn list_again(&self, folder: &Folder, shard: usize, known: &[Entry], began_ns: i64) -> Row {
        let listed = self.list_all(folder, shard..shard + 1, began_ns);
        let seen = |now: &Entry| known.binary_search_by(|entry| entry.hash.cmp(&now.hash));
        let is_known = |now: &Entry| seen(now).is_ok_and(|at| known[at].facts.ino == now.facts.ino);
        if listed.entries.iter().all(is_known) { listed.rows[0] } else { Row::default() }
    }
}

/// What listing many folders came to.
pub(super) struct Listed {
    pub(super) rows: Vec<Row>,
    pub(super) entries: Vec<Entry>,
    /// Why not all of them could be listed.
    pub(super) trouble: Option<StoreError>,
}

/// `ac/xx`, then `cas/xx`.
fn shard_path(shard: usize) -> String {
    format!("{}/{:02x}", if shard < SHARDS { "ac" } else { "cas" }, shard % SHARDS)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entry::EntryPath;

    /// Else an orphan among it would stay until the next whole walk.
    #[test]
    fn what_came_while_a_sweep_was_at_work_is_for_the_next_one() {
        let base = tempfile::tempdir().unwrap();
        let store = LocalStore::open(base.path(), crate::LocalOptions::default()).unwrap();
        let folder = Folder::open(base.path()).unwrap();
        let blob = |last: u8| {
            let mut hash = [7; 32];
            hash[31] = last;
            base.path().join(EntryPath::blob(&hash).as_str())
        };
        std::fs::create_dir_all(blob(0).parent().unwrap()).unwrap();
        for last in [0, 1] {
            std::fs::write(blob(last), "blob").unwrap();
        }
        let shard = SHARDS + 7;
        let known = store.list_all(&folder, SHARDS..2 * SHARDS, 0).entries;
        let came = [base.path().join("0"), base.path().join("2")];
        came.iter().for_each(|came| std::fs::write(came, "blob").unwrap());
        std::fs::remove_file(blob(0)).unwrap();
        let left = store.list_again(&folder, shard, &known, 0);
        assert_eq!((left.count, left.is_swept()), (1, true));
        for (last, came) in [0, 2].into_iter().zip(came) {
            std::fs::rename(came, blob(last)).unwrap();
            assert_eq!(store.list_again(&folder, shard, &known, 0), Row::default(), "{last}");
            std::fs::remove_file(blob(last)).unwrap();
        }
    }
}
