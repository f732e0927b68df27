//! Errors of weights files.

use super::{PYTORCH_FILE, SAFETENSORS_FILE, SAFETENSORS_INDEX_FILE};
use std::path::PathBuf;

/// Each message names the file or tensor, and what to do.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    #[error("cannot read the weights in {path}: {source}")]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    /// The header is no safetensors header.
    #[error("{path} is not a safetensors file ({why}); fetch or save the checkpoint again")]
    Header { path: PathBuf, why: String },
    #[error(
        "no weights in {dir}: looked for {SAFETENSORS_FILE}, {SAFETENSORS_INDEX_FILE} and \
         {PYTORCH_FILE}; `fovea-runner fetch` downloads them"
    )]
    NoWeights { dir: PathBuf },
    #[error("{path} is no index of a checkpoint ({why}); fetch or save the checkpoint again")]
    Index { path: PathBuf, why: String },
    /// A PyTorch file holds more than tensors.
    #[error(
        "{path} is refused: {why}. Where you trust its source, load it with PyTorch and save it as \
         safetensors"
    )]
    PyTorch { path: PathBuf, why: String },
    /// A file from before PyTorch 1.6.
    #[error(
        "{path} has the format that torch.save had before PyTorch 1.6; convert it: python -c \
         'import sys, torch; f = sys.argv[1]; torch.save(torch.load(f, \"cpu\", weights_only=True), \
         f)' {path}"
    )]
    LegacyPyTorch { path: PathBuf },
    /// A view of a storage that skips nearly all of it.
    #[error(
        "tensor \"{name}\" has {elements} elements spread over {span}; save the checkpoint with \
         contiguous tensors"
    )]
    SparseView {
        name: String,
        elements: usize,
        /// Elements from the view's first to its last.
        span: usize,
    },
    /// The header announces other data than the file has.
    #[error(
        "{path} has {found_bytes} bytes where its header says {expected_bytes}: it was cut off or \
         added to; fetch or save the checkpoint again"
    )]
    Length {
        path: PathBuf,
        /// Length that the header implies.
        expected_bytes: u64,
        found_bytes: u64,
    },
    #[error(
        "tensor \"{name}\" is missing from {path}; is this checkpoint of the family that its \
         config.json names?"
    )]
    Missing {
        /// The tensor's name in the file.
        name: String,
        path: PathBuf,
    },
    /// A tensor has another shape than the configuration implies.
    #[error(
        "tensor \"{name}\" has the shape {found:?} where config.json implies {expected:?}; do \
         config.json and weights belong together?"
    )]
    Shape {
        name: String,
        expected: Vec<i64>,
        found: Vec<usize>,
    },
    /// A tensor is stored as a type that is no floating-point type this build reads.
    #[error("tensor \"{name}\" is stored as {found}; save the checkpoint as F32, F16 or BF16")]
    Type {
        name: String,
        /// The file's name of the type.
        found: String,
    },
    /// The device could not take a tensor.
    #[error("tensor \"{name}\" could not be placed on the device: {source}")]
    Device { name: String, source: tch::TchError },
}
