//! Keys whose form is fixed and checked but whose feature is not there yet. Using one is an error with a
//! place: a key that is silently ignored would be worse than one that is unknown.
//!
//! When a feature lands, its row goes; when the last row goes, this file goes.

/// Table and key, as the table of keys names them.
const NOT_YET: &[(&str, &str)] = &[("root", "remote"), ("target", "platform")];

/// Whether this key of this table waits for its feature.
pub(super) fn is_not_yet(table: &str, key: &str) -> bool {
    NOT_YET.iter().any(|(in_table, name)| *name == key && *in_table == table)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::keys;

    #[test]
    fn every_row_names_a_key() {
        for (table, key) in NOT_YET {
            let fields = if *table == "root" { &keys::ROOT } else { &keys::TARGET };
            assert!(fields.row(key).is_some(), "{table}.{key}");
        }
    }

    #[test]
    fn the_reference_says_so_and_says_it_of_nothing_else() {
        let page = include_str!("../../docs/iactfile.md");
        for (table, fields) in [("root", &keys::ROOT), ("target", &keys::TARGET)] {
            for row in fields.rows {
                let start = format!("| `{}` |", row.name);
                let lines: Vec<&str> = page.lines().filter(|line| line.starts_with(&start)).collect();
                let marked = lines.iter().any(|line| line.to_lowercase().contains("*not yet*"));
                assert!(!lines.is_empty(), "`{}` has no line", row.name);
                // A key of this name in another table may be waiting while this one is there.
                if lines.len() == 1 || is_not_yet(table, row.name) {
                    assert_eq!(marked, is_not_yet(table, row.name), "{table}.{}", row.name);
                }
            }
        }
    }
}
