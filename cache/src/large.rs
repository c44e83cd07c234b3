//! The digest of a large file, read by several threads at once.
//!
//! BLAKE3 is a tree over chunks of 1 KiB: pieces of one length that is a power of two are subtrees of it
//! wherever they lie, so each is hashed by whichever thread is free, and their values are joined at the end.
//! There are many more pieces than threads, or the slowest thread would be waited for; there is an upper bound
//! to them, so that memory does not grow with the file. A file that is shorter than was said has another tree: it
//! is read again, by one thread.
//!
//! Refused: `update_rayon`, as an action must not enter a thread pool (a waiting pool thread may steal a whole
//! action), and `update_mmap`, as a file that shrinks under a mapping is a signal, under a read an end.
//! SHA-256 is a chain and stays with one thread.
#![allow(clippy::disallowed_methods, reason = "shell: reads files")]

use std::fs::File;
use std::io;
use std::sync::OnceLock;

use blake3::hazmat::{ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root};

use crate::digest::{Digest, DigestFunction};
use crate::ops;

/// So much is hashed in the time of about ten starts of a thread.
const BYTES_EACH: u64 = 2 << 20;
const LEAST_PIECE: u64 = 1 << 20;
const MOST_PIECES: u64 = 256;

/// How many threads are worth starting for a file of so many bytes.
pub fn threads_worth(function: DigestFunction, size: u64) -> usize {
    match function {
        DigestFunction::Blake3 => usize::try_from(size / BYTES_EACH).unwrap_or(usize::MAX).max(1),
        DigestFunction::Sha256 => 1,
    }
}

/// The digest of the first so many bytes of a file, or of all if it has fewer, read by up to `threads` threads.
///
/// Whether the file has exactly as many, and did not move meanwhile, is the caller's to look at: who reads until
/// a file that is written to ends may read for ever. A size of nothing may be untold (`/proc`): then of all.
///
/// # Errors
/// What reading says.
pub fn digest_open(function: DigestFunction, file: &File, size: u64, threads: usize) -> io::Result<Digest> {
    let threads = threads.min(threads_worth(function, size));
    if threads > 1
        && let Some(digest) = in_pieces(file, size, piece_len(size), threads)?
    {
        return Ok(digest);
    }
    ops::digest_sized(function, file, size)
}

fn piece_len(size: u64) -> u64 {
    size.div_ceil(MOST_PIECES).next_power_of_two().max(LEAST_PIECE)
}

/// `None`: the file is shorter than that. `len` is a power of two of chunks and less than `size`.
fn in_pieces(file: &File, size: u64, len: u64, threads: usize) -> io::Result<Option<Digest>> {
    let starts = (0..size.div_ceil(len)).map(|number| number * len);
    let pieces: Vec<_> = starts.map(|start| (start, OnceLock::new())).collect();
    let read: io::Result<()> = ops::in_parallel(threads, &pieces, |(start, value)| {
        let found = hash_piece(file, *start, len.min(size - start))?;
        value.get_or_init(|| found);
        Ok(())
    });
    match read {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        read => read?,
    }
    let values = pieces.into_iter().map(|(_, value)| value.into_inner().expect("every piece was read"));
    Ok(Some(Digest { hash: join(values.collect()), size }))
}

/// The value of one subtree, not the root; that the file ends inside it is an unexpected end.
fn hash_piece(file: &File, start: u64, len: u64) -> io::Result<ChainingValue> {
    ops::with_buffer(|buffer| {
        let mut hasher = blake3::Hasher::new();
        hasher.set_input_offset(start);
        let mut left = len;
        while left > 0 {
            let room = usize::try_from(left).unwrap_or(usize::MAX).min(buffer.len());
            let piece = &mut buffer[..room];
            if ops::read_full(&mut ops::At(file, start + len - left), piece)? < room {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            hasher.update(piece);
            left -= room as u64;
        }
        Ok(hasher.finalize_non_root())
    })
}

/// Neighbours are joined level by level; what is left over at the right edge moves up as it is.
fn join(mut values: Vec<ChainingValue>) -> [u8; 32] {
    while values.len() > 2 {
        let parents = values.chunks(2).map(|children| match children {
            [left, right] => merge_subtrees_non_root(left, right, Mode::Hash),
            alone => alone[0],
        });
        values = parents.collect();
    }
    *merge_subtrees_root(&values[0], &values[1], Mode::Hash).as_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    const CHUNK: u64 = 1024;

    fn some_bytes(size: u64) -> Vec<u8> {
        (0..size).map(|at| (at.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
    }

    fn file_of(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn blake3_of(bytes: &[u8]) -> Digest {
        Digest::of(DigestFunction::Blake3, bytes)
    }

    #[test]
    fn pieces_of_any_length_give_the_digest_of_the_whole() {
        let around = |size: u64| [size - 1, size, size + 1];
        let mut sizes: Vec<u64> = (1..=9).flat_map(|power| around(CHUNK << power)).collect();
        sizes.extend((2..=40).flat_map(|chunks| around(chunks * CHUNK)));
        sizes.push(300 * CHUNK + 77);
        for size in sizes {
            let bytes = some_bytes(size);
            let file = file_of(&bytes);
            for len in (0..12).map(|power| CHUNK << power).filter(|len| *len < size) {
                for threads in 1..=3 {
                    let found = in_pieces(&file, size, len, threads).unwrap();
                    assert_eq!(found, Some(blake3_of(&bytes)), "{size} bytes in pieces of {len}");
                }
            }
        }
    }

    #[test]
    fn a_large_file_has_the_same_digest_from_any_number_of_threads() {
        let least = 2 * BYTES_EACH;
        for size in [0, 1, least - 1, least, least + 1, 2 * least - 1, 2 * least + CHUNK + 1] {
            let bytes = some_bytes(size);
            let file = file_of(&bytes);
            for threads in [0, 1, 2, 3, 16] {
                let found = digest_open(DigestFunction::Blake3, &file, size, threads).unwrap();
                assert_eq!(found, blake3_of(&bytes), "{size} bytes on {threads} threads");
            }
        }
    }

    #[test]
    fn sha_256_is_the_same_however_many_threads_there_may_be() {
        let bytes = some_bytes(2 * BYTES_EACH);
        let found = digest_open(DigestFunction::Sha256, &file_of(&bytes), 2 * BYTES_EACH, 2).unwrap();
        assert_eq!(found, Digest::of(DigestFunction::Sha256, &bytes));
    }

    #[test]
    fn a_file_that_is_longer_or_shorter_than_was_said_is_read_as_far_as_was_said() {
        for said in [1, 1000, BYTES_EACH - 1, 4 * BYTES_EACH] {
            for size in [0, 1, said / 2, said / 2 + 1, said - 1, said + 1, said + BYTES_EACH] {
                let bytes = some_bytes(size);
                let read = &bytes[..bytes.len().min(usize::try_from(said).unwrap())];
                for threads in [1, 2] {
                    let found = digest_open(DigestFunction::Blake3, &file_of(&bytes), said, threads).unwrap();
                    assert_eq!(found, blake3_of(read), "{size} bytes instead of {said}");
                }
            }
        }
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let folder = File::open("/").unwrap();
        assert!(digest_open(DigestFunction::Blake3, &folder, 4 * BYTES_EACH, 2).is_err());
    }

    #[test]
    fn pieces_are_many_but_not_more_than_memory_may_hold_whatever_the_size() {
        for power in 22..60 {
            for size in [(1_u64 << power) - 1, 1 << power, (1 << power) + 1] {
                let len = piece_len(size);
                assert!(len.is_power_of_two() && len < size);
                assert!((4..=MOST_PIECES).contains(&size.div_ceil(len)), "{size} in pieces of {len}");
            }
        }
    }
}
