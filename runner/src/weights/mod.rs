//! A checkpoint's tensors, read from disk one at a time.
//!
//! A folder's weights lie in `model.safetensors`, in the shards that `model.safetensors.index.json`
//! names, or in `pytorch_model.bin`. [`Weights::open`] reads the headers; a
//! tensor's numbers are read when a model needs it, in small pieces that are converted at once: the
//! peak is the model's own size and two such pieces. No memory map (a file that changes
//! under one is undefined behaviour) and no whole-file buffer.

mod error;
mod file;
mod listed;
mod load;
mod open;
mod pytorch;
mod safetensors;
mod scope;
mod shards;
mod stored;

pub use error::WeightsError;
pub use listed::{InvalidTensorList, TensorList};
pub(crate) use load::short_lived;
pub use open::{PYTORCH_FILE, SAFETENSORS_FILE, SAFETENSORS_INDEX_FILE, Weights};
pub use scope::Scope;

use tch::{Device, Kind};

/// Device and type of a model's tensors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    pub device: Device,
    /// The type of weights and activations.
    pub kind: Kind,
}

impl Placement {
    pub const CPU: Self = Self {
        device: Device::Cpu,
        kind: Kind::Float,
    };
}
