//! A long Iactfile, cut in front of targets: the pieces are parsed, checked and read side by side, and no tree of the whole
//! file is ever in memory.
//!
//! Invariant: what comes out is what the whole file comes to. Each piece but the first begins where a line does, with the
//! header of a target. If that is no header but lies inside a string, a list or a table, the piece before does not end, which
//! is a mistake in it. With any mistake, and with anything that TOML has rules for across pieces (a table that two of them
//! speak of, `[target]` itself), there are no pieces: the whole file is parsed, and its first mistake told with its place.
//! Refused: to find out first where strings and lists end; that is most of the work of parsing.

use super::decl::{Manifest, Target};
use super::{check, names_are_unique, read, version_fits};
use crate::error::Source;
use rayon::prelude::*;
use rustc_hash::FxHashSet;
use std::sync::Arc;
use toml::de::DeTable;

/// Short enough for what is made of a piece to stay in a processor's cache, long enough for a thread to be worth it.
const PIECE_LEN: usize = 64 << 10;

const HEADER: &str = "[target.";

/// The targets of a piece, and its other tables.
struct Piece<'t> {
    targets: Vec<Target>,
    others: Option<DeTable<'t>>,
    base: usize,
}

/// The manifest of a long file, if its pieces say all.
pub(super) fn parse(source: &Arc<Source>, folder: &str) -> Option<Manifest> {
    (source.text.len() > 2 * PIECE_LEN).then_some(())?;
    in_pieces(source, folder, PIECE_LEN)
}

fn in_pieces(source: &Arc<Source>, folder: &str, piece_len: usize) -> Option<Manifest> {
    let cuts = cuts(&source.text, piece_len);
    let (&first, rest) = cuts.split_first()?;
    let head = DeTable::parse(&source.text[..first]).ok()?.into_inner();
    if head.contains_key("target") || !check::is_right(source, &head) {
        return None;
    }
    version_fits(source, &head).ok()?;
    let ends = rest.iter().copied().chain([source.text.len()]);
    let ranges: Vec<_> = cuts.iter().copied().zip(ends).collect();
    let pieces: Vec<Piece<'_>> =
        ranges.into_par_iter().map(|(start, end)| piece(source, start, end)).collect::<Option<_>>()?;
    let mut manifest = read::manifest(Arc::clone(source), folder, &head);
    let mut tables: FxHashSet<String> = head.keys().map(|key| key.get_ref().to_string()).collect();
    manifest.targets.reserve_exact(pieces.iter().map(|piece| piece.targets.len()).sum());
    for piece in pieces {
        manifest.targets.extend(piece.targets);
        if let Some(others) = piece.others {
            let are_new = others.keys().all(|key| tables.insert(key.get_ref().to_string()));
            are_new.then_some(())?;
            read::fill(&mut manifest, &others, piece.base);
        }
    }
    let mut names = FxHashSet::default();
    manifest.targets.iter().all(|target| names.insert(target.name.value.as_str())).then_some(())?;
    names_are_unique(&manifest).ok()?;
    Some(manifest)
}

/// A piece that is right by itself.
fn piece<'t>(source: &'t Arc<Source>, start: usize, end: usize) -> Option<Piece<'t>> {
    let mut document = DeTable::parse(&source.text[start..end]).ok()?.into_inner();
    check::is_right(source, &document).then_some(())?;
    let (key, value) = document.remove_entry("target")?;
    // A table that only its targets speak of is placed at its name in the first of them; `[target]` at its brackets.
    (key.span() == value.span()).then_some(())?;
    let targets = read::targets(&value, start);
    Some(Piece { targets, others: (!document.is_empty()).then_some(document), base: start })
}

/// Where pieces begin: before the first target, and before the next one after each `piece_len` bytes.
fn cuts(text: &str, piece_len: usize) -> Vec<usize> {
    let mut cuts = Vec::new();
    let mut from = 0;
    while let Some(found) = text.get(from..).and_then(|rest| rest.find(HEADER)) {
        let at = from + found;
        let begins_line = at == 0 || text.as_bytes()[at - 1] == b'\n';
        if begins_line && is_whole_name(&text[at + HEADER.len()..]) {
            cuts.push(at);
            from = text.ceil_char_boundary(at + piece_len);
        } else {
            from = at + HEADER.len();
        }
    }
    cuts
}

/// Whether a target's name and the end of its header follow: not one of its tables, which belongs to it.
fn is_whole_name(rest: &str) -> bool {
    let quoted = rest.strip_prefix('"');
    let is_name = |c: char| match quoted {
        Some(_) => !matches!(c, '"' | '\\' | '\n'),
        None => c.is_ascii_alphanumeric() || matches!(c, '-' | '_'),
    };
    let end = if quoted.is_some() { "\"]" } else { "]" };
    quoted.unwrap_or(rest).trim_start_matches(is_name).starts_with(end)
}

#[cfg(test)]
mod tests {
    use super::super::parse_whole;
    use super::*;
    use proptest::prelude::*;

    fn source(text: String) -> Arc<Source> {
        Arc::new(Source { path: "Iactfile.toml".into(), text })
    }

    const LINES: [&str; 26] = [
        "[target.a]",
        "[target.b]",
        "[target.b] # last",
        "[target.\"c/d\"]",
        "[target.e-é]",
        " [target.f]",
        "[target.a.env]",
        "[target.g.vars]",
        "[target]",
        "[[target.a]]",
        "[workspace]",
        "[service.s]",
        "[pool.p]",
        "slots = 1",
        "run = \"x\"",
        "run = \"\"\"",
        "\"\"\"",
        "description = '''",
        "'''",
        "inputs = [\"i\",",
        "]",
        "deps = [{ target = \"a\",",
        "vars = { v = 1 } }]",
        "aliases = [\"b\", \"z\"]",
        "# é [target.a]",
        "X = 1",
    ];

    /// What may stand in a target; none of it begins one.
    const BODIES: [&str; 5] = [
        "run = \"\"\"\n[target.z]\n\"\"\"",
        "inputs = [\n\"i\", # [target.y]\n\"é\"]\nexec = [\"x\"]",
        "description = '''\n[target.w]\n[target]\n'''\nenv = { A = 1 }",
        "deps = [{ target = \"a\",\nvars = { v = 1 } }]",
        "",
    ];

    fn target() -> impl Strategy<Value = String> {
        let body = prop::sample::select(&BODIES[..]);
        (0..400_u32, any::<bool>(), body).prop_map(|(name, quoted, body)| {
            if quoted {
                format!("[target.\"q/{name}\"] # é\n{body}")
            } else {
                format!("[target.t{name}]\n{body}")
            }
        })
    }

    fn line() -> impl Strategy<Value = String> {
        prop::sample::select(&LINES[..]).prop_map(str::to_owned)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4_000, ..ProptestConfig::default() })]

        #[test]
        fn what_comes_of_pieces_is_what_comes_of_the_whole(
            lines in prop::collection::vec(prop_oneof![20 => target(), 1 => line()], 1..16),
            end in prop::sample::select(&["\n", "\r\n"][..]),
            piece_len in 1_usize..60,
        ) {
            let source = source(lines.join(end));
            if let Some(manifest) = in_pieces(&source, "f", piece_len) {
                let whole = parse_whole(source, "f").expect("its pieces are right");
                prop_assert_eq!(format!("{manifest:?}"), format!("{whole:?}"));
            }
        }
    }

    #[test]
    fn a_right_file_is_read_in_pieces_wherever_it_is_cut() {
        let mut text = String::from("iact = \">=0.1\"\n[workspace]\ndefault = [\"t0\"]\n[vars]\nv = \"é\"\n");
        for number in 0..40 {
            text += &format!(
                "[target.t{number}]\ninputs = [\n  \"{number}\",\n]\nrun = \"\"\"\necho [x]\n\"\"\"\n\
                 [target.t{number}.env]\nA = {number} # one\n[target.\"x/{number}\"]\naliases = [\"y{number}\"]\n"
            );
        }
        text += "[service.s]\nrun = \"x\"\n[pool.p]\nslots = 2\n";
        let source = source(text);
        let whole = parse_whole(Arc::clone(&source), "").expect("a good file");
        for piece_len in [1, 7, 100, 1_000, 100_000] {
            let manifest = in_pieces(&source, "", piece_len).expect("a good file");
            assert_eq!(format!("{manifest:?}"), format!("{whole:?}"), "{piece_len}");
        }
        assert_eq!(cuts("[target.a]\nrun = \"[target.b]\"\n[target.c.env]\n[target.d]\n", 1), [0, 45]);
    }

    #[test]
    fn what_tables_say_to_each_other_is_asked_of_the_whole() {
        for text in [
            "[target.a]\n[target.b]\n[target.a]\n",
            "[target.a]\n[target.b]\n[target.a.env]\n[target.c]\n",
            "[target.a]\n[target]\n[target.b]\n[target]\n",
            "[target.a]\naliases = [\"b\"]\n[target.b]\n",
            "[target.a]\n[service.s]\nrun = \"x\"\n[target.b]\n[service.s]\nrun = \"x\"\n",
            "target.z.run = \"x\"\n[target.a]\n",
            "[target.a]\nrun = \"\"\"\n[target.b]\n\"\"\"\n",
        ] {
            assert!(in_pieces(&source(text.into()), "", 1).is_none(), "{text}");
        }
    }
}
