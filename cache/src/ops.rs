//! Moving bytes: read, hash and copy a file in one pass, with one bounded buffer per thread.
#![allow(clippy::disallowed_methods, reason = "shell: reads and writes files")]

use std::cell::RefCell;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::chaos::{Bug, planted};
use crate::digest::{Digest, DigestFunction, Hasher};
use crate::system;

const BUFFER: usize = 256 * 1024;
/// Below this, sharing extents costs more than it saves.
pub(crate) const LARGE: u64 = 128 * 1024;

thread_local! {
    static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Lends this thread's buffer.
pub(crate) fn with_buffer<T>(work: impl FnOnce(&mut [u8]) -> T) -> T {
    BYTES.with(|bytes| {
        // A nested loan gets a buffer of its own.
        let mut buffer = bytes.take();
        buffer.resize(BUFFER, 0);
        let result = work(&mut buffer);
        bytes.replace(buffer);
        result
    })
}

static GIVEN_UP: AtomicBool = AtomicBool::new(false);

/// From now on whatever is read for a digest or a copy is read no further: the process is about to end, and nothing that is
/// not read whole is kept anyway.
pub fn give_up() {
    GIVEN_UP.store(true, Ordering::Relaxed);
}

fn read_some(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    if GIVEN_UP.load(Ordering::Relaxed) {
        return Err(io::Error::other("interrupted"));
    }
    loop {
        match from.read(buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) if planted(Bug::IgnoreReadErrors) => return Ok(0),
            result => return result,
        }
    }
}

/// Fills `buffer` as far as the bytes go.
pub(crate) fn read_full(from: &mut dyn Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match read_some(from, &mut buffer[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    Ok(filled)
}

/// The digest of what is left to read.
pub(crate) fn digest_rest(function: DigestFunction, from: &mut dyn Read) -> io::Result<Digest> {
    with_buffer(|buffer| {
        let filled = read_full(from, buffer)?;
        if filled < buffer.len() {
            return Ok(Digest::of(function, &buffer[..filled]));
        }
        let mut hasher = Hasher::new(function);
        hasher.update(buffer);
        loop {
            match read_some(from, buffer)? {
                0 => return Ok(hasher.finish()),
                count => hasher.update(&buffer[..count]),
            }
        }
    })
}

/// The digest of the first so many bytes of a file, or of all if it has fewer: whether it still has exactly as many is
/// the caller's to look at. A size of nothing may be untold (`/proc`): then of all.
pub(crate) fn digest_sized(function: DigestFunction, file: &File, size: u64) -> io::Result<Digest> {
    if size == 0 {
        return digest_file(function, file);
    }
    if size >= BUFFER as u64 {
        return digest_rest(function, &mut At(file, 0).take(size));
    }
    with_buffer(|buffer| {
        let buffer = &mut buffer[..usize::try_from(size).expect("less than a buffer")];
        let filled = read_full(&mut At(file, 0), buffer)?;
        Ok(Digest::of(function, &buffer[..filled]))
    })
}

/// A file from there on, wherever its cursor stands.
pub(crate) struct At<'a>(pub &'a File, pub u64);

impl Read for At<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read_at(buffer, self.1)?;
        self.1 += count as u64;
        Ok(count)
    }
}

/// The digest of a file's content, wherever its cursor stands.
pub(crate) fn digest_file(function: DigestFunction, file: &File) -> io::Result<Digest> {
    digest_rest(function, &mut At(file, 0))
}

/// Which side of a copy failed.
#[derive(Debug)]
pub(crate) enum CopyError {
    Read(io::Error),
    Write(io::Error),
}

/// Copies what is left to read and digests it on the way. If writing fails, reading ends.
pub(crate) fn copy(
    function: DigestFunction,
    from: &mut dyn Read,
    into: &mut dyn Write,
) -> Result<Digest, CopyError> {
    copy_sized(function, from, into, u64::MAX)
}

/// The same, up to so many bytes: who knows how many there are need not ask for the end.
pub(crate) fn copy_sized(
    function: DigestFunction,
    from: &mut dyn Read,
    into: &mut dyn Write,
    size: u64,
) -> Result<Digest, CopyError> {
    with_buffer(|buffer| {
        let mut hasher = Hasher::new(function);
        let mut left = size;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let count = read_some(from, &mut buffer[..room]).map_err(CopyError::Read)?;
            if count == 0 {
                break;
            }
            left -= count as u64;
            hasher.update(&buffer[..count]);
            into.write_all(&buffer[..count]).map_err(CopyError::Write)?;
        }
        Ok(hasher.finish())
    })
}

/// Whether extents can be shared here: tried until it fails once.
#[derive(Debug, Default)]
pub(crate) struct Sharing {
    impossible: AtomicBool,
}

impl Sharing {
    /// Makes `to`, an empty file, share the extents of `from`, if that is possible and worth it.
    pub(crate) fn try_share(&self, from: &File, to: &File, size: u64) -> bool {
        if size < LARGE || self.impossible.load(Ordering::Relaxed) {
            return false;
        }
        let shared = system::share_extents(from, to);
        if !shared {
            self.impossible.store(true, Ordering::Relaxed);
        }
        shared
    }
}

/// How many threads are worth starting for so many items of so many bytes together.
pub(crate) fn threads_for(allowed: usize, items: usize, bytes: u64) -> usize {
    const ITEMS_EACH: usize = 32;
    const BYTES_EACH: u64 = 8 << 20;
    let by_bytes = usize::try_from(bytes / BYTES_EACH).unwrap_or(usize::MAX);
    allowed.min(items).min(by_bytes.max(items / ITEMS_EACH))
}

/// Does `work` for every item on `threads` threads; the first error ends it.
///
/// Plain threads: an action may use this from inside a thread pool without ever waiting in that pool. Where no
/// more can be started, those there are do it all.
pub fn in_parallel<T: Sync, E: Send>(
    threads: usize,
    items: &[T],
    work: impl Fn(&T) -> Result<(), E> + Sync,
) -> Result<(), E> {
    if threads < 2 {
        return items.iter().try_for_each(work);
    }
    let next = AtomicUsize::new(0);
    let one_thread = || {
        while let Some(item) = items.get(next.fetch_add(1, Ordering::Relaxed)) {
            if let Err(error) = work(item) {
                next.store(items.len(), Ordering::Relaxed);
                return Err(error);
            }
        }
        Ok(())
    };
    std::thread::scope(|scope| {
        let start = |_| std::thread::Builder::new().spawn_scoped(scope, one_thread).ok();
        let others: Vec<_> = (1..threads).map_while(start).collect();
        let mut result = one_thread();
        for other in others {
            let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            result = result.and(other);
        }
        result
    })
}
