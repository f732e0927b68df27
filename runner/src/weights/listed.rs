//! A committed list of a checkpoint's tensors: names, types and shapes, without the numbers.
//!
//! `{0..11}` in a name stands for each of these numbers, both ends counted. The lists in
//! `runner/checkpoints` are written by `models/parity/tensor_lists.py`.

use super::stored::{Element, Stored};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use tch::Kind;

const MAX_TENSORS: usize = 10_000;

#[derive(Clone, Debug)]
pub struct TensorList {
    path: PathBuf,
    contents: ListFile,
    tensors: BTreeMap<String, (String, Vec<usize>)>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ListFile {
    repo: String,
    file: String,
    source: String,
    inferred: bool,
    config: serde_json::Value,
    /// Names, each with the type (safetensors' word for it) and the shape.
    tensors: BTreeMap<String, (String, Vec<usize>)>,
}

#[derive(Debug, thiserror::Error)]
#[error("{path}: {why}; write it anew with models/parity/tensor_lists.py")]
pub struct InvalidTensorList {
    path: PathBuf,
    why: String,
}

impl TensorList {
    pub fn read(path: &Path) -> Result<Self, InvalidTensorList> {
        let refuse = |why: String| InvalidTensorList {
            path: path.to_owned(),
            why,
        };
        let text = std::fs::read(path).map_err(|error| refuse(error.to_string()))?;
        let contents: ListFile =
            serde_json::from_slice(&text).map_err(|error| refuse(error.to_string()))?;
        let mut tensors = BTreeMap::new();
        for (pattern, tensor) in &contents.tensors {
            for name in expand(pattern).map_err(refuse)? {
                if tensors.len() >= MAX_TENSORS {
                    return Err(refuse(format!("more than {MAX_TENSORS} tensors")));
                }
                if tensors.insert(name.clone(), tensor.clone()).is_some() {
                    return Err(refuse(format!("\"{name}\" is there twice")));
                }
            }
        }
        Ok(Self {
            path: path.to_owned(),
            contents,
            tensors,
        })
    }

    /// The checkpoint's repository, such as `microsoft/resnet-50`.
    pub fn repo(&self) -> &str {
        &self.contents.repo
    }

    /// Name of the weights file that was listed.
    pub fn file(&self) -> &str {
        &self.contents.file
    }

    /// A description of the list's source.
    pub fn source(&self) -> &str {
        &self.contents.source
    }

    /// Whether it was derived from the model's code, not read from the file on the hub.
    pub fn is_inferred(&self) -> bool {
        self.contents.inferred
    }

    /// The checkpoint's `config.json`.
    pub fn config(&self) -> &serde_json::Value {
        &self.contents.config
    }

    /// Every tensor's name, type and shape.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &str, &[usize])> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, (dtype, shape))| (name.as_str(), dtype.as_str(), shape.as_slice()))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The tensors as if stored in a file, without data.
    pub(super) fn stored(&self) -> Vec<(String, Stored)> {
        let stored = |dtype: &str, shape: &[usize]| Stored {
            file: 0,
            offset: 0,
            element: match dtype {
                "F32" => Element::Float(Kind::Float),
                "F16" => Element::Float(Kind::Half),
                "BF16" => Element::Float(Kind::BFloat16),
                other => Element::Other(other.to_owned()),
            },
            shape: shape.to_vec(),
            strides: None,
        };
        self.tensors()
            .map(|(name, dtype, shape)| (name.to_owned(), stored(dtype, shape)))
            .collect()
    }
}

/// The names that a pattern stands for.
fn expand(pattern: &str) -> Result<Vec<String>, String> {
    let wrong = || format!("\"{pattern}\" has braces that are no range such as {{0..11}}");
    let Some((before, rest)) = pattern.split_once('{') else {
        return Ok(vec![pattern.to_owned()]);
    };
    let (range, after) = rest.split_once('}').ok_or_else(wrong)?;
    let (first, last) = range.split_once("..").ok_or_else(wrong)?;
    let number = |text: &str| text.parse::<usize>().map_err(|_| wrong());
    let (first, last) = (number(first)?, number(last)?);
    if last >= MAX_TENSORS {
        return Err(wrong());
    }
    let mut names = Vec::new();
    for tail in expand(after)? {
        names.extend((first..=last).map(|number| format!("{before}{number}{tail}")));
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn braces_stand_for_each_number_of_their_range() {
        assert_eq!(expand("a.b").unwrap(), ["a.b"]);
        assert_eq!(
            expand("l.{9..11}.w").unwrap(),
            ["l.9.w", "l.10.w", "l.11.w"]
        );
        assert_eq!(expand("{0..1}.{3..3}").unwrap(), ["0.3", "1.3"]);
        for wrong in ["{", "{0}", "{0..}", "{a..b}", "{0..99999}"] {
            assert!(expand(wrong).is_err(), "{wrong}");
        }
    }
}
