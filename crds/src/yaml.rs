//! Reads and writes YAML. `serde_yaml` is deprecated, so only this module uses it: a replacement
//! changes no other file.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use serde_yaml::{Error, Mapping, Value};

/// Reads a text that is one document.
pub fn parse<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    serde_yaml::from_str(text)
}

/// Reads one document after another, separated by `---`. An empty document is a null.
pub fn documents<T: DeserializeOwned>(text: &str) -> impl Iterator<Item = Result<T, Error>> {
    serde_yaml::Deserializer::from_str(text).map(T::deserialize)
}

/// Writes one document, without a `---` before it.
pub fn print<T: Serialize + ?Sized>(value: &T) -> Result<String, Error> {
    serde_yaml::to_string(value)
}
