//! Linear, layer norm and embedding, loaded by the names that PyTorch's modules give them.

use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

/// `x W^T + b`, or without `b`.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
}

impl Linear {
    /// Loads `weight` `[output, input]` and `bias` `[output]`.
    pub fn new(input: i64, output: i64, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        Self::with_bias(true, input, output, weights)
    }

    /// As [`new`](Self::new), with or without `bias`.
    pub fn with_bias(
        bias: bool,
        input: i64,
        output: i64,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        Ok(Self {
            weight: weights.tensor("weight", &[output, input])?,
            bias: bias
                .then(|| weights.tensor("bias", &[output]))
                .transpose()?,
        })
    }

    /// From tensors at hand: `weight` `[output, input]` and, where there is one, `bias`
    /// `[output]`.
    pub fn from_tensors(weight: Tensor, bias: impl Into<Option<Tensor>>) -> Self {
        let bias = bias.into();
        Self { weight, bias }
    }

    /// Several layers of one input as one, whose output is theirs one after the other; each gives
    /// `output` places.
    pub fn fused(
        names: &[&str],
        bias: bool,
        input: i64,
        output: i64,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let parts = (names.iter())
            .map(|name| Self::with_bias(bias, input, output, &weights.at(name)))
            .collect::<Result<Vec<_>, _>>()?;
        let cat = |tensors: Vec<&Tensor>| {
            Tensor::f_cat(&tensors, 0).map_err(|source| WeightsError::Device {
                name: names.join(", "),
                source,
            })
        };
        let biases: Vec<_> = parts.iter().filter_map(|part| part.bias.as_ref()).collect();
        Ok(Self {
            weight: cat(parts.iter().map(|part| &part.weight).collect())?,
            bias: bias.then(|| cat(biases)).transpose()?,
        })
    }

    /// What gives `length` of the output's places, from `start` on; the same memory.
    pub fn rows(&self, start: i64, length: i64) -> Result<Self, TchError> {
        let narrow = |tensor: &Tensor| tensor.f_narrow(0, start, length);
        Ok(Self {
            weight: narrow(&self.weight)?,
            bias: self.bias.as_ref().map(narrow).transpose()?,
        })
    }

    /// `[.., input]` to `[.., output]`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        xs.f_linear(&self.weight, self.bias.as_ref())
    }
}

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

    /// `[.., size]` to the same.
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

/// A table of vectors.
#[derive(Debug)]
pub struct Embedding {
    weight: Tensor,
}

impl Embedding {
    /// Loads `weight` `[count, size]`.
    pub fn new(count: i64, size: i64, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        Ok(Self::from_tensor(weights.tensor("weight", &[count, size])?))
    }

    /// From a table at hand, `[count, size]`.
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
