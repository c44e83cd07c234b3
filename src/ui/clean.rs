//! Text from files, names and commands, made safe to show.
//!
//! Invariant: what leaves here moves no cursor, changes no colour and reorders nothing around it.

use std::borrow::Cow;

/// One line of it: escape sequences go, tabs become a blank, other control characters are shown as
/// pictures.
pub fn clean(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(visible(&console::strip_ansi_codes(text)).replace('\t', " "))
}

/// As many characters as there were: all but tabs that are not safe to show are replaced by pictures.
pub fn visible(text: &str) -> String {
    let picture = |c| match c {
        '\t' => '\t',
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).expect("the control pictures begin there"),
        '\x7f' => '␡',
        c if is_unsafe(c) => '\u{fffd}',
        c => c,
    };
    text.chars().map(picture).collect()
}

fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
