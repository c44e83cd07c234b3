//! Paths as Iactfiles write them and as iact keeps them: relative to the workspace's root, `/` between names,
//! no `.`, no `..`, no doubled or trailing slash; the root itself is the empty text.
//!
//! Invariant: a [`normalise`]d path names something at or beneath the root, lexically; two that are equal are
//! the same place, and nothing but the path's text was asked. (What links do to it is the shell's question,
//! at the time of use.)

/// A normalised path and how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Normal {
    /// Relative to the root; empty for the root itself.
    pub path: String,
    /// Whether it ended in a slash, which says it is a folder.
    pub folder: bool,
}

/// Why a path can not be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Nothing was written.
    #[error("empty path")]
    Empty,
    /// It starts at the file system's root.
    #[error("`{0}` is absolute; paths are relative to the Iactfile")]
    Absolute(String),
    /// It climbs out.
    #[error("`{0}` leaves the workspace")]
    Leaves(String),
    /// No path can hold it.
    #[error("`{0}` holds a NUL")]
    Nul(String),
    /// It belongs to somebody else.
    #[error("`{0}` can not be an output: `{1}` is not the build's")]
    Reserved(String, &'static str),
    /// The root or the Iactfile's own folder.
    #[error("`{0}` is the whole folder of an Iactfile; an output is something in it")]
    Whole(String),
}

/// Folders no output may be or be in.
const RESERVED: [&str; 3] = [".iact", ".git", iact_cache::BESIDE];

/// The path written in an Iactfile of `folder` (itself normalised), relative to the root.
pub fn normalise(folder: &str, written: &str) -> Result<Normal, PathError> {
    if written.is_empty() {
        return Err(PathError::Empty);
    }
    if written.contains('\0') {
        return Err(PathError::Nul(written.escape_debug().to_string()));
    }
    if written.starts_with('/') {
        return Err(PathError::Absolute(written.to_owned()));
    }
    let mut path = String::with_capacity(folder.len() + 1 + written.len());
    path.push_str(folder);
    for name in written.split('/') {
        match name {
            "" | "." => {}
            ".." if path.is_empty() => return Err(PathError::Leaves(written.to_owned())),
            ".." => path.truncate(path.rfind('/').unwrap_or(0)),
            name => {
                if !path.is_empty() {
                    path.push('/');
                }
                path.push_str(name);
            }
        }
    }
    let folder = matches!(written.rsplit('/').next(), Some("" | "." | ".."));
    Ok(Normal { path, folder })
}

/// The same for an output: neither the root nor an enclosing folder, nor anything of a reserved folder.
pub fn normalise_output(folder: &str, written: &str) -> Result<Normal, PathError> {
    let normal = normalise(folder, written)?;
    if is_beneath(folder, &normal.path) {
        return Err(PathError::Whole(written.to_owned()));
    }
    match RESERVED.into_iter().find(|reserved| normal.path.split('/').any(|name| name == *reserved)) {
        Some(reserved) => Err(PathError::Reserved(written.to_owned(), reserved)),
        None => Ok(normal),
    }
}

/// Whether a pattern is more than the name of one file: `*`, `?`, `[…]` or `{…}` not behind a backslash.
pub fn is_wildcard(pattern: &str) -> bool {
    let mut escaped = false;
    pattern.bytes().any(|byte| {
        let is = !escaped && matches!(byte, b'*' | b'?' | b'[' | b'{');
        escaped = byte == b'\\' && !escaped;
        is
    })
}

/// Whether `path` is `folder` or beneath it; both normalised.
pub fn is_beneath(path: &str, folder: &str) -> bool {
    folder.is_empty()
        || path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// A normalised path as seen from a normalised folder: `../b/x` for `b/x` from `a`; `.` for the folder
/// itself.
pub fn relative_to(folder: &str, path: &str) -> String {
    let (from, to): (Vec<&str>, Vec<&str>) = (names(folder).collect(), names(path).collect());
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from[shared..].iter().map(|_| "..");
    let steps: Vec<&str> = up.chain(to[shared..].iter().copied()).collect();
    if steps.is_empty() { ".".to_owned() } else { steps.join("/") }
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paths_are_normalised() {
        for (folder, written, path, is_folder) in [
            ("", "a", "a", false),
            ("", "a/b", "a/b", false),
            ("", "a/", "a", true),
            ("", "./a//b/./c", "a/b/c", false),
            ("", "a/../b", "b", false),
            ("", ".", "", true),
            ("", "a/..", "", true),
            ("api", "x", "api/x", false),
            ("api", "../ui/x", "ui/x", false),
            ("api/v1", "../../x", "x", false),
            ("api", ".", "api", true),
            ("api", "..", "", true),
            ("", "...", "...", false),
            ("", "-x", "-x", false),
            ("", "a\nb", "a\nb", false),
            ("", "é/ü", "é/ü", false),
            ("", ".git/config", ".git/config", false),
        ] {
            assert_eq!(
                normalise(folder, written),
                Ok(Normal { path: path.into(), folder: is_folder }),
                "{written}"
            );
        }
    }

    #[test]
    fn what_is_no_path_of_the_workspace_is_refused() {
        let text = str::to_owned;
        for (folder, written, why) in [
            ("", "", PathError::Empty),
            ("", "/etc", PathError::Absolute(text("/etc"))),
            ("", "../x", PathError::Leaves(text("../x"))),
            ("api", "../../x", PathError::Leaves(text("../../x"))),
            ("", "a/../../a", PathError::Leaves(text("a/../../a"))),
            ("", "a\0b", PathError::Nul(text("a\\0b"))),
        ] {
            assert_eq!(normalise(folder, written), Err(why.clone()));
            assert_eq!(normalise_output(folder, written), Err(why));
        }
        for (folder, written) in [("", "."), ("", "a/.."), ("api", "."), ("api", ".."), ("api/v1", "..")] {
            assert_eq!(normalise_output(folder, written), Err(PathError::Whole(text(written))));
        }
        for (folder, written) in [
            ("", ".git"),
            ("", ".git/x"),
            ("api", ".iact/y"),
            ("api", "../.iact"),
            ("", "a/.git/b"),
            ("", "a/.iact-stage/b"),
        ] {
            assert!(matches!(normalise_output(folder, written), Err(PathError::Reserved(..))), "{written}");
        }
        assert!(normalise_output("", ".gitignore").is_ok());
    }

    #[test]
    fn wildcards_are_told_from_names() {
        for pattern in ["*", "a/**/b", "a?", "[ab]", "{a,b}", r"\\*"] {
            assert!(is_wildcard(pattern), "{pattern}");
        }
        for pattern in ["a", "a/b.c", r"\*", r"a\[b", "a]b", "!a"] {
            assert!(!is_wildcard(pattern), "{pattern}");
        }
    }

    #[test]
    fn beneath_means_whole_names() {
        for (path, folder, beneath) in [
            ("a/b", "a", true),
            ("a", "a", true),
            ("ab", "a", false),
            ("a", "a/b", false),
            ("a", "", true),
            ("", "", true),
        ] {
            assert_eq!(is_beneath(path, folder), beneath, "{path} {folder}");
        }
    }

    #[test]
    fn a_path_is_seen_from_another_folder() {
        for (folder, path, seen) in [
            ("", "a/b", "a/b"),
            ("a", "a/b", "b"),
            ("a", "b/x", "../b/x"),
            ("a/b", "a", ".."),
            ("a/b", "a/c/d", "../c/d"),
            ("a", "a", "."),
            ("", "", "."),
        ] {
            assert_eq!(relative_to(folder, path), seen);
        }
    }

    proptest! {
        #[test]
        fn normalising_is_idempotent_and_undoes_relative(folder in "[a-c]?(/[a-c]){0,2}", written in "([a-c.]{1,2}/){0,4}[a-c.]{1,2}/?") {
            let folder = folder.trim_start_matches('/');
            if let Ok(normal) = normalise(folder, &written) {
                prop_assert!(!normal.path.split('/').any(|name| matches!(name, "." | "..")));
                if !normal.path.is_empty() {
                    prop_assert_eq!(&normalise("", &normal.path).map(|again| again.path), &Ok(normal.path.clone()));
                }
                let seen = relative_to(folder, &normal.path);
                prop_assert_eq!(normalise(folder, &seen).map(|again| again.path), Ok(normal.path));
            }
        }
    }
}
