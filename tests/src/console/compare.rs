//! Compares a command's output with the page. Spaces count once, `...` matches anything in a line and alone
//! any lines; ids, ages and times match all others of their kind. Pure.

use anyhow::{Result, ensure};

/// The error has both texts.
pub(super) fn compare(expected: &[String], printed: &str) -> Result<()> {
    let mut wanted: Vec<String> = expected.iter().map(|line| plain(line)).collect();
    while wanted.last().is_some_and(String::is_empty) {
        wanted.pop();
    }
    let seen: Vec<String> = printed.trim_end().lines().map(plain).collect();
    ensure!(
        wanted.is_empty() || lines_match(&wanted, &seen),
        "\n--- the page says\n{}\n--- it printed\n{}",
        expected.join("\n"),
        printed.trim_end(),
    );
    Ok(())
}

fn lines_match(wanted: &[String], seen: &[String]) -> bool {
    match (wanted, seen) {
        ([], []) => true,
        ([any, rest @ ..], _) if any == "..." => {
            (0..=seen.len()).any(|skipped| lines_match(rest, &seen[skipped..]))
        }
        ([want, wanted @ ..], [see, seen @ ..]) => {
            line_matches(want, see) && lines_match(wanted, seen)
        }
        _ => false,
    }
}

fn line_matches(wanted: &str, seen: &str) -> bool {
    let mut pieces = wanted.split("...");
    let Some(mut rest) = pieces.next().and_then(|first| seen.strip_prefix(first)) else {
        return false;
    };
    let mut pieces = pieces.peekable();
    if pieces.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(piece) = pieces.next() {
        if pieces.peek().is_none() {
            return rest.ends_with(piece);
        }
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    true
}

/// Collapses spaces, and replaces what differs each time.
fn plain(line: &str) -> String {
    let words = line.split_whitespace().map(|word| {
        if is_age(word) {
            "<age>".to_owned()
        } else {
            replace(&replace(word, "<id>", id), "<time>", time)
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// kubectl's ages: `4s`, `2m31s`, `7d`.
fn is_age(word: &str) -> bool {
    let mut rest = word;
    while !rest.is_empty() {
        let unit = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        let begins_with_digits = unit.len() < rest.len();
        match unit.strip_prefix(['s', 'm', 'h', 'd', 'y']) {
            Some(more) if begins_with_digits => rest = more,
            _ => return false,
        }
    }
    !word.is_empty()
}

/// Replaces what `length` finds at the beginning of a text, wherever in `word` it is.
fn replace(word: &str, by: &str, length: fn(&str) -> Option<usize>) -> String {
    let mut replaced = String::new();
    let mut rest = word;
    while let Some(first) = rest.chars().next() {
        if let Some(found) = length(rest) {
            replaced.push_str(by);
            rest = &rest[found..];
        } else {
            replaced.push(first);
            rest = &rest[first.len_utf8()..];
        }
    }
    replaced
}

/// The length of the UUID that a text begins with.
fn id(text: &str) -> Option<usize> {
    fits(text, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx")
}

/// The length of the time that a text begins with, as RFC 3339 writes it.
fn time(text: &str) -> Option<usize> {
    let seconds = fits(text, "0000-00-00T00:00:00")?;
    let digits = |text: &str| {
        text.find(|c: char| !c.is_ascii_digit())
            .unwrap_or(text.len())
    };
    let after = &text[seconds..];
    let fraction = after.strip_prefix('.').map_or(0, |rest| 1 + digits(rest));
    let zone = &after[fraction..];
    let zone = if zone.starts_with('Z') {
        Some(1)
    } else {
        fits(zone, "+00:00")
    };
    Some(seconds + fraction + zone.unwrap_or(0))
}

/// The form's length if a text begins with it: `0` matches a digit, `x` a hexadecimal one, anything else
/// itself.
fn fits(text: &str, form: &str) -> Option<usize> {
    let bytes = text.as_bytes().get(..form.len())?;
    let fits = form.bytes().zip(bytes).all(|(form, byte)| match form {
        b'0' => byte.is_ascii_digit(),
        b'x' => byte.is_ascii_hexdigit(),
        other => other == *byte,
    });
    fits.then_some(form.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(expected: &str, printed: &str) -> bool {
        let expected: Vec<String> = expected.lines().map(str::to_owned).collect();
        compare(&expected, printed).is_ok()
    }

    #[test]
    fn a_command_without_expected_output_may_print_anything() {
        assert!(same("", "anything\nat all"));
        assert!(same("\n", "anything"));
    }

    #[test]
    fn every_line_must_be_there_and_no_other() {
        assert!(same("a b\nc", "a   b\nc\n\n"));
        assert!(!same("a\nb", "a"));
        assert!(!same("a", "a\nb"));
        assert!(!same("a", "b"));
    }

    #[test]
    fn dots_stand_for_a_part_of_a_line_or_for_lines() {
        let printed = "{\"id\":1,\"phase\":\"Succeeded\",\"x\":2}";
        assert!(same("{\"id\":...,\"phase\":\"Succeeded\"...}", printed));
        assert!(!same("a...z", "a b c"));
        assert!(!same("ab...ba", "aba"));
        assert!(same("...\nb\n...", "a\nb\nc"));
        assert!(same("...\nb", "b"));
        assert!(!same("...\nb", "b\nc"));
    }

    #[test]
    fn ids_ages_and_times_differ_each_time() {
        assert!(same(
            "0e72519d-9b15-4063-8738-4aa31fe00f38   Succeeded   4s",
            "aaaaaaaa-0000-4063-8738-4aa31fe00f38 Succeeded 2m31s",
        ));
        assert!(same(
            "/v1/jobs/0e72519d-9b15-4063-8738-4aa31fe00f38 at 2026-11-26T10:00:00Z.",
            "/v1/jobs/aaaaaaaa-0000-4063-8738-4aa31fe00f38 at 2027-01-01T11:22:33.123456+00:00.",
        ));
        assert!(!same("4s", "four seconds"));
        assert!(!same("3 of 3", "2 of 3"));
    }
}
