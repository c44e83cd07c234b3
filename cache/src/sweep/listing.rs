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
    /// What every folder holds; only those that changed are listed. `keeps`: the lock of sweeps is held, and what was found
    /// may be written down.
    pub(super) fn stock(&self, folder: &Folder, keeps: bool) -> Result<Stock, StoreError> {
        let began_ns = stock::now_ns();
        let mut stock = Stock::read(folder).unwrap_or_else(Stock::unknown);
        let mut is_other = false;
        for shard in 0..2 * SHARDS {
            let facts = self.shard_facts(folder, shard)?;
            if !stock.rows[shard].is_same(facts.as_ref()) {
                let (row, _) = self.list_shard(folder, shard, (facts, began_ns))?;
                stock.rows[shard].listed_as(row);
                is_other = true;
            }
        }
        if keeps && is_other {
            // Without it the next one lists again.
            let _ = self.local().scratch().map(|scratch| stock.write(folder, scratch.folder()));
        }
        Ok(stock)
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

    pub(super) fn list_all(
        &self,
        folder: &Folder,
        shards: std::ops::Range<usize>,
        began_ns: i64,
    ) -> Result<(Vec<Row>, Vec<Entry>), StoreError> {
        let (mut rows, mut all) = (Vec::with_capacity(shards.len()), Vec::new());
        for shard in shards {
            let facts = self.shard_facts(folder, shard)?;
            let (row, entries) = self.list_shard(folder, shard, (facts, began_ns))?;
            rows.push(row);
            all.extend(entries);
        }
        Ok((rows, all))
    }
}

/// `ac/xx`, then `cas/xx`.
fn shard_path(shard: usize) -> String {
    format!("{}/{:02x}", if shard < SHARDS { "ac" } else { "cas" }, shard % SHARDS)
}
