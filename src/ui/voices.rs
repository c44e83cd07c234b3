//! The commands' output: put together to whole lines, and kept until it is its action's turn.
//!
//! Invariant: what leaves here is whole lines of one action and one stream, each ending with a newline; the
//! bytes are the command's own. What is kept in memory is bounded per action: beyond [`KEPT_BYTES`] the
//! beginning and the end are kept, and the screen shows the log on disk instead, if there is one.

use crate::report::Stream;
use std::collections::VecDeque;
use std::path::PathBuf;

/// Of one action's output, at most so much is kept, half of it from the beginning.
pub(super) const KEPT_BYTES: usize = 256 * 1024;

/// A line longer than that is broken.
pub(super) const LINE_BYTES: usize = 64 * 1024;

/// A piece of what is to be shown, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Words of iact.
    Own(String),
    /// An answer, for standard output.
    Answer(String),
    /// Whole lines of a command.
    Said(Stream, Vec<u8>),
    /// A log on disk, all of it.
    Log(PathBuf),
}

/// One action's output.
#[derive(Debug, Default)]
pub(super) struct Voice {
    partial: [Vec<u8>; 2],
    head: Vec<(Stream, Vec<u8>)>,
    head_bytes: usize,
    tail: VecDeque<(Stream, Vec<u8>)>,
    tail_bytes: usize,
    left_out_bytes: usize,
}

impl Voice {
    /// Takes bytes in and gives back the whole lines that are complete with them.
    pub(super) fn lines(&mut self, stream: Stream, bytes: &[u8]) -> Option<Vec<u8>> {
        let partial = &mut self.partial[stream as usize];
        let Some(end) = bytes.iter().rposition(|byte| *byte == b'\n') else {
            partial.extend_from_slice(bytes);
            return if partial.len() > LINE_BYTES { self.rest(stream) } else { None };
        };
        let mut lines = std::mem::take(partial);
        lines.extend_from_slice(&bytes[..=end]);
        partial.extend_from_slice(&bytes[end + 1..]);
        Some(lines)
    }

    /// The unfinished last line, finished.
    pub(super) fn rest(&mut self, stream: Stream) -> Option<Vec<u8>> {
        let mut line = std::mem::take(&mut self.partial[stream as usize]);
        if line.is_empty() {
            return None;
        }
        line.push(b'\n');
        Some(line)
    }

    /// Keeps whole lines for later.
    pub(super) fn keep(&mut self, stream: Stream, lines: Vec<u8>) {
        if self.left_out_bytes == 0 && self.tail.is_empty() && self.head_bytes + lines.len() <= KEPT_BYTES / 2
        {
            self.head_bytes += lines.len();
            match self.head.last_mut() {
                Some((last, kept)) if *last == stream => kept.extend_from_slice(&lines),
                _ => self.head.push((stream, lines)),
            }
            return;
        }
        self.tail_bytes += lines.len();
        self.tail.push_back((stream, lines));
        while self.tail_bytes > KEPT_BYTES / 2 && self.tail.len() > 1 {
            let (_, gone) = self.tail.pop_front().expect("it has more than one");
            self.tail_bytes -= gone.len();
            self.left_out_bytes += gone.len();
        }
    }

    /// Whether anything is kept.
    pub(super) fn has_kept(&self) -> bool {
        !self.head.is_empty() || !self.tail.is_empty()
    }

    /// What was kept, in order; the log instead if something had to be left out and there is one.
    pub(super) fn take_kept(&mut self, log: Option<&PathBuf>) -> Vec<Piece> {
        let (head, tail) = (std::mem::take(&mut self.head), std::mem::take(&mut self.tail));
        let left_out_bytes = std::mem::take(&mut self.left_out_bytes);
        (self.head_bytes, self.tail_bytes) = (0, 0);
        if let (Some(log), 1..) = (log, left_out_bytes) {
            return vec![Piece::Log(log.clone())];
        }
        let gap = (left_out_bytes > 0)
            .then(|| Piece::Own(format!("… {} left out here\n", super::phrase::size(left_out_bytes as u64))));
        let said = |(stream, lines)| Piece::Said(stream, lines);
        head.into_iter().map(said).chain(gap).chain(tail.into_iter().map(said)).collect()
    }
}

/// Whole lines with a prefix before each.
pub(super) fn prefixed(prefix: &str, lines: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(lines.len() + prefix.len() * 4);
    for line in lines.split_inclusive(|byte| *byte == b'\n') {
        out.extend_from_slice(prefix.as_bytes());
        out.extend_from_slice(line);
    }
    out
}
