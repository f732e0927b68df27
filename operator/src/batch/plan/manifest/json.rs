//! JSON Lines: `{"key": ..., "id"?: ..., "parameters"?: ...}`. Blank lines are ignored.

use super::item::{Checks, Entry, Fault, failed};
use super::text::{Emit, Line, Lines, MAX_LINE_BYTES, ManifestError, next_line};
use fovea_protocol::Parameters;
use serde::Deserialize;
use std::io::BufRead;

/// A line. An unknown member is an error, as in a job's spec.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Members {
    key: String,
    #[serde(default)]
    id: Option<String>,
    #[serde(default)]
    parameters: Option<ParameterMembers>,
}

/// Members of `parameters`; as [`Parameters`], which a runner may send with more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
#[derive(Default)]
struct ParameterMembers {
    max_new_tokens: Option<u32>,
    num_beams: Option<u32>,
    prompt: Option<String>,
    top_k: Option<u32>,
    score_threshold_permille: Option<u32>,
}

impl From<ParameterMembers> for Parameters {
    fn from(members: ParameterMembers) -> Self {
        let ParameterMembers {
            max_new_tokens,
            num_beams,
            prompt,
            top_k,
            score_threshold_permille,
        } = members;
        Self {
            max_new_tokens,
            num_beams,
            prompt,
            top_k,
            score_threshold_permille,
        }
    }
}

/// What a bad line says of the picture.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    key: Option<String>,
    id: Option<String>,
}

pub(super) fn parse(
    input: &mut impl BufRead,
    checks: &Checks,
    emit: &mut Emit<'_>,
) -> Result<(), ManifestError> {
    let mut line = Vec::new();
    let mut lines = Lines::default();
    while let Some(read) = next_line(input, &mut line)? {
        lines.add(1)?;
        let number = lines.count();
        if read == Line::TooLong {
            let what = format!("it is longer than {} KiB", MAX_LINE_BYTES / 1024);
            emit(failed(number, Fault::Line, &what, (String::new(), None)))?;
            continue;
        }
        let json = line.trim_ascii();
        if json.is_empty() {
            continue;
        }
        // serde takes a list of the members' values, too.
        if json[0] == b'[' {
            let what = "it is a list, and no object: write {\"key\": ...}";
            emit(failed(number, Fault::Line, what, (String::new(), None)))?;
            continue;
        }
        emit(match serde_json::from_slice(json) {
            Ok(Members {
                key,
                id,
                parameters,
            }) => {
                let parameters = parameters.unwrap_or_default().into();
                let entry = Entry {
                    key,
                    id,
                    parameters,
                };
                checks.item(number, entry)
            }
            Err(error) => {
                let Named { key, id } = serde_json::from_slice(json).unwrap_or_default();
                let named = (key.unwrap_or_default(), id);
                failed(number, Fault::Line, &described(&error), named)
            }
        })?;
    }
    Ok(())
}

/// The error with its column: each line is a text of its own to the parser.
fn described(error: &serde_json::Error) -> String {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    match text.strip_suffix(&place) {
        Some(text) if error.column() > 0 => format!("{text} (column {})", error.column()),
        Some(text) => text.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::PlanItem;
    use super::super::item::tests::checks;
    use super::*;

    fn items(text: &[u8]) -> Vec<PlanItem> {
        let mut items = Vec::new();
        let mut input = text;
        parse(&mut input, &checks(), &mut |item| {
            items.push(item);
            Ok(())
        })
        .unwrap();
        items
    }

    fn error(text: &[u8]) -> (String, Option<String>, String) {
        let [item] = items(text).try_into().unwrap();
        let error = item.error.unwrap();
        assert_eq!(error.reason, "InvalidLine");
        (item.key, item.id, error.message)
    }

    #[test]
    fn a_line_has_a_key_and_may_have_more() {
        let text = br#"
            {"key": "a.jpg"}
            {"id": "7", "key": "b.jpg", "parameters": {"numBeams": 3, "prompt": null}}

            {"key": "a.jpg", "id": null, "parameters": null}"#;
        let items = items(text);
        assert!(items.iter().all(|item| item.error.is_none()));
        assert_eq!(items.len(), 3);
        assert_eq!(items[0], items[2]);
        let beams = items[1].parameters.as_ref().unwrap().num_beams;
        assert_eq!((items[1].id.as_deref(), beams), (Some("7"), Some(3)));
    }

    #[test]
    fn a_bad_line_names_itself_and_what_is_wrong() {
        for (text, key, parts) in [
            (
                &b"\n\nnot json"[..],
                "",
                &["line 3 of the manifest: ", "column 2"][..],
            ),
            (b"{\"key\": \"a.jpg\"", "", &["line 1 ", "EOF"]),
            (b"{\"id\": \"7\"}", "", &["missing field `key`"]),
            (
                b"{\"key\": 7}",
                "",
                &["invalid type: integer `7`, expected a string"],
            ),
            (b"[\"a.jpg\", 1]", "", &["line 1"]),
            (b"[\"a.jpg\", null, null]", "", &["it is a list"]),
            (b"\"a.jpg\"", "", &["invalid type: string"]),
            (
                b"{\"key\": \"a.jpg\", \"size\": 7}",
                "a.jpg",
                &["unknown field `size`"],
            ),
            (
                b"{\"key\": \"a.jpg\", \"parameters\": {\"beams\": 7}}",
                "a.jpg",
                &["unknown field `beams`", "numBeams"],
            ),
            (
                b"{\"key\": \"a.jpg\", \"parameters\": {\"numBeams\": -7}}",
                "a.jpg",
                &["invalid value: integer `-7`"],
            ),
            (b"{\"key\": \"a\xff.jpg\"}", "", &["invalid unicode"]),
            (
                b"{\"key\": \"a.jpg\", \"key\": \"b.jpg\"}",
                "",
                &["duplicate field `key`"],
            ),
        ] {
            let (found, _, message) = error(text);
            assert_eq!(found, key, "{message}");
            for part in parts {
                assert!(message.contains(part), "{message}");
            }
            assert!(!message.contains("at line"), "{message}");
        }
        let (_, id, _) = error(br#"{"key": "a.jpg", "id": "7", "x": 1}"#);
        assert_eq!(id.as_deref(), Some("7"));
    }

    #[test]
    fn lines_after_one_that_is_too_long_or_deep_are_read() {
        let long = format!("{{\"key\": \"{}\"}}", "x".repeat(MAX_LINE_BYTES));
        let text = format!("{long}\n{}\n{{\"key\": \"a.jpg\"}}\n", "[".repeat(10_000));
        let items = items(text.as_bytes());
        let messages = items
            .iter()
            .map(|item| item.error.as_ref().map(|error| error.message.as_str()));
        let messages: Vec<_> = messages.collect();
        assert_eq!(messages.len(), 3);
        assert!(messages[0].unwrap().contains("longer than 64 KiB"));
        assert!(messages[1].unwrap().starts_with("line 2 "));
        assert_eq!(messages[2], None);
    }
}
