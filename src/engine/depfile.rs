//! The Makefile-style list of files that a compiler says it read.
//!
//! Understood as GCC and Clang write it: rules `target: file file`, continued by a backslash at a line's end,
//! with `\ `, `\#` and `$$` for a space, a hash and a dollar; several rules add up; phony rules without files
//! (`-MP`) name nothing. A text that is no list at all is refused: taken for an empty one it would hide every header.

/// The files on the right-hand sides, in order, without repetition.
///
/// # Errors
/// Why it is no such list.
pub fn parse(text: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut seen = rustc_hash::FxHashSet::default();
    if text.contains(&0) {
        return Err("holds a NUL byte");
    }
    for rule in rules(text) {
        let Some(colon) = left_hand_side(&rule) else {
            if rule.trim_ascii().is_empty() {
                continue;
            }
            return Err("has a line that is no rule `target: file file`");
        };
        for file in words(&rule[colon + 1..]) {
            if seen.insert(file.clone()) {
                files.push(file);
            }
        }
    }
    Ok(files)
}

/// Where the colon is that ends the left-hand side: the first before a space or the end, else the first of all.
fn left_hand_side(rule: &[u8]) -> Option<usize> {
    let is_escaped = |at: usize| at > 0 && rule[at - 1] == b'\\';
    let colons = || (0..rule.len()).filter(|&at| rule[at] == b':' && !is_escaped(at));
    let is_last = |at: &usize| rule.get(at + 1).is_none_or(|next| next.is_ascii_whitespace());
    colons().find(is_last).or_else(|| colons().next())
}

/// Lines, those continued joined.
fn rules(text: &[u8]) -> Vec<Vec<u8>> {
    let mut rules = vec![Vec::new()];
    let mut bytes = text.iter().copied().filter(|&byte| byte != b'\r').peekable();
    while let Some(byte) = bytes.next() {
        let rule = rules.last_mut().expect("there is always one");
        match byte {
            b'\\' if bytes.peek() == Some(&b'\n') => {
                bytes.next();
                rule.push(b' ');
            }
            b'\n' => rules.push(Vec::new()),
            _ => rule.push(byte),
        }
    }
    rules
}

fn words(rule: &[u8]) -> Vec<Vec<u8>> {
    let mut words = vec![Vec::new()];
    let mut bytes = rule.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let word = words.last_mut().expect("there is always one");
        match (byte, bytes.peek()) {
            (b'\\', Some(b' ' | b'#')) | (b'$', Some(b'$')) => {
                word.push(bytes.next().expect("it was just seen"))
            }
            (b' ' | b'\t', _) => words.push(Vec::new()),
            _ => word.push(byte),
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_right_hand_sides_are_understood() {
        for (text, expected) in [
            ("o.o: a.c b.h\n", &["a.c", "b.h"][..]),
            ("o.o: a.c \\\n  b.h \\\r\n c.h\n", &["a.c", "b.h", "c.h"]),
            ("o.o x.o: a\\ b.c $$x \\#y\n", &["a b.c", "$x", "#y"]),
            ("o.o: a.c a.h\n\na.h:\n", &["a.c", "a.h"]),
            ("a: b\nc: b d", &["b", "d"]),
            ("", &[]),
            ("o:", &[]),
            ("o:x.h\n", &["x.h"]),
            ("a:b.o: x.h", &["x.h"]),
            ("a\\:b.o:x.h", &["x.h"]),
            (" \n\t\n", &[]),
        ] {
            let files: Vec<String> = parse(text.as_bytes())
                .unwrap()
                .into_iter()
                .map(|file| String::from_utf8_lossy(&file).into_owned())
                .collect();
            assert_eq!(files, expected, "{text:?}");
        }
    }

    #[test]
    fn what_is_no_list_is_not_an_empty_one() {
        for text in ["no colon here", "o: a\0b", "o\0:\0 \0x\0"] {
            assert!(parse(text.as_bytes()).is_err(), "{text:?}");
        }
    }
}
