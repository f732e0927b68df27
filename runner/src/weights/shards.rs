//! Safetensors in several files, as `model.safetensors.index.json` lists them.

use super::file::DataFile;
use super::stored::Stored;
use super::{WeightsError, safetensors};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

const MAX_INDEX_BYTES: u64 = 16 * 1024 * 1024;

/// Upper bound on files; each is kept open.
const MAX_SHARDS: usize = 256;

#[derive(Deserialize)]
struct Index {
    weight_map: BTreeMap<String, String>,
}

type Shards = (Vec<DataFile>, Vec<(String, Stored)>);

/// Opens the files that the index names, beside it, and locates their tensors.
pub(super) fn read(path: &Path) -> Result<Shards, WeightsError> {
    let refuse = |why: String| WeightsError::Index {
        path: path.to_owned(),
        why,
    };
    let Index { weight_map } = parse(path)?;
    let mut names: Vec<&String> = weight_map.values().collect();
    names.sort();
    names.dedup();
    if names.len() > MAX_SHARDS {
        return Err(refuse(format!("it names {} files", names.len())));
    }
    let (mut files, mut tensors) = (Vec::new(), BTreeMap::new());
    for (place, &name) in names.iter().enumerate() {
        if !is_plain(name) {
            return Err(refuse(format!("{name:?} is no file's name beside it")));
        }
        let file = DataFile::open(&path.with_file_name(name))?;
        for (tensor, stored) in safetensors::read(&file)? {
            if weight_map.get(&tensor) == Some(name) {
                tensors.insert(
                    tensor,
                    Stored {
                        file: place,
                        ..stored
                    },
                );
            }
        }
        files.push(file);
    }
    if let Some((tensor, file)) = (weight_map.iter()).find(|(name, _)| !tensors.contains_key(*name))
    {
        return Err(refuse(format!(
            "\"{tensor}\" is to lie in {file}, and does not"
        )));
    }
    Ok((files, tensors.into_iter().collect()))
}

fn parse(path: &Path) -> Result<Index, WeightsError> {
    let refuse = |why: String| WeightsError::Index {
        path: path.to_owned(),
        why,
    };
    let file = DataFile::open(path)?;
    let length = Some(file.bytes())
        .filter(|&bytes| bytes <= MAX_INDEX_BYTES)
        .and_then(|bytes| usize::try_from(bytes).ok())
        .ok_or_else(|| refuse(format!("it has {} bytes", file.bytes())))?;
    serde_json::from_slice(&file.bytes_at(0, length)?).map_err(|error| refuse(error.to_string()))
}

/// Whether this is the plain name of a file in the same folder.
fn is_plain(name: &str) -> bool {
    !name.is_empty() && !name.starts_with('.') && !name.contains(['/', '\\', '\0'])
}
