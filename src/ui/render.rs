//! A run as far as it has come, as the few lines at the bottom of the terminal.
//!
//! ```text
//! [12/15] 2 running, about 1m40s left
//!   cpython-build  12s of 1m52s  checking for sys/param.h... yes
//!   lint-shell     3s
//! ```

use super::clean::clean;
use super::model::{Model, Running};
use super::paint::Paint;
use super::phrase;
use console::{Alignment, measure_text_width, pad_str, truncate_str};
use std::fmt::Write as _;

/// Names are padded to the longest up to here.
const NAME_COLUMNS: usize = 40;
/// With less room than that, what a command wrote last is not shown.
const LAST_LINE_COLUMNS: usize = 6;

/// Room for the picture, and whether it may have colours.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    /// Columns; nothing is wider.
    pub(super) columns: usize,
    /// Lines at most.
    pub(super) lines: usize,
    /// Colours.
    pub(super) paint: Paint,
}

/// The lines, none of them wider than the frame; none at all if nothing runs.
pub(super) fn render(model: &Model, now_ms: u64, frame: Frame) -> Vec<String> {
    if model.running.is_empty() || frame.lines == 0 || frame.columns == 0 {
        return Vec::new();
    }
    let room = frame.lines - 1;
    let shown = if model.running.len() > room { room.saturating_sub(1) } else { model.running.len() };
    let running = &model.running[..shown];
    let names = running.iter().map(|running| measure_text_width(&running.target)).max().unwrap_or(0);
    let names = names.min(NAME_COLUMNS).min(frame.columns / 2);
    let mut lines = vec![headline(model, now_ms, frame.paint)];
    lines.extend(running.iter().map(|running| line(running, names, now_ms, frame)));
    if shown < model.running.len() && room > 0 {
        let rest = format!("  and {} more", model.running.len() - shown);
        lines.push(frame.paint.dim(&rest));
    }
    lines.iter().map(|line| truncate_str(line, frame.columns, "…").into_owned()).collect()
}

fn headline(model: &Model, now_ms: u64, paint: Paint) -> String {
    let counts = paint.bold(&format!("[{}/{}]", model.finished(), model.actions));
    let mut line = format!("{counts} {} running", model.running.len());
    if model.done.failed > 0 {
        let _ = write!(line, ", {} failed", model.done.failed);
    }
    if let Some(left_ms) = model.left_ms(now_ms).filter(|left_ms| *left_ms >= 1000) {
        let _ = write!(line, ", about {} left", phrase::seconds(left_ms));
    }
    line
}

fn line(running: &Running, names: usize, now_ms: u64, frame: Frame) -> String {
    let time = phrase::seconds(now_ms.saturating_sub(running.since_ms));
    let time = match running.expected_ms {
        Some(expected_ms) if expected_ms >= 1000 => format!("{time} of {}", phrase::seconds(expected_ms)),
        _ => time,
    };
    let target = clean(&running.target);
    let head = format!("  {}  {time}", pad_str(&target, names, Alignment::Left, Some("…")));
    if running.last_line.is_empty() || frame.columns < measure_text_width(&head) + LAST_LINE_COLUMNS {
        return head;
    }
    format!("{head}  {}", frame.paint.dim(&running.last_line))
}
