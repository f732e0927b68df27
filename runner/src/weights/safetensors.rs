//! Reads the safetensors format tensor by tensor, with positional reads and a small buffer.
//!
//! Format: <https://huggingface.co/docs/safetensors>. No memory map (a file that changes under
//! one is undefined behaviour) and no whole-file buffer: the peak is the weights plus
//! [`CHUNK_BYTES`] twice.

use super::{Placement, WeightsError};
use safetensors::Dtype;
use safetensors::tensor::{Metadata, TensorInfo};
use sha2::{Digest, Sha256};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use tch::{Kind, TchError, Tensor};

/// The weights' file in a checkpoint's folder.
const WEIGHTS_FILE: &str = "model.safetensors";

/// Read at once.
const CHUNK_BYTES: usize = 4 * 1024 * 1024;

/// A header above this is no checkpoint's: BLIP-base's has 60 KB.
const MAX_HEADER_BYTES: u64 = 16 * 1024 * 1024;

/// The header's own length: a little-endian `u64` before it.
const LENGTH_BYTES: u64 = 8;

/// An open weights file.
#[derive(Debug)]
pub struct Weights {
    file: File,
    path: PathBuf,
    metadata: Metadata,
    data_start: u64,
    placement: Placement,
}

impl Weights {
    /// Opens the weights in a checkpoint's folder and checks their header.
    pub fn open(dir: &Path, placement: Placement) -> Result<Self, WeightsError> {
        let path = &dir.join(WEIGHTS_FILE);
        let read_error = |source| WeightsError::Read {
            path: path.to_owned(),
            source,
        };
        let header_error = |why: String| WeightsError::Header {
            path: path.to_owned(),
            why,
        };
        let file = File::open(path).map_err(read_error)?;
        let found_bytes = file.metadata().map_err(read_error)?.len();
        if found_bytes < LENGTH_BYTES {
            return Err(header_error(format!("it has {found_bytes} bytes")));
        }
        let mut length = [0; 8];
        file.read_exact_at(&mut length, 0).map_err(read_error)?;
        let header_bytes = u64::from_le_bytes(length);
        if header_bytes > MAX_HEADER_BYTES || header_bytes > found_bytes - LENGTH_BYTES {
            return Err(header_error(format!(
                "its header claims {header_bytes} bytes"
            )));
        }
        let mut header = vec![0; usize::try_from(header_bytes).unwrap_or_default()];
        file.read_exact_at(&mut header, LENGTH_BYTES)
            .map_err(read_error)?;
        // Checks that the tensors' places follow one another and fit their shapes and types.
        let metadata: Metadata =
            serde_json::from_slice(&header).map_err(|error| header_error(error.to_string()))?;
        let data_start = LENGTH_BYTES + header_bytes;
        let expected_bytes = data_start + metadata.data_len() as u64;
        if expected_bytes != found_bytes {
            return Err(WeightsError::Length {
                path: path.to_owned(),
                expected_bytes,
                found_bytes,
            });
        }
        Ok(Self {
            file,
            path: path.to_owned(),
            metadata,
            data_start,
            placement,
        })
    }

    /// `sha256:<hex>` of the whole file.
    pub fn revision(&self) -> Result<String, WeightsError> {
        let mut hasher = Sha256::new();
        let length = self.data_start + self.metadata.data_len() as u64;
        self.read(0, length, |chunk| hasher.update(chunk))?;
        Ok(format!("sha256:{}", hex::encode(hasher.finalize())))
    }

    /// The names below `prefix`, as the file has them.
    pub fn at(&self, prefix: &str) -> Scope<'_> {
        Scope {
            weights: self,
            prefix: prefix.to_owned(),
        }
    }

    /// Whether the file has a tensor of this full name.
    fn contains(&self, name: &str) -> bool {
        self.metadata.info(name).is_some()
    }

    /// The tensor of this full name, which must have this shape, as the placement's kind.
    fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor, WeightsError> {
        let info = self
            .metadata
            .info(name)
            .ok_or_else(|| WeightsError::Missing {
                name: name.to_owned(),
                path: self.path.clone(),
            })?;
        let same_shape = info.shape.len() == shape.len()
            && (info.shape.iter().zip(shape))
                .all(|(&found, &want)| i64::try_from(found) == Ok(want));
        if !same_shape {
            return Err(WeightsError::Shape {
                name: name.to_owned(),
                expected: shape.to_vec(),
                found: info.shape.clone(),
            });
        }
        let stored = match info.dtype {
            Dtype::F32 => Kind::Float,
            Dtype::F16 => Kind::Half,
            Dtype::BF16 => Kind::BFloat16,
            other => {
                return Err(WeightsError::Type {
                    name: name.to_owned(),
                    found: format!("{other:?}"),
                });
            }
        };
        let device_error = |source| WeightsError::Device {
            name: name.to_owned(),
            source,
        };
        let Placement { device, kind } = self.placement;
        let flat =
            Tensor::f_empty(shape.iter().product::<i64>(), (kind, device)).map_err(device_error)?;
        self.fill(&flat, info, stored, name)?;
        flat.f_reshape(shape).map_err(device_error)
    }

    /// Copies a tensor's elements from the file to `flat`, converting them to its type.
    fn fill(
        &self,
        flat: &Tensor,
        info: &TensorInfo,
        stored: Kind,
        name: &str,
    ) -> Result<(), WeightsError> {
        let (start, end) = info.data_offsets;
        let offset = self.data_start + start as u64;
        let mut place = Ok(0);
        self.read(offset, (end - start) as u64, |chunk| {
            if let Ok(at) = place {
                place = copy_chunk(flat, at, chunk, stored);
            }
        })?;
        place.map(|_| ()).map_err(|source| WeightsError::Device {
            name: name.to_owned(),
            source,
        })
    }

    /// Gives `length` bytes from `offset` on to `take`, a chunk at a time.
    fn read(
        &self,
        offset: u64,
        length: u64,
        mut take: impl FnMut(&[u8]),
    ) -> Result<(), WeightsError> {
        let mut buffer = vec![0; CHUNK_BYTES.min(usize::try_from(length).unwrap_or(CHUNK_BYTES))];
        let end = offset + length;
        let mut at = offset;
        while at < end {
            let chunk = (end - at).min(CHUNK_BYTES as u64);
            let buffer = &mut buffer[..usize::try_from(chunk).unwrap_or(CHUNK_BYTES)];
            self.file
                .read_exact_at(buffer, at)
                .map_err(|source| WeightsError::Read {
                    path: self.path.clone(),
                    source,
                })?;
            take(buffer);
            at += chunk;
        }
        Ok(())
    }
}

/// Writes the elements in `chunk` to `flat`, from the element `place` on; gives the next place.
fn copy_chunk(flat: &Tensor, place: i64, chunk: &[u8], stored: Kind) -> Result<i64, TchError> {
    let chunk = Tensor::f_from_slice(chunk)?.f_view_dtype(stored)?;
    let count = chunk.size1()?;
    flat.f_narrow(0, place, count)?.f_copy_(&chunk)?;
    Ok(place + count)
}

/// A place in the tree of tensor names, `text_decoder.bert.encoder` say.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl Scope<'_> {
    /// The place `name` below this one.
    #[must_use]
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Self {
            weights: self.weights,
            prefix: self.full(&name.to_string()),
        }
    }

    /// The tensor `name` here, which must have this shape, as the placement's kind.
    pub fn tensor(&self, name: &str, shape: &[i64]) -> Result<Tensor, WeightsError> {
        self.weights.tensor(&self.full(name), shape)
    }

    /// Whether there is a tensor `name` here.
    pub fn contains(&self, name: &str) -> bool {
        self.weights.contains(&self.full(name))
    }

    fn full(&self, name: &str) -> String {
        if self.prefix.is_empty() {
            name.to_owned()
        } else {
            format!("{}.{name}", self.prefix)
        }
    }
}
