//! The block of running actions at the bottom of the terminal, and the lines that scroll by above it.
//!
//! Invariant: at most ten frames a second, none while nothing runs, none in the first moments of a run. The
//! cursor is never hidden and nothing is set, so there is nothing to restore. `indicatif` draws, but
//! neither ticks nor lays out: its bar's message is the whole block. One bar, not one per action in a
//! `MultiProgress`, which panics when the terminal goes away while it is suspended.
#![allow(clippy::disallowed_methods, reason = "shell: draws on the terminal")]

use super::door::{self, Pipe};
use super::model::Model;
use super::paint::Paint;
use super::render::{self, Frame};
use console::Term;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use std::io;
use std::sync::{Mutex, PoisonError};

/// The shortest time between two frames.
const FRAME_MS: u64 = 100;
/// A run that ends within that time shows no block.
const PATIENCE_MS: u64 = 150;
/// More scrolled lines than that are written at once.
const PENDING_BYTES: usize = 64 * 1024;
/// Lines of the block at most, whatever the terminal has room for.
const BLOCK_LINES: usize = 10;

/// What is on the terminal below the lines that scrolled by.
#[derive(Debug)]
pub(super) struct Terminal {
    paint: Paint,
    term: Term,
    bar: ProgressBar,
    pending: Vec<u8>,
    /// Whether there is a block.
    drawn: bool,
    last_frame_ms: u64,
    handed_over: bool,
}

impl Terminal {
    pub(super) fn new(paint: Paint) -> Self {
        let term = Term::buffered_stderr();
        let canvas = Canvas { term: term.clone(), drawn: Mutex::default() };
        let target = ProgressDrawTarget::term_like_with_hz(Box::new(canvas), (1000 / FRAME_MS) as u8);
        let style = ProgressStyle::with_template("{msg}").expect("it is a template");
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        Self { paint, term, bar, pending: Vec::new(), drawn: false, last_frame_ms: 0, handed_over: false }
    }

    /// Lines to scroll by with the next frame, or at once if they are many.
    pub(super) fn print(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
        if bytes.contains(&b'\x1b') {
            self.pending.extend_from_slice(b"\x1b[0m");
        }
        if self.pending.len() >= PENDING_BYTES {
            self.flush();
        }
    }

    /// Draws a frame if one is due.
    pub(super) fn draw(&mut self, model: &Model, now_ms: u64) {
        if self.due_ms(model).is_some_and(|due_ms| due_ms <= now_ms) {
            let show = !self.handed_over && now_ms >= model.since_ms + PATIENCE_MS;
            let block = if show { self.block(model, now_ms) } else { Vec::new() };
            self.show(&block);
            self.last_frame_ms = now_ms;
        }
    }

    /// When the next frame is due; none if there is nothing to draw.
    pub(super) fn due_ms(&self, model: &Model) -> Option<u64> {
        let next_ms = self.last_frame_ms + FRAME_MS;
        let block = !self.handed_over && !model.running.is_empty();
        match (self.pending.is_empty(), block || self.drawn) {
            (false, _) => Some(next_ms),
            (true, true) => Some(next_ms.max(model.since_ms + PATIENCE_MS)),
            (true, false) => None,
        }
    }

    pub(super) fn hand_over(&mut self, to_action: bool) {
        if to_action {
            self.clear();
        }
        self.handed_over = to_action;
    }

    /// Erases the block and writes what is pending.
    pub(super) fn clear(&mut self) {
        if self.drawn || !self.pending.is_empty() {
            self.show(&[]);
        }
    }

    fn block(&self, model: &Model, now_ms: u64) -> Vec<String> {
        let (rows, columns) = self.term.size();
        let lines = BLOCK_LINES.min(usize::from(rows) / 2);
        // The last column stays free: a full line would wrap on some terminals.
        let columns = usize::from(columns).saturating_sub(1);
        render::render(model, now_ms, Frame { columns, lines, paint: self.paint })
    }

    /// A frame, which a terminal that can shows at once.
    fn show(&mut self, block: &[String]) {
        door::write(Pipe::Stderr, b"\x1b[?2026h");
        self.bar.set_message(block.join("\n"));
        self.drawn = !block.is_empty();
        if block.is_empty() || !self.pending.is_empty() {
            self.flush();
        }
        door::write(Pipe::Stderr, b"\x1b[?2026l");
    }

    /// Writes what is pending above the block.
    fn flush(&mut self) {
        self.bar.suspend(|| door::write(Pipe::Stderr, &self.pending));
        self.pending.clear();
    }
}

/// What `indicatif` draws on: a frame leaves by the door, in one piece.
#[derive(Debug)]
struct Canvas {
    term: Term,
    drawn: Mutex<String>,
}

impl Canvas {
    #[allow(clippy::unnecessary_wraps, reason = "the form that `indicatif` wants")]
    fn draw(&self, text: &str) -> io::Result<()> {
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner).push_str(text);
        Ok(())
    }

    /// To move by nothing would be to move by one.
    fn move_cursor(&self, by: usize, to: char) -> io::Result<()> {
        if by == 0 { Ok(()) } else { self.draw(&format!("\x1b[{by}{to}")) }
    }
}

impl TermLike for Canvas {
    fn width(&self) -> u16 {
        self.term.size().1
    }

    fn height(&self) -> u16 {
        self.term.size().0
    }

    fn move_cursor_up(&self, by: usize) -> io::Result<()> {
        self.move_cursor(by, 'A')
    }

    fn move_cursor_down(&self, by: usize) -> io::Result<()> {
        self.move_cursor(by, 'B')
    }

    fn move_cursor_right(&self, by: usize) -> io::Result<()> {
        self.move_cursor(by, 'C')
    }

    fn move_cursor_left(&self, by: usize) -> io::Result<()> {
        self.move_cursor(by, 'D')
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.draw(line)?;
        self.draw("\n")
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        self.draw(text)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.draw("\r\x1b[2K")
    }

    fn flush(&self) -> io::Result<()> {
        let drawn = std::mem::take(&mut *self.drawn.lock().unwrap_or_else(PoisonError::into_inner));
        if !drawn.is_empty() {
            door::write(Pipe::Stderr, drawn.as_bytes());
        }
        Ok(())
    }
}
