//! Mistakes, as people read them: message, place with the line and a mark under the spot, causes, hints.
//!
//! ```text
//! error: target `test` depends on `biuld`, which is not defined
//!   --> Iactfile.toml:14:9
//!    |
//! 14 | deps = ["biuld"]
//!    |         ^^^^^^^
//! hint: did you mean `build`?
//! ```
//!
//! Invariant: `FILE:LINE:COLUMN` stands there literally, both counted from 1, columns in characters;
//! nothing from a file or a name acts on the terminal. `annotate-snippets` draws; it is given the one line,
//! not the file.

use super::clean::{clean, visible};
use super::github;
use super::paint::Paint;
use crate::error::{Error, Place};
use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// A source line is cut around the spot to so many columns, unless the terminal tells.
const LINE_COLUMNS: usize = 110;

/// The whole message, ending with a newline.
pub fn render(error: &Error, paint: Paint, columns: Option<usize>) -> String {
    let mut message = Group::with_title(Level::ERROR.primary_title(clean_lines(&error.message)));
    if let Some(place) = &error.place {
        message = message.element(excerpt(place));
    }
    let causes =
        error.causes.iter().map(|cause| Level::NOTE.with_name("because").message(clean_lines(cause)));
    let renderer = if paint.0 { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(columns.unwrap_or(LINE_COLUMNS).clamp(40, 200));
    let mut text = renderer.render(&[message.elements(causes)]) + "\n";
    // Each on its own: in one report they would hang together by empty bars.
    for hint in &error.hints {
        let title = Level::HELP.with_name("hint").secondary_title(clean_lines(hint));
        text += &renderer.render(&[Group::with_title(title)]);
        text.push('\n');
    }
    text
}

/// The same mistake as an annotation for GitHub.
pub fn github_annotation(error: &Error) -> String {
    match &error.place {
        Some(place) => {
            let spot = Spot::of(place);
            let column = 1 + spot.before.chars().count();
            github::error_at(&place.source.path, spot.line, column, &error.message)
        }
        None => github::error("iact", &error.message),
    }
}

/// A place as the line it is in.
struct Spot<'a> {
    /// From 1.
    line: usize,
    before: &'a str,
    /// Empty at a line's end.
    marked: &'a str,
    after: &'a str,
}

impl<'a> Spot<'a> {
    /// A span outside the text or inside a character is moved to the nearest one before.
    fn of(place: &'a Place) -> Self {
        let text = place.source.text.as_str();
        let start = text.floor_char_boundary(place.span.start as usize);
        let begin = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let end = if text[begin..end].ends_with('\r') { end - 1 } else { end };
        let start = start.min(end);
        let stop = text.floor_char_boundary(place.span.end as usize).clamp(start, end);
        Self {
            line: 1 + text.as_bytes()[..begin].iter().filter(|byte| **byte == b'\n').count(),
            before: &text[begin..start],
            marked: &text[start..stop],
            after: &text[stop..end],
        }
    }
}

fn excerpt(place: &Place) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
    let spot = Spot::of(place);
    let (before, marked, after) = (visible(spot.before), visible(spot.marked), visible(spot.after));
    let span = before.len()..before.len() + marked.len();
    Snippet::source(before + &marked + &after)
        .line_start(spot.line)
        .path(clean(&place.source.path).into_owned())
        .annotation(AnnotationKind::Primary.span(span))
}

/// Lines made safe to show.
fn clean_lines(text: &str) -> String {
    text.trim_end().lines().map(clean).collect::<Vec<_>>().join("\n")
}
