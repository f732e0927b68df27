//! CHANGELOG.md, in the form of Keep a Changelog: what this version's part says.

use super::source::Source;
use super::{ReleaseError, VERSION, read};

struct Newest<'a> {
    version: &'a str,
    /// The release date, or a word for none yet.
    day: &'a str,
    notes: &'a str,
}

/// Text for the release's page. Fails if the changelog is about another version or, except in a trial, has no
/// date.
pub(super) fn notes(source: &Source, trial: bool) -> Result<String, ReleaseError> {
    let file = "CHANGELOG.md";
    let text = read(&source.path(file))?;
    let Some(newest) = newest(&text) else {
        return Err(ReleaseError::unexpected(
            file,
            &"has no `## [version] - day`",
        ));
    };
    if newest.version != VERSION {
        return Err(ReleaseError::Changelog {
            found: newest.version.to_owned(),
        });
    }
    if !is_day(newest.day) && !trial {
        return Err(ReleaseError::Undated);
    }
    Ok(format!("{}\n", newest.notes.trim()))
}

fn newest(text: &str) -> Option<Newest<'_>> {
    let (_, rest) = text.split_once("\n## [")?;
    let (heading, rest) = rest.split_once('\n')?;
    let (version, day) = heading.split_once("] - ")?;
    let notes = rest.split("\n## [").next().unwrap_or(rest);
    // Link definitions are at the end of the file.
    let notes = notes.split("\n[").next().unwrap_or(notes);
    Some(Newest {
        version,
        day,
        notes,
    })
}

/// `2026-01-31`
fn is_day(text: &str) -> bool {
    text.len() == 10
        && text.char_indices().all(|(place, each)| match place {
            4 | 7 => each == '-',
            _ => each.is_ascii_digit(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# Changelog\n\nWhat it is.\n\n## [0.2.0] - 2026-12-24\n\n### Added\n- snow\n\n\
                        ## [0.1.0] - 2026-11-30\n\n### Added\n- all\n\n[0.2.0]: compare\n";

    #[test]
    fn the_newest_part_is_the_notes_without_what_is_older() {
        let newest = newest(TEXT).unwrap();
        assert_eq!((newest.version, newest.day), ("0.2.0", "2026-12-24"));
        assert_eq!(newest.notes.trim(), "### Added\n- snow");
    }

    #[test]
    fn the_only_part_ends_before_the_links() {
        let (_, only) = TEXT.split_once("snow\n").unwrap();
        assert_eq!(newest(only).unwrap().notes.trim(), "### Added\n- all");
    }

    #[test]
    fn unreleased_is_no_day() {
        assert!(is_day("2026-12-24"));
        for text in ["unreleased", "2026-12", "2026-12-24T", "24-12-2026"] {
            assert!(!is_day(text), "{text}");
        }
    }
}
