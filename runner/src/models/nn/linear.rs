//! The linear layer, with fused activation or residual.

use super::{Activation, onednn};
use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

/// A fully connected layer: `x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    weight: Weight,
    bias: Tensor,
}

#[derive(Debug)]
enum Weight {
    /// `[output, input]`, as in the checkpoint.
    Plain(Tensor),
    /// The same numbers as oneDNN packs them; only its operators read them.
    Packed(Tensor),
}

impl Linear {
    /// Loads `weight` `[output, input]` and `bias` `[output]`.
    pub fn new(input: i64, output: i64, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        Self::side_by_side(true, input, output, std::slice::from_ref(weights))
    }

    /// Loads several layers that share their input as one layer. Its output is their outputs, each
    /// `output` wide, one after another. All of them have a `bias`, or none.
    pub fn side_by_side(
        bias: bool,
        input: i64,
        output: i64,
        weights: &[Scope<'_>],
    ) -> Result<Self, WeightsError> {
        let weight = Scope::joined(weights, "weight", &[output, input])?;
        let bias = if bias {
            let parts = (weights.iter())
                .map(|scope| scope.tensor("bias", &[output]))
                .collect::<Result<Vec<_>, _>>()?;
            Tensor::f_cat(&parts, 0)
        } else {
            Tensor::f_zeros(weight.size()[0], (weight.kind(), weight.device()))
        };
        Ok(Self::from_tensors(
            weight,
            bias.map_err(device_error("bias"))?,
        ))
    }

    /// Loads a convolution of 1 x 1: `weight` `[output, input, 1, 1]` and `bias` `[output]`.
    pub fn of_convolution(
        input: i64,
        output: i64,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let weight = weights.short_lived("weight", &[output, input, 1, 1])?;
        let weight = (weight.f_reshape([output, input])).map_err(device_error("weight"))?;
        Ok(Self::from_tensors(
            weight,
            weights.tensor("bias", &[output])?,
        ))
    }

    /// Makes a layer of loaded tensors: `weight` `[output, input]` and `bias` `[output]`. On a CPU the
    /// weight is copied to oneDNN's layout.
    pub fn from_tensors(weight: Tensor, bias: Tensor) -> Self {
        let packed = onednn::pack_linear(&weight).map(Weight::Packed);
        Self {
            weight: packed.unwrap_or(Weight::Plain(weight)),
            bias,
        }
    }

    /// `[.., input]` to `[.., output]`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        match &self.weight {
            Weight::Plain(weight) => xs.f_linear(weight, Some(&self.bias)),
            Weight::Packed(weight) => onednn::linear(xs, weight, &self.bias, None),
        }
    }

    /// [`forward`](Self::forward), then `activation` in place.
    pub fn forward_activated(
        &self,
        xs: &Tensor,
        activation: Activation,
    ) -> Result<Tensor, TchError> {
        match &self.weight {
            Weight::Plain(_) => activation.forward_in_place(self.forward(xs)?),
            Weight::Packed(weight) => onednn::linear(xs, weight, &self.bias, Some(activation)),
        }
    }

    /// The sum of [`forward`](Self::forward) and `residual`, which has the output's shape.
    pub fn forward_added(&self, xs: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        match &self.weight {
            Weight::Plain(_) => self.forward(xs)?.f_add_(residual),
            Weight::Packed(weight) => onednn::linear_add(xs, residual, weight, &self.bias),
        }
    }
}

/// The error for a tensor `name` that libtorch cannot create.
fn device_error(name: &str) -> impl Fn(TchError) -> WeightsError {
    let name = name.to_owned();
    move |source| WeightsError::Device {
        name: name.clone(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn random(shape: &[i64]) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu))
    }

    #[test]
    fn plain_and_packed_weights_give_the_same() {
        let [xs, weight, bias, residual] =
            [&[2, 3, 40][..], &[24, 40], &[24], &[2, 3, 24]].map(random);
        let plain = Linear {
            weight: Weight::Plain(weight.shallow_clone()),
            bias: bias.shallow_clone(),
        };
        let packed = Linear::from_tensors(weight, bias);
        for (ours, theirs) in [
            (packed.forward(&xs), plain.forward(&xs)),
            (
                packed.forward_activated(&xs, Activation::Gelu),
                plain.forward_activated(&xs, Activation::Gelu),
            ),
            (
                packed.forward_added(&xs, &residual),
                plain.forward_added(&xs, &residual),
            ),
        ] {
            let difference = (ours.unwrap() - theirs.unwrap()).abs().max();
            assert!(difference.double_value(&[]) < 1e-4);
        }
    }
}
