//! The Makefile-style list of files that a compiler says it read.
//!
//! Understood as GCC and Clang write it: rules `target: file file`, continued by a backslash at a line's end,
//! with `\ `, `\#` and `$$` for a space, a hash and a dollar; several rules add up; phony rules without files
//! (`-MP`) name nothing.

/// The files on the right-hand sides, in order, without repetition.
pub fn parse(text: &[u8]) -> Vec<Vec<u8>> {
    let mut files: Vec<Vec<u8>> = Vec::new();
    let mut seen = rustc_hash::FxHashSet::default();
    for rule in rules(text) {
        let mut words = words(&rule).into_iter();
        // The left-hand side ends with the first word that ends in a colon; `C:\x` has none at its end.
        for word in words.by_ref() {
            if word.ends_with(b":") {
                break;
            }
        }
        for file in words {
            if seen.insert(file.clone()) {
                files.push(file);
            }
        }
    }
    files
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
            ("no colon here", &[]),
            ("o:", &[]),
        ] {
            let files: Vec<String> = parse(text.as_bytes())
                .into_iter()
                .map(|file| String::from_utf8_lossy(&file).into_owned())
                .collect();
            assert_eq!(files, expected, "{text:?}");
        }
    }
}
