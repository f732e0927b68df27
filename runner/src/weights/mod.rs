//! A checkpoint's tensors, read from disk one at a time.

mod error;
mod safetensors;

pub use error::WeightsError;
pub use safetensors::{Scope, Weights};

use tch::{Device, Kind};

/// Where a model's tensors go, and as which numbers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Placement {
    /// The device that computes.
    pub device: Device,
    /// The type of weights and activations.
    pub kind: Kind,
}

impl Placement {
    /// On the CPU, in 32 bits.
    pub const CPU: Self = Self {
        device: Device::Cpu,
        kind: Kind::Float,
    };
}
