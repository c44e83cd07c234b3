//! What a service said last, in bounded memory, and whether a line of it matched.

use regex::bytes::Regex;

/// Bytes kept.
const KEPT: usize = 4096;
/// Lines shown.
const LINES: usize = 15;

/// The end of what a service said.
#[derive(Debug, Default)]
pub(super) struct Tail {
    bytes: Vec<u8>,
    /// Where the line that is still being written starts.
    line: usize,
    pattern: Option<Regex>,
    /// A line matched.
    pub(super) matched: bool,
}

impl Tail {
    /// Looks for a pattern in the lines to come.
    pub(super) fn of(pattern: Option<Regex>) -> Self {
        Self { pattern, ..Self::default() }
    }

    /// Takes in what was said; whether a line matched for the first time.
    pub(super) fn add(&mut self, said: &[u8]) -> bool {
        let before = self.matched;
        for piece in said.split_inclusive(|byte| *byte == b'\n') {
            self.bytes.extend_from_slice(piece);
            let line = &self.bytes[self.line..];
            if let Some(pattern) = self.pattern.as_ref().filter(|_| !self.matched) {
                self.matched = pattern.is_match(line.strip_suffix(b"\n").unwrap_or(line));
            }
            if piece.ends_with(b"\n") {
                self.line = self.bytes.len();
            }
            if self.bytes.len() > 2 * KEPT {
                let cut = self.bytes.len() - KEPT;
                self.bytes.drain(..cut);
                self.line = self.line.saturating_sub(cut);
            }
        }
        self.matched && !before
    }

    /// Its last lines, each behind four spaces.
    pub(super) fn lines(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes[self.bytes.len().saturating_sub(KEPT)..]);
        let lines: Vec<&str> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(LINES)..];
        last.iter().map(|line| format!("\n    {}", line.trim_end())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_matched_however_it_is_cut() {
        for (pattern, pieces, expected) in [
            ("^ready$", &["rea", "dy\n"][..], true),
            ("^ready$", &["ready"], true),
            ("^ready$", &["not ready\nready\nmore"], true),
            ("^ready$", &["already\n", "readyish\n"], false),
            ("port (\\d+)", &["on port 8080"], true),
        ] {
            let mut tail = Tail::of(Some(Regex::new(pattern).unwrap()));
            let first = pieces.iter().filter(|piece| tail.add(piece.as_bytes())).count();
            assert_eq!((tail.matched, first), (expected, usize::from(expected)), "{pattern} {pieces:?}");
        }
    }

    #[test]
    fn memory_is_bounded_and_the_last_lines_are_kept() {
        let mut tail = Tail::of(Some(Regex::new("never").unwrap()));
        for number in 0..10_000 {
            tail.add(format!("line {number}\n").as_bytes());
        }
        tail.add(&[b'x'; 100_000]);
        tail.add(b"\nlast\n");
        assert!(tail.bytes.len() <= 110_000 && tail.lines().ends_with("\n    last"));
        tail.add(b"again\n");
        assert!(tail.bytes.len() <= 3 * KEPT);
    }
}
