//! The safetensors format: a JSON header with each tensor's position, then the tensors.
//!
//! Format: <https://huggingface.co/docs/safetensors>.

use super::WeightsError;
use super::file::DataFile;
use super::stored::{Element, Stored};
use safetensors::Dtype;
use safetensors::tensor::Metadata;
use tch::Kind;

/// Largest header; BLIP-base's has 60 KB.
const MAX_HEADER_BYTES: u64 = 16 * 1024 * 1024;

/// The header's own length: a little-endian `u64` before it.
const LENGTH_BYTES: u64 = 8;

/// Locates every tensor; the file must be complete.
pub(super) fn read(file: &DataFile) -> Result<Vec<(String, Stored)>, WeightsError> {
    let header_error = |why: String| WeightsError::Header {
        path: file.path().to_owned(),
        why,
    };
    let found_bytes = file.bytes();
    if found_bytes < LENGTH_BYTES {
        return Err(header_error(format!("it has {found_bytes} bytes")));
    }
    let mut length = [0; 8];
    file.read_at(&mut length, 0)?;
    let header_bytes = u64::from_le_bytes(length);
    if header_bytes > MAX_HEADER_BYTES || header_bytes > found_bytes - LENGTH_BYTES {
        return Err(header_error(format!(
            "its header claims {header_bytes} bytes"
        )));
    }
    let length = usize::try_from(header_bytes).unwrap_or_default();
    let header = file.bytes_at(LENGTH_BYTES, length)?;
    // Checks that the tensors are contiguous and fit their shapes and types.
    let metadata: Metadata =
        serde_json::from_slice(&header).map_err(|error| header_error(error.to_string()))?;
    let data_start = LENGTH_BYTES + header_bytes;
    let expected_bytes = data_start + metadata.data_len() as u64;
    if expected_bytes != found_bytes {
        return Err(WeightsError::Length {
            path: file.path().to_owned(),
            expected_bytes,
            found_bytes,
        });
    }
    let tensors = metadata.tensors().into_iter().map(|(name, info)| {
        let stored = Stored {
            file: 0,
            offset: data_start + info.data_offsets.0 as u64,
            element: element(info.dtype),
            shape: info.shape.clone(),
            strides: None,
        };
        (name, stored)
    });
    Ok(tensors.collect())
}

fn element(dtype: Dtype) -> Element {
    match dtype {
        Dtype::F32 => Element::Float(Kind::Float),
        Dtype::F16 => Element::Float(Kind::Half),
        Dtype::BF16 => Element::Float(Kind::BFloat16),
        other => Element::Other(format!("{other:?}")),
    }
}
