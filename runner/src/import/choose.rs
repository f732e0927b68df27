//! Chooses the files of a repository that a runner needs.

use super::names::FilePath;
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// Required: it names the model family.
const CONFIG: &str = "config.json";

/// Downloaded if present: configurations of preprocessing, tokenizer and generation.
const SMALL: [&str; 11] = [
    CONFIG,
    "preprocessor_config.json",
    "processor_config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
];

/// Weights, in the order in which the loader prefers them.
const SAFETENSORS: &str = crate::weights::SAFETENSORS_FILE;
const SAFETENSORS_INDEX: &str = crate::weights::SAFETENSORS_INDEX_FILE;
const PYTORCH: &str = crate::weights::PYTORCH_FILE;

/// More shards than any checkpoint has.
const MAX_SHARDS: usize = 256;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WeightFiles {
    One(FilePath),
    /// Several files, named by this index.
    Index(FilePath),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Choice {
    pub(super) small: Vec<FilePath>,
    pub(super) weights: WeightFiles,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NothingToImport {
    #[error("it has no {CONFIG}; is it a model of the transformers library?")]
    NoConfig,
    #[error(
        "it has no weights that this build reads ({SAFETENSORS}, {SAFETENSORS_INDEX} or {PYTORCH})\
         {}",
        instead(found)
    )]
    NoWeights {
        /// Files that may be weights of other kinds, at most 5.
        found: Vec<String>,
    },
    #[error("its {SAFETENSORS_INDEX} {0}")]
    Index(String),
}

fn instead(found: &[String]) -> String {
    if found.is_empty() {
        return String::new();
    }
    format!(
        ", but {}; convert them with transformers' save_pretrained",
        found.join(", ")
    )
}

pub(super) fn choose(names: &[String]) -> Result<Choice, NothingToImport> {
    let names: BTreeSet<&str> = names.iter().map(String::as_str).collect();
    let there = |name: &str| {
        names
            .get(name)
            .and_then(|name| name.parse::<FilePath>().ok())
    };
    if there(CONFIG).is_none() {
        return Err(NothingToImport::NoConfig);
    }
    let weights = if let Some(file) = there(SAFETENSORS) {
        WeightFiles::One(file)
    } else if let Some(index) = there(SAFETENSORS_INDEX) {
        WeightFiles::Index(index)
    } else if let Some(file) = there(PYTORCH) {
        WeightFiles::One(file)
    } else {
        let kinds = [
            ".bin",
            ".h5",
            ".msgpack",
            ".safetensors",
            ".pt",
            ".pth",
            ".onnx",
            ".index.json",
        ];
        let may_be = |name: &&&str| kinds.iter().any(|kind| name.ends_with(kind));
        let found = names.iter().filter(may_be).take(5);
        return Err(NothingToImport::NoWeights {
            found: found.map(|name| super::transfer::excerpt(name)).collect(),
        });
    };
    Ok(Choice {
        small: SMALL.iter().filter_map(|name| there(name)).collect(),
        weights,
    })
}

/// The files that an index of shards names.
pub(super) fn shards(index: &[u8]) -> Result<Vec<FilePath>, NothingToImport> {
    #[derive(Deserialize)]
    struct Index {
        weight_map: BTreeMap<String, FilePath>,
    }
    let Index { weight_map } = serde_json::from_slice(index)
        .map_err(|error| NothingToImport::Index(format!("is no index: {error}")))?;
    let files: BTreeSet<FilePath> = weight_map.into_values().collect();
    if !(1..=MAX_SHARDS).contains(&files.len()) {
        return Err(NothingToImport::Index(format!(
            "names {} files",
            files.len()
        )));
    }
    Ok(files.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(names: &[&str]) -> Result<(Vec<String>, WeightFiles), NothingToImport> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let Choice { small, weights } = choose(&names)?;
        Ok((small.iter().map(ToString::to_string).collect(), weights))
    }

    fn one(name: &str) -> WeightFiles {
        WeightFiles::One(name.parse().unwrap())
    }

    #[test]
    fn one_file_of_weights_is_taken_safetensors_first() {
        let all = [
            "README.md",
            "config.json",
            "model.safetensors",
            "pytorch_model.bin",
            "tf_model.h5",
            "vocab.txt",
            "onnx/model.onnx",
        ];
        let (small, weights) = chosen(&all).unwrap();
        assert_eq!(small, ["config.json", "vocab.txt"]);
        assert_eq!(weights, one("model.safetensors"));
        let (_, weights) = chosen(&["config.json", "pytorch_model.bin", "tf_model.h5"]).unwrap();
        assert_eq!(weights, one("pytorch_model.bin"));
        let index = "model.safetensors.index.json";
        let (_, weights) = chosen(&["config.json", "pytorch_model.bin", index]).unwrap();
        assert_eq!(weights, WeightFiles::Index(index.parse().unwrap()));
    }

    #[test]
    fn a_repository_without_needed_files_is_refused_with_what_is_missing() {
        assert_eq!(
            chosen(&["model.safetensors"]),
            Err(NothingToImport::NoConfig)
        );
        let error = chosen(&["config.json", "tf_model.h5", "README.md"])
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("tf_model.h5") && !error.contains("README"),
            "{error}"
        );
        let error = chosen(&["config.json"]).unwrap_err().to_string();
        assert!(!error.contains("but"), "{error}");
    }

    #[test]
    fn shards_are_files_of_the_repository_and_bounded_in_number() {
        let index = |map: serde_json::Value| serde_json::json!({"weight_map": map}).to_string();
        let two = index(
            serde_json::json!({"a": "2.safetensors", "b": "1.safetensors", "c": "2.safetensors"}),
        );
        let files = shards(two.as_bytes()).unwrap();
        assert_eq!(
            files.iter().map(FilePath::as_str).collect::<Vec<_>>(),
            ["1.safetensors", "2.safetensors"]
        );
        for wrong in [
            index(serde_json::json!({"a": "../../etc/passwd"})),
            index(serde_json::json!({})),
            index(
                (0..300)
                    .map(|i| (i.to_string(), i.to_string().into()))
                    .collect::<serde_json::Map<_, _>>()
                    .into(),
            ),
            "{}".to_owned(),
        ] {
            assert!(shards(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
