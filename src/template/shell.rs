//! Puts values into a shell text so that the shell reads each as the data it is.
//!
//! The template engine leaves every value as a *mark* (NUL, number of words, NUL, then each word and NUL; no
//! text and no value may hold a NUL). This file walks the rendered text as a shell would and writes each mark
//! in the quoting its surroundings ask for: quoted words in a command, escaped inside `"…"`, `'…'`, `$'…'`
//! and here-documents. Where no quoting is right (backticks, arithmetic, after a backslash) a value that is
//! not plain is an error, and so is one in a script whose quotes never end: then this walk and the shell
//! would not mean the same.
//!
//! Invariant: whatever a value holds, the shell sees exactly it, and nothing of it is executed. Refused:
//! quoting without looking around, as most tools do. It turns `echo "{{ name }}"`, the most natural thing to
//! write, into an injection.

/// Why a value can not stand where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Misplaced {
    #[error("a value can not follow a backslash")]
    AfterBackslash,
    #[error("this value can not be quoted inside backticks; use `$(…)`")]
    InBackticks,
    #[error(
        "a value with a `'`, `<` or `>` can not be quoted inside `\"${{…}}\"`; put it into a variable first"
    )]
    InParameter,
    #[error("a value inside arithmetic must be a number or a name")]
    InArithmetic,
    #[error("this value would end the here-document it stands in")]
    EndsHereDocument,
    #[error("the quotes of this script do not end, so its values can not be quoted")]
    OpenEnd,
    #[error("a quoted value was changed by a filter; apply the filter to the value itself")]
    BrokenMark,
}

/// Writes a value of so many words as a mark.
pub(super) fn mark<'a>(words: impl ExactSizeIterator<Item = &'a str>, out: &mut String) {
    out.push('\0');
    out.push_str(&words.len().to_string());
    out.push('\0');
    for word in words {
        out.push_str(word);
        out.push('\0');
    }
}

/// One word, quoted only if it must be.
pub(super) fn quote(word: &str) -> String {
    let mut out = Vec::with_capacity(word.len() + 2);
    push_quoted(word, &mut out);
    String::from_utf8(out).expect("quoting adds ASCII to a text")
}

fn push_quoted(word: &str, out: &mut Vec<u8>) {
    if is_plain(word) && !is_special(word) {
        out.extend_from_slice(word.as_bytes());
    } else {
        out.push(b'\'');
        push_escaped(word, |byte| (byte == b'\'').then_some(&b"'\\''"[..]), out);
        out.push(b'\'');
    }
}

fn push_escaped(word: &str, escape: impl Fn(u8) -> Option<&'static [u8]>, out: &mut Vec<u8>) {
    for byte in word.bytes() {
        match escape(byte) {
            Some(escaped) => out.extend_from_slice(escaped),
            None => out.push(byte),
        }
    }
}

fn is_plain(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_@%+=:./-".contains(&b))
}

/// Plain characters that mean something to the shell as a word: an assignment, a reserved word or, inside `[[ … ]]`, a test.
fn is_special(word: &str) -> bool {
    const RESERVED: [&str; 17] = [
        "case", "coproc", "do", "done", "elif", "else", "esac", "fi", "for", "function", "if", "in",
        "select", "then", "time", "until", "while",
    ];
    let name = word.split(['=', '+']).next().unwrap_or_default();
    let assigns = name.len() < word.len()
        && word[name.len()..].trim_start_matches('+').starts_with('=')
        && !name.starts_with(|c: char| c.is_ascii_digit())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    let tests = word.len() == 2 && word.starts_with('-');
    assigns || tests || RESERVED.contains(&word)
}

/// What the shell is inside of.
#[derive(Debug, PartialEq, Eq)]
enum Inside {
    /// Commands, until the text, `)` or a backtick ends them.
    Code { until: u8, parens: u32, cases: u32 },
    /// `$((…))` or `((…))`.
    Arithmetic { parens: u32 },
    /// `'…'`.
    Single,
    /// `"…"`.
    Double,
    /// `$'…'`.
    Ansi,
    /// `${…}`, within double quotes or not.
    Parameter { quoted: bool },
    /// `# …`.
    Comment,
    /// `<<WORD`.
    Here(Here),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Here {
    delimiter: Vec<u8>,
    literal: bool,
    strip_tabs: bool,
}

/// Replaces the marks of a rendered shell text.
pub(super) fn requote(text: &str) -> Result<String, Misplaced> {
    let mut walk = Walk {
        text: text.as_bytes(),
        at: 0,
        out: Vec::with_capacity(text.len() + 16),
        inside: vec![Inside::Code { until: 0, parens: 0, cases: 0 }],
        waiting: Vec::new(),
        command: true,
        quoted: false,
    };
    while walk.at < walk.text.len() {
        walk.step()?;
    }
    if walk.quoted && !matches!(walk.inside[1..], [] | [Inside::Comment]) {
        return Err(Misplaced::OpenEnd);
    }
    Ok(String::from_utf8(walk.out).expect("whole words are put between whole characters"))
}

struct Walk<'t> {
    text: &'t [u8],
    at: usize,
    out: Vec<u8>,
    inside: Vec<Inside>,
    /// Here-documents whose body begins with the next line.
    waiting: Vec<Here>,
    /// Whether the next word is the name of a command.
    command: bool,
    /// Whether some value was not plain, so that the surroundings mattered.
    quoted: bool,
}

impl Walk<'_> {
    fn peek(&self, ahead: usize) -> u8 {
        self.text.get(self.at + ahead).copied().unwrap_or(b'\n')
    }

    fn copy(&mut self, count: usize) {
        let end = (self.at + count).min(self.text.len());
        self.out.extend_from_slice(&self.text[self.at..end]);
        self.at = end;
    }

    fn enter(&mut self, count: usize, inside: Inside) -> Result<(), Misplaced> {
        self.copy(count);
        self.inside.push(inside);
        Ok(())
    }

    fn leave(&mut self, count: usize) -> Result<(), Misplaced> {
        self.copy(count);
        if self.inside.len() > 1 {
            self.inside.pop();
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), Misplaced> {
        let byte = self.peek(0);
        if byte == 0 {
            return self.value();
        }
        match self.inside.last().expect("the outermost is never left") {
            Inside::Code { .. } => self.code(byte),
            Inside::Arithmetic { parens } => match (byte, parens) {
                (b')', 1) => self.leave(1),
                (b'(' | b')', _) => self.count_parens(byte),
                _ => self.expansion(byte, false),
            },
            Inside::Single => {
                if byte == b'\'' {
                    self.leave(1)
                } else {
                    self.plain()
                }
            }
            Inside::Ansi if byte == b'\'' => self.leave(1),
            Inside::Ansi if byte == b'\\' => self.backslash(),
            Inside::Ansi => self.plain(),
            Inside::Double if byte == b'"' => self.leave(1),
            Inside::Double => self.expansion(byte, true),
            Inside::Parameter { quoted } => match (byte, *quoted) {
                (b'}', _) => self.leave(1),
                (b'\'', false) => self.enter(1, Inside::Single),
                (b'"', _) => self.enter(1, Inside::Double),
                (_, quoted) => self.expansion(byte, quoted),
            },
            Inside::Comment if byte == b'\n' => self.leave(0),
            Inside::Comment => self.plain(),
            Inside::Here(_) => self.here(byte),
        }
    }

    fn plain(&mut self) -> Result<(), Misplaced> {
        self.copy(1);
        Ok(())
    }

    fn backslash(&mut self) -> Result<(), Misplaced> {
        if self.peek(1) == 0 && self.at + 1 < self.text.len() {
            return Err(Misplaced::AfterBackslash);
        }
        self.copy(2);
        Ok(())
    }

    fn count_parens(&mut self, byte: u8) -> Result<(), Misplaced> {
        if let Some(Inside::Arithmetic { parens } | Inside::Code { parens, .. }) = self.inside.last_mut() {
            *parens = if byte == b'(' { *parens + 1 } else { parens.saturating_sub(1) };
        }
        self.plain()
    }

    /// Backslash, `$…` and backticks, which mean the same in commands, double quotes and parameters.
    fn expansion(&mut self, byte: u8, quoted: bool) -> Result<(), Misplaced> {
        match (byte, self.peek(1), self.peek(2)) {
            (b'\\', ..) => self.backslash(),
            (b'$', b'(', b'(') => self.enter(3, Inside::Arithmetic { parens: 2 }),
            (b'$', b'(', _) => self.enter_code(2, b')'),
            (b'$', b'{', _) => self.enter(2, Inside::Parameter { quoted }),
            (b'$', b'\'', _) if !quoted => self.enter(2, Inside::Ansi),
            (b'`', ..) => self.enter_code(1, b'`'),
            _ => self.plain(),
        }
    }

    fn enter_code(&mut self, count: usize, until: u8) -> Result<(), Misplaced> {
        self.command = true;
        self.enter(count, Inside::Code { until, parens: 0, cases: 0 })
    }

    fn code(&mut self, byte: u8) -> Result<(), Misplaced> {
        let Some(Inside::Code { until, parens, cases }) = self.inside.last() else { return self.plain() };
        let (until, parens, cases) = (*until, *parens, *cases);
        match byte {
            b'`' | b')' if until == byte && parens == 0 && cases == 0 => {
                self.command = false;
                self.leave(1)
            }
            b'(' if self.at_word_start() && self.peek(1) == b'(' => {
                self.enter(2, Inside::Arithmetic { parens: 2 })
            }
            b'(' | b')' => {
                self.command = true;
                self.count_parens(byte)
            }
            b'\'' => self.enter(1, Inside::Single),
            b'"' => self.enter(1, Inside::Double),
            b'#' if self.at_word_start() => self.enter(1, Inside::Comment),
            b'<' if self.peek(1) == b'<' && self.peek(2) == b'<' => {
                self.copy(3);
                Ok(())
            }
            b'<' if self.peek(1) == b'<' => {
                self.here_operator();
                Ok(())
            }
            b'\n' => {
                self.command = true;
                self.copy(1);
                self.inside.extend(self.waiting.drain(..).rev().map(Inside::Here));
                Ok(())
            }
            b';' | b'&' | b'|' => {
                self.command = true;
                self.plain()
            }
            _ if byte.is_ascii_alphabetic() && self.at_word_start() => {
                self.word();
                Ok(())
            }
            _ => {
                self.command &= byte.is_ascii_whitespace() || matches!(byte, b'{' | b'!');
                self.expansion(byte, false)
            }
        }
    }

    fn at_word_start(&self) -> bool {
        self.out.last().is_none_or(|last| last.is_ascii_whitespace() || b";&|()<>`".contains(last))
    }

    /// Copies a bare word; `case … esac` has unbalanced parentheses.
    fn word(&mut self) {
        let rest = &self.text[self.at..];
        let length = rest.iter().position(|b| !b.is_ascii_alphanumeric() && *b != b'_').unwrap_or(rest.len());
        let word = &rest[..length];
        let ends =
            self.text.get(self.at + length).is_none_or(|b| b.is_ascii_whitespace() || b";&|()".contains(b));
        if let (true, Some(Inside::Code { cases, .. })) = (self.command && ends, self.inside.last_mut()) {
            match word {
                b"case" => *cases += 1,
                b"esac" => *cases = cases.saturating_sub(1),
                _ => {}
            }
        }
        self.command &=
            ends && matches!(word, b"then" | b"do" | b"else" | b"elif" | b"if" | b"while" | b"until");
        self.copy(length);
    }

    /// `<<WORD`, `<<-WORD`, `<< 'WORD'`.
    fn here_operator(&mut self) {
        self.copy(2);
        let strip_tabs = self.peek(0) == b'-';
        self.copy(usize::from(strip_tabs));
        while matches!(self.peek(0), b' ' | b'\t') {
            self.copy(1);
        }
        let (mut delimiter, mut literal, mut quote) = (Vec::new(), false, 0);
        while self.at < self.text.len() {
            let byte = self.peek(0);
            match byte {
                b'\'' | b'"' if quote == 0 => (literal, quote) = (true, byte),
                _ if byte == quote => quote = 0,
                b'\\' if quote == 0 => {
                    literal = true;
                    self.copy(1);
                    delimiter.push(self.peek(0));
                }
                0 | b'\n' => break,
                _ if quote == 0 && (byte.is_ascii_whitespace() || b";&|()<>".contains(&byte)) => break,
                _ => delimiter.push(byte),
            }
            self.copy(1);
        }
        if !delimiter.is_empty() {
            self.waiting.push(Here { delimiter, literal, strip_tabs });
        }
    }

    fn here(&mut self, byte: u8) -> Result<(), Misplaced> {
        let Some(Inside::Here(here)) = self.inside.last() else { return self.plain() };
        if self.out.last() == Some(&b'\n') {
            let line = self.text[self.at..].split(|b| *b == b'\n').next().unwrap_or_default();
            let tabs = if here.strip_tabs { line.iter().take_while(|b| **b == b'\t').count() } else { 0 };
            if line[tabs..] == here.delimiter[..] {
                return self.leave(line.len());
            }
        }
        if here.literal { self.plain() } else { self.expansion(byte, true) }
    }

    fn value(&mut self) -> Result<(), Misplaced> {
        let mut parts = self.text[self.at + 1..].split(|b| *b == 0);
        let next = |parts: &mut std::slice::Split<'_, u8, _>| -> Option<String> {
            parts.next().and_then(|part| String::from_utf8(part.to_vec()).ok())
        };
        let header = next(&mut parts).filter(|count| count.len() < 10).ok_or(Misplaced::BrokenMark)?;
        let count = header.parse::<usize>().map_err(|_| Misplaced::BrokenMark)?;
        let words: Option<Vec<String>> = (0..count).map(|_| next(&mut parts)).collect();
        let words = words.ok_or(Misplaced::BrokenMark)?;
        let end = self.at + 2 + header.len() + words.iter().map(|word| word.len() + 1).sum::<usize>();
        if end > self.text.len() {
            return Err(Misplaced::BrokenMark);
        }
        self.at = end;
        self.put(&words)
    }

    fn put(&mut self, words: &[String]) -> Result<(), Misplaced> {
        let plain = words.iter().all(|word| is_plain(word));
        self.quoted |= !plain;
        let in_backticks =
            self.inside.iter().any(|inside| matches!(inside, Inside::Code { until: b'`', .. }));
        if in_backticks && !plain {
            return Err(Misplaced::InBackticks);
        }
        let joined = || words.join(" ");
        match self.inside.last().expect("the outermost is never left") {
            Inside::Code { .. } | Inside::Parameter { quoted: false } => self.put_words(words),
            Inside::Arithmetic { .. } => {
                let value = joined();
                if !value.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-')) {
                    return Err(Misplaced::InArithmetic);
                }
                self.out.extend_from_slice(value.as_bytes());
            }
            Inside::Single => {
                push_escaped(&joined(), |byte| (byte == b'\'').then_some(&b"'\\''"[..]), &mut self.out);
            }
            Inside::Ansi => push_escaped(&joined(), ansi, &mut self.out),
            Inside::Double => push_escaped(&joined(), double, &mut self.out),
            // Shells disagree on what a single quote is here, and bash looks for process substitutions.
            Inside::Parameter { quoted: true } if joined().contains(['\'', '<', '>']) => {
                return Err(Misplaced::InParameter);
            }
            Inside::Parameter { quoted: true } => {
                push_escaped(&joined(), |b| if b == b'}' { Some(b"\\}") } else { double(b) }, &mut self.out);
            }
            Inside::Comment => {
                self.out.extend(joined().bytes().map(|b| if matches!(b, b'\n' | b'\r') { b' ' } else { b }));
            }
            Inside::Here(here) => {
                let value = joined();
                let ends = value.as_bytes().windows(here.delimiter.len()).any(|part| part == here.delimiter);
                if ends && (value.contains('\n') || self.out.last() == Some(&b'\n')) {
                    return Err(Misplaced::EndsHereDocument);
                }
                let literal = here.literal;
                push_escaped(
                    &value,
                    |byte| if literal || byte == b'"' { None } else { double(byte) },
                    &mut self.out,
                );
            }
        }
        Ok(())
    }

    fn put_words(&mut self, words: &[String]) {
        for (at, word) in words.iter().enumerate() {
            if at > 0 {
                self.out.push(b' ');
            }
            let redirects = at + 1 == words.len()
                && matches!(self.peek(0), b'<' | b'>')
                && word.bytes().all(|byte| byte.is_ascii_digit());
            if redirects && !word.is_empty() {
                self.out.extend_from_slice(format!("'{word}'").as_bytes());
            } else {
                push_quoted(word, &mut self.out);
            }
        }
        self.command &= words.is_empty();
    }
}

fn double(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'\\' => Some(b"\\\\"),
        b'$' => Some(b"\\$"),
        b'`' => Some(b"\\`"),
        b'"' => Some(b"\\\""),
        _ => None,
    }
}

fn ansi(byte: u8) -> Option<&'static [u8]> {
    match byte {
        b'\\' => Some(b"\\\\"),
        b'\'' => Some(b"\\'"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_quoted_only_if_they_must_be() {
        for (word, quoted) in [
            ("", "''"),
            ("3.12.6", "3.12.6"),
            ("a/b-c_d.e:f@g%h+i", "a/b-c_d.e:f@g%h+i"),
            ("--opt=val", "--opt=val"),
            ("A=b", "'A=b'"),
            ("a_1+=b", "'a_1+=b'"),
            ("1=2", "1=2"),
            ("if", "'if'"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("1,2", "'1,2'"),
            ("~", "'~'"),
            ("é", "'é'"),
            ("$(x)", "'$(x)'"),
            ("a\nb", "'a\nb'"),
        ] {
            assert_eq!(quote(word), quoted);
        }
    }

    #[test]
    fn a_value_is_written_as_its_surroundings_ask() {
        let evil = "a'b\"$c`d\\";
        for (text, written) in [
            ("x @", r#"x 'a'\''b"$c`d\'"#),
            (r#"x "@""#, r#"x "a'b\"\$c\`d\\""#),
            ("x '@'", r#"x 'a'\''b"$c`d\'"#),
            ("x $'@'", r#"x $'a\'b"$c`d\\'"#),
            (r#"x "$(y @)""#, r#"x "$(y 'a'\''b"$c`d\')""#),
            ("x # don't @\ny @", "x # don't a'b\"$c`d\\\ny 'a'\\''b\"$c`d\\'"),
            ("x <<E\nit's @\nE\ny @", "x <<E\nit's a'b\"\\$c\\`d\\\\\nE\ny 'a'\\''b\"$c`d\\'"),
            ("x <<'E'\n@\nE\ny", "x <<'E'\na'b\"$c`d\\\nE\ny"),
            ("x $(( 1 << 2 )) @", r#"x $(( 1 << 2 )) 'a'\''b"$c`d\'"#),
            (r#"x "$(case y in z) w;; esac)" @"#, r#"x "$(case y in z) w;; esac)" 'a'\''b"$c`d\'"#),
            (r#"x "$(echo case)" @"#, r#"x "$(echo case)" 'a'\''b"$c`d\'"#),
        ] {
            let mut marked = String::new();
            mark([evil].into_iter(), &mut marked);
            assert_eq!(requote(&text.replace('@', &marked)).as_deref(), Ok(written), "{text}");
        }
    }

    #[test]
    fn a_value_no_quoting_can_save_is_refused() {
        for (text, value, why) in [
            (r"x \@", "a", Misplaced::AfterBackslash),
            ("x `y @`", "a b", Misplaced::InBackticks),
            ("x \"${y:-@}\"", "it's", Misplaced::InParameter),
            ("x \"${y:-@}\"", "<(", Misplaced::InParameter),
            ("x $((@))", "a[$(b)]", Misplaced::InArithmetic),
            ("x <<E\n@\nE", "E", Misplaced::EndsHereDocument),
            ("x <<E\na @\nE", "b\nE\nc", Misplaced::EndsHereDocument),
            ("x '@", "a b", Misplaced::OpenEnd),
            ("let x=1<<2\ny @", "a b", Misplaced::OpenEnd),
            ("x \0", "", Misplaced::BrokenMark),
            ("x \x003\0a\0", "", Misplaced::BrokenMark),
        ] {
            let mut marked = String::new();
            mark([value].into_iter(), &mut marked);
            assert_eq!(requote(&text.replace('@', &marked)), Err(why), "{text}");
        }
    }

    #[test]
    fn a_number_does_not_become_a_descriptor() {
        let mut marked = String::new();
        mark(["2"].into_iter(), &mut marked);
        assert_eq!(requote(&format!("echo {marked}>f")).as_deref(), Ok("echo '2'>f"));
        assert_eq!(requote(&format!("echo {marked} >f")).as_deref(), Ok("echo 2 >f"));
    }
}
