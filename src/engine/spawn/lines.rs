//! Cuts a stream of bytes into pieces that end at line ends, in bounded memory.
//!
//! Invariant: every byte is delivered exactly once and in order; a piece ends in the middle of a line only if
//! the line is longer than the buffer or its writer paused (the caller then calls [`Lines::flush`]). So lines
//! of parallel actions stay whole, and a prompt without a line end is still seen. Refused: splitting into
//! single lines, which costs a call per line and helps nobody.

/// Bytes held back at most, and the most that one read asks for: the capacity of a pipe.
pub(super) const CAPACITY: usize = 64 * 1024;

/// The reading end of one stream. Empty (the default) it has no room and is not to be read into.
#[derive(Default)]
pub(super) struct Lines {
    buffer: Vec<u8>,
    filled: usize,
}

impl Lines {
    pub(super) fn new() -> Self {
        Self { buffer: vec![0; CAPACITY], filled: 0 }
    }

    /// Where the next read goes. Never empty.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[self.filled..]
    }

    /// `read` bytes were put into [`Lines::space`]; deliver what has become whole.
    pub(super) fn took(&mut self, read: usize, deliver: &mut dyn FnMut(&[u8])) {
        let end = self.filled + read;
        let line_end = self.buffer[self.filled..end].iter().rposition(|byte| *byte == b'\n');
        let whole = match line_end {
            Some(at) => self.filled + at + 1,
            None if end == self.buffer.len() => end,
            None => 0,
        };
        if whole > 0 {
            deliver(&self.buffer[..whole]);
            self.buffer.copy_within(whole..end, 0);
        }
        self.filled = end - whole;
    }

    /// Deliver the incomplete line.
    pub(super) fn flush(&mut self, deliver: &mut dyn FnMut(&[u8])) {
        if self.filled > 0 {
            deliver(&self.buffer[..self.filled]);
            self.filled = 0;
        }
    }

    /// Whether an incomplete line is held back.
    pub(super) fn is_holding(&self) -> bool {
        self.filled > 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_byte_arrives_once_and_pieces_end_at_line_ends(
            pieces in prop::collection::vec("[a-c\n]{0,40}", 0..60),
            repeat in 1usize..4000,
        ) {
            let text: Vec<u8> = pieces.iter().map(|p| p.repeat(repeat.min(1 + 200_000 / (1 + p.len() * pieces.len())))).collect::<String>().into();
            let mut lines = Lines::new();
            let mut got = Vec::new();
            let mut cuts = Vec::new();
            let mut rest = &text[..];
            while !rest.is_empty() {
                let space = lines.space();
                prop_assert!(!space.is_empty());
                let read = space.len().min(rest.len()).min(1 + rest.len() % 7001);
                space[..read].copy_from_slice(&rest[..read]);
                rest = &rest[read..];
                lines.took(read, &mut |piece| { cuts.push((piece.len(), piece.ends_with(b"\n"))); got.extend_from_slice(piece) });
            }
            prop_assert!(cuts.iter().all(|(len, whole)| *whole || *len == CAPACITY));
            lines.flush(&mut |piece| got.extend_from_slice(piece));
            prop_assert!(!lines.is_holding());
            prop_assert_eq!(got, text);
        }
    }
}
