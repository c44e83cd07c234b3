//! Digests, blobs, action results and the stores that keep them.
//!
//! The invariant of the whole crate: **a cache entry is absent, or complete and verified.** Anything else
//! counts as absent, is put aside, and is mended when it is stored again. No cache trouble is ever more than
//! a value the caller goes on from.
//!
//! | to | look at |
//! |---|---|
//! | identify bytes, folders, actions | [`Digest`], [`tree`], [`wire`] |
//! | keep and find results | [`Store`], [`LocalStore`], [`Batch`], [`StoredResult`] |
//! | bound and check a cache | [`LocalStore::sweep`], [`LocalStore::verify`] |
//! | move outputs between a workspace and a store | [`Workspace`] |

mod action;
mod apply;
mod aside;
mod batch;
mod beside;
pub mod chaos;
mod collect;
mod digest;
mod entry;
mod folder;
mod gc;
mod hold;
mod large;
mod local;
mod lock;
mod materialize;
mod memory;
mod ops;
mod own;
mod programs;
mod restore;
mod stage;
mod stock;
mod store;
mod sweep;
#[cfg_attr(target_os = "linux", path = "system_linux.rs")]
#[cfg_attr(not(target_os = "linux"), path = "system_unix.rs")]
mod system;
pub mod tree;
mod uses;
pub mod wire;

pub use action::{EXPORTS_TYPE, OutputEntry, OutputKind, ResultError, StoredResult};
pub use batch::{Batch, Committed};
pub use beside::BESIDE;
pub use collect::{CollectError, Collected, Keep};
pub use digest::{Digest, DigestFunction, DigestParseError, Hasher};
pub use folder::FileFacts;
pub use gc::SweepPolicy;
pub use large::{digest_open, threads_worth};
pub use local::{LocalOptions, LocalStore, TAG};
pub use lock::Lock;
pub use materialize::OutputFile;
pub use memory::{Fault, MemoryStore};
pub use ops::{give_up, in_parallel};
pub use restore::{RestoreError, RestoreOptions, Restored, Restores, Workspace};
pub use store::{Lookup, Store, StoreError};
pub use sweep::{Damage, ListedResult, PinOwners, Swept, Usage, Verified, VerifyOptions};
pub use tree::{Node, TreeBuilder, TreeError};
