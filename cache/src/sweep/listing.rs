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
