//! The demo's pictures, and what is known of them.

use fovea_harness::stack;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The pictures of `file` with their expected results.
pub fn answers<T: DeserializeOwned>(file: &str) -> BTreeMap<PathBuf, T> {
    let folder = stack::repository().join("models/demo/pictures");
    let text = std::fs::read(folder.join(file)).expect("the demo's answers");
    let answers: BTreeMap<String, T> = serde_json::from_slice(&text).expect("answers");
    let whole = |(file, answer)| (folder.join(file), answer);
    answers.into_iter().map(whole).collect()
}

/// The first picture's bytes, with its expected result.
pub fn first<T: DeserializeOwned>(file: &str) -> (Vec<u8>, T) {
    let (path, answer) = answers(file).pop_first().expect("a picture");
    (std::fs::read(path).expect("the picture"), answer)
}
