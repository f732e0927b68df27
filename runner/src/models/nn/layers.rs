//! Linear, layer norm and embedding, loaded by the names that PyTorch's modules give them.

use super::{Activation, onednn};
use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

/// `x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    weight: Tensor,
    bias: Tensor,
}

impl Linear {
    /// Loads `weight` `[output, input]` and `bias` `[output]`.
    pub fn new(input: i64, output: i64, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        Ok(Self {
            weight: weights.tensor("weight", &[output, input])?,
            bias: weights.tensor("bias", &[output])?,
        })
    }

    /// Several layers over the same input, as one whose outputs, each `output` wide, follow one
    /// another; all with a `bias`, or all without.
    pub fn side_by_side(
        bias: bool,
        input: i64,
        output: i64,
        weights: &[Scope<'_>],
    ) -> Result<Self, WeightsError> {
        let load = |name: &str, shape: &[i64]| {
            let parts = (weights.iter())
                .map(|scope| scope.tensor(name, shape))
                .collect::<Result<Vec<_>, _>>()?;
            Tensor::f_cat(&parts, 0).map_err(device_error(name))
        };
        let weight = load("weight", &[output, input])?;
        let bias = if bias {
            load("bias", &[output])?
        } else {
            Tensor::f_zeros(weight.size()[0], (weight.kind(), weight.device()))
                .map_err(device_error("bias"))?
        };
        Ok(Self::from_tensors(weight, bias))
    }

    /// A convolution of 1 x 1: `weight` `[output, input, 1, 1]` and `bias` `[output]`.
    pub fn of_convolution(
        input: i64,
        output: i64,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let weight = weights.tensor("weight", &[output, input, 1, 1])?;
        let weight = (weight.f_reshape([output, input])).map_err(device_error("weight"))?;
        Ok(Self::from_tensors(
            weight,
            weights.tensor("bias", &[output])?,
        ))
    }

    /// From tensors at hand: `weight` `[output, input]` and `bias` `[output]`.
    pub fn from_tensors(weight: Tensor, bias: Tensor) -> Self {
        Self { weight, bias }
    }

    /// `[.., input]` to `[.., output]`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        onednn::linear(xs, &self.weight, &self.bias, None)
    }

    /// `activation` of [`forward`](Self::forward).
    pub fn forward_activated(
        &self,
        xs: &Tensor,
        activation: Activation,
    ) -> Result<Tensor, TchError> {
        onednn::linear(xs, &self.weight, &self.bias, Some(activation))
    }

    /// The sum of [`forward`](Self::forward) and `residual`, which has the output's shape.
    pub fn forward_added(&self, xs: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        self.forward(xs)?.f_add_(residual)
    }
}

/// What libtorch says when it cannot make the tensor `name`.
fn device_error(name: &str) -> impl Fn(TchError) -> WeightsError {
    let name = name.to_owned();
    move |source| WeightsError::Device {
        name: name.clone(),
        source,
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
