//! Layer norm and embedding, loaded by the names that PyTorch's modules give them.

use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

/// Layer normalisation over the last dimension (Ba et al. 2016).
#[derive(Debug)]
pub struct LayerNorm {
    weight: Tensor,
    bias: Tensor,
    size: i64,
    eps: f64,
}

impl LayerNorm {
    /// Loads `weight` and `bias`, each `[size]`.
    pub fn new(size: i64, eps: f64, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        Ok(Self {
            weight: weights.tensor("weight", &[size])?,
            bias: weights.tensor("bias", &[size])?,
            size,
            eps,
        })
    }

    /// Normalises `[.., size]`; the shape stays.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        xs.f_layer_norm(
            self.size,
            Some(&self.weight),
            Some(&self.bias),
            self.eps,
            true,
        )
    }
}

/// A table with one vector for each index.
#[derive(Debug)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// Loads `weight` `[count, size]`.
    pub fn new(count: i64, size: i64, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        Ok(Self::from_tensor(weights.tensor("weight", &[count, size])?))
    }

    /// Wraps a table that is already loaded, `[count, size]`.
    pub fn from_tensor(weight: Tensor) -> Self {
        Self { weight }
    }

    /// Indices `[..]` to `[.., size]`; an index outside the table is an error.
    pub fn forward(&self, indices: &Tensor) -> Result<Tensor, TchError> {
        Tensor::f_embedding(&self.weight, indices, -1, false, false)
    }

    /// The rows from `start` on, `[length, size]`, without a copy.
    pub fn rows(&self, start: i64, length: i64) -> Result<Tensor, TchError> {
        self.weight.f_narrow(0, start, length)
    }
}
