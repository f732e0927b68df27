//! A manifest's labels: a list, an object from index to label, or a file with either, or with a
//! label per line.

use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;

/// Largest file of labels; ImageNet-21k's has 0.6 MB.
const MAX_FILE_BYTES: u64 = 16 << 20;

const MAX_LABELS: usize = 1 << 20;

#[derive(Clone, Debug, Deserialize)]
#[serde(
    untagged,
    expecting = "labels is no list, no object from index to label, and no name of a file either"
)]
pub(super) enum Labels {
    File(String),
    List(Vec<Option<String>>),
    /// Keys are indices; JSON has them as strings.
    Map(BTreeMap<String, Option<String>>),
}

impl Labels {
    /// Labels by index; `None` is "no object".
    pub(super) fn read(self, dir: &Path) -> Result<Vec<Option<String>>, String> {
        let labels = match self {
            Self::File(name) => from_file(&dir.join(&name))
                .map_err(|why| format!("labels is \"{name}\", {why}"))?
                .listed()?,
            here => here.listed()?,
        };
        match labels.len() {
            1..=MAX_LABELS => Ok(labels),
            count => Err(format!(
                "there are {count} labels; write 1 to {MAX_LABELS}, in the order of the module's \
                 output"
            )),
        }
    }

    fn listed(self) -> Result<Vec<Option<String>>, String> {
        match self {
            Self::List(list) => Ok(list),
            Self::Map(map) => {
                let mut map = (map.into_iter())
                    .map(|(key, label)| match key.parse() {
                        Ok(index @ 0..MAX_LABELS) => Ok((index, label)),
                        _ => Err(format!(
                            "labels has the key \"{key}\"; write indices, 0 to {}",
                            MAX_LABELS - 1
                        )),
                    })
                    .collect::<Result<BTreeMap<usize, _>, _>>()?;
                let count = map.keys().next_back().map_or(0, |last| last + 1);
                Ok((0..count).map(|index| map.remove(&index)?).collect())
            }
            Self::File(name) => Err(format!("labels leads to another file, \"{name}\"")),
        }
    }
}

fn from_file(path: &Path) -> Result<Labels, String> {
    let unreadable = |error: std::io::Error| format!("which cannot be read: {error}");
    let mut text = String::new();
    let mut file = File::open(path)
        .map_err(unreadable)?
        .take(MAX_FILE_BYTES + 1);
    file.read_to_string(&mut text).map_err(unreadable)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(format!("which has more than {MAX_FILE_BYTES} bytes"));
    }
    if text.trim_start().starts_with(['[', '{']) {
        return serde_json::from_str(&text).map_err(|error| format!("and there: {error}"));
    }
    let lines = text.lines().map(|line| Some(line.trim_end().to_owned()));
    Ok(Labels::List(lines.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, file: &str) -> Result<Vec<String>, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("labels"), file).unwrap();
        let labels: Labels = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let labels = labels.read(dir.path())?.into_iter();
        Ok(labels
            .map(|label| label.unwrap_or_else(|| "-".to_owned()))
            .collect())
    }

    #[test]
    fn labels_may_be_listed_numbered_or_lie_in_a_file() {
        assert_eq!(read(r#"["a", null, "c"]"#, "").unwrap(), ["a", "-", "c"]);
        assert_eq!(
            read(r#"{"2": "c", "0": "a"}"#, "").unwrap(),
            ["a", "-", "c"]
        );
        for file in [
            "a\nb b\n",
            "a\r\nb b",
            r#"["a", "b b"]"#,
            r#" {"0": "a", "1": "b b"}"#,
        ] {
            assert_eq!(read(r#""labels""#, file).unwrap(), ["a", "b b"], "{file}");
        }
    }

    #[test]
    fn bad_labels_are_refused_with_a_reason() {
        for (json, file, words) in [
            ("[]", "", "0 labels"),
            (r#""labels""#, "", "0 labels"),
            (r#""absent""#, "", "absent"),
            (r#""labels""#, "[1]", "labels"),
            (r#""labels""#, "{\"x\": \"a\"}", "labels"),
            (r#"{"99999999": "a"}"#, "", "99999999"),
            (
                r#"{"18446744073709551615": "a"}"#,
                "",
                "18446744073709551615",
            ),
            ("[1]", "", "no list"),
        ] {
            let error = read(json, file).unwrap_err();
            assert!(error.contains(words), "{json} {file}: {error}");
        }
    }
}
