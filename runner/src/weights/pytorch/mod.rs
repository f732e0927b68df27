//! `pytorch_model.bin`: the zip format of `torch.save` (PyTorch 1.6 and later).
//!
//! The archive's `data.pkl` is a Python pickle: a program for a small machine, which in Python could
//! call any function. Here it may only build plain values and describe tensors. The numbers are in
//! `data/<key>`, uncompressed, and are read like those of other formats.
//!
//! Reference: `torch/serialization.py` and `torch/_weights_only_unpickler.py` of PyTorch 2.13.

mod instruction;
mod machine;
mod rebuild;
mod value;
mod zip;

use super::WeightsError;
use super::file::DataFile;
use super::stored::Stored;
use rebuild::NamedTensor;
use zip::{Archive, Entry};

/// Largest pickle; BLIP-base's has 50 KB.
const MAX_PICKLE_BYTES: u64 = 16 * 1024 * 1024;

/// Largest `byteorder` entry; it holds one word.
const MAX_MARK_BYTES: u64 = 16;

const ZIP_MAGIC: [u8; 4] = *b"PK\x03\x04";

/// What `torch.save` wrote before PyTorch 1.6: a pickle of the integer `0x1950a86a20f9469cfc6c`.
const LEGACY_MAGIC: [u8; 14] = *b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19";

#[derive(Debug)]
enum Fault {
    /// The archive or its pickle is not allowed; the text completes a sentence about the file.
    Refused(String),
    Read(WeightsError),
}

impl From<WeightsError> for Fault {
    fn from(error: WeightsError) -> Self {
        Self::Read(error)
    }
}

fn refuse<T>(why: impl Into<String>) -> Result<T, Fault> {
    Err(Fault::Refused(why.into()))
}

/// Locates every tensor of the file, without reading its numbers.
pub(super) fn read(file: &DataFile) -> Result<Vec<(String, Stored)>, WeightsError> {
    let path = || file.path().to_owned();
    let mut magic = [0; LEGACY_MAGIC.len()];
    let length = usize::try_from(file.bytes()).map_or(magic.len(), |bytes| bytes.min(magic.len()));
    file.read_at(&mut magic[..length], 0)?;
    if magic == LEGACY_MAGIC {
        return Err(WeightsError::LegacyPyTorch { path: path() });
    }
    listed(file, magic).map_err(|fault| match fault {
        Fault::Refused(why) => WeightsError::PyTorch { path: path(), why },
        Fault::Read(error) => error,
    })
}

fn listed(file: &DataFile, magic: [u8; 14]) -> Result<Vec<(String, Stored)>, Fault> {
    if !magic.starts_with(&ZIP_MAGIC) {
        return refuse("it is no zip archive, which torch.save would have made");
    }
    let archive = Archive::read(file)?;
    let (root, pickle) = archive.pickle()?;
    if let Some(order) = archive.get(&format!("{root}/byteorder"))
        && small(file, order, "byteorder", MAX_MARK_BYTES)? != b"little"
    {
        return refuse("its numbers are not little-endian; save it on a little-endian machine");
    }
    let program = small(file, pickle, "data.pkl", MAX_PICKLE_BYTES)?;
    let (machine, result) = machine::run(&program)?;
    rebuild::tensors(&machine.values, result)?
        .into_iter()
        .map(|NamedTensor { name, view }| {
            let entry = archive.get(&format!("{root}/data/{}", view.storage.key));
            match view.locate(entry) {
                Err(Fault::Refused(why)) => refuse(format!("its tensor \"{name}\" {why}")),
                located => Ok((name, located?)),
            }
        })
        .collect()
}

/// Reads a whole entry of at most `limit` bytes.
fn small(file: &DataFile, entry: Entry, name: &str, limit: u64) -> Result<Vec<u8>, Fault> {
    match usize::try_from(entry.bytes) {
        Ok(length) if entry.bytes <= limit => Ok(file.bytes_at(entry.start, length)?),
        _ => refuse(format!("its {name} has {} bytes", entry.bytes)),
    }
}
