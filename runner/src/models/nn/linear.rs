//! The linear layer, with what may follow it in the same pass over memory.

use super::Activation;
use super::onednn::{OneDnn, onednn};
use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

/// `x W^T + b`.
#[derive(Debug)]
pub struct Linear {
    weight: Weight,
    bias: Tensor,
}

#[derive(Debug)]
enum Weight {
    /// As in the checkpoint.
    Plain(Tensor),
    /// For the CPU's own kernels.
    Packed(&'static OneDnn, Tensor),
}

impl Weight {
    fn new(weight: Tensor) -> Self {
        let operators = onednn(weight.kind(), weight.device());
        let packed = operators.and_then(|operators| {
            let packed = operators.pack(&weight).ok()?;
            Some(Self::Packed(operators, packed))
        });
        packed.unwrap_or(Self::Plain(weight))
    }
}

impl Linear {
    /// Loads `weight` `[output, input]` and `bias` `[output]`.
    pub fn new(input: i64, output: i64, weights: &Scope<'_>) -> Result<Self, WeightsError> {
        Ok(Self::from_tensors(
            weights.tensor("weight", &[output, input])?,
            weights.tensor("bias", &[output])?,
        ))
    }

    /// Several layers over the same input, as one whose outputs, each `output` wide, follow one
    /// another.
    pub fn side_by_side(
        input: i64,
        output: i64,
        weights: &[Scope<'_>],
    ) -> Result<Self, WeightsError> {
        let load = |name: &str, shape: &[i64]| {
            let parts = (weights.iter())
                .map(|scope| scope.tensor(name, shape))
                .collect::<Result<Vec<_>, _>>()?;
            Tensor::f_cat(&parts, 0).map_err(|source| WeightsError::Device {
                name: name.to_owned(),
                source,
            })
        };
        Ok(Self::from_tensors(
            load("weight", &[output, input])?,
            load("bias", &[output])?,
        ))
    }

    /// From tensors at hand: `weight` `[output, input]` and `bias` `[output]`.
    pub fn from_tensors(weight: Tensor, bias: Tensor) -> Self {
        Self {
            weight: Weight::new(weight),
            bias,
        }
    }

    /// `[.., input]` to `[.., output]`.
    pub fn forward(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        match &self.weight {
            Weight::Plain(weight) => xs.f_linear(weight, Some(&self.bias)),
            Weight::Packed(operators, weight) => operators.linear(xs, weight, &self.bias),
        }
    }

    /// `activation` of [`Linear::forward`].
    pub fn forward_activated(
        &self,
        xs: &Tensor,
        activation: Activation,
    ) -> Result<Tensor, TchError> {
        match (&self.weight, activation) {
            (Weight::Packed(operators, weight), Activation::Gelu) => {
                operators.linear_gelu(xs, weight, &self.bias)
            }
            _ => activation.forward_in_place(self.forward(xs)?),
        }
    }

    /// The sum of [`Linear::forward`] and `residual`, which has the output's shape.
    pub fn forward_added(&self, xs: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        match &self.weight {
            Weight::Plain(_) => self.forward(xs)?.f_add_(residual),
            Weight::Packed(operators, weight) => {
                operators.linear_add(xs, weight, &self.bias, residual)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::{Device, Kind};

    fn random(shape: &[i64], kind: Kind) -> Tensor {
        Tensor::randn(shape, (Kind::Float, Device::Cpu)).to_kind(kind)
    }

    /// The largest difference from what `f_linear` and its followers give, for odd sizes, for one
    /// row and for many, and for inputs that lie with gaps.
    fn largest_difference(kind: Kind) -> f64 {
        let mut largest = 0.0_f64;
        for (rows, input, output) in [(1, 48, 144), (3, 33, 7), (70, 65, 130)] {
            let (weight, bias) = (random(&[output, input], kind), random(&[output], kind));
            let layer = Linear::from_tensors(weight.shallow_clone(), bias.shallow_clone());
            assert!(matches!(layer.weight, Weight::Packed(..)));
            let wide = random(&[2, rows + 1, input + 3], kind);
            for xs in [
                random(&[rows, input], kind),
                wide.narrow(1, 1, rows).narrow(2, 2, input),
            ] {
                let plain = xs.linear(&weight, Some(&bias));
                let residual = random(&plain.size(), kind);
                let pairs = [
                    (layer.forward(&xs), plain.shallow_clone()),
                    (
                        layer.forward_activated(&xs, Activation::Gelu),
                        plain.gelu("none"),
                    ),
                    (layer.forward_activated(&xs, Activation::Relu), plain.relu()),
                    (layer.forward_added(&xs, &residual), &plain + &residual),
                ];
                for (ours, theirs) in pairs {
                    let ours = ours.unwrap();
                    assert_eq!((ours.size(), ours.kind()), (theirs.size(), kind));
                    let difference = (ours - theirs).abs().max().double_value(&[]);
                    largest = largest.max(difference);
                }
            }
        }
        largest
    }

    #[test]
    #[cfg(target_arch = "x86_64")]
    fn packed_weights_give_what_plain_ones_give() {
        let difference = largest_difference(Kind::Float);
        assert!(difference < 1e-4, "{difference:e}");
    }

    #[test]
    fn packed_weights_in_bf16_are_off_by_its_roundings_only() {
        // Not every CPU can.
        if onednn(Kind::BFloat16, Device::Cpu).is_some() {
            let difference = largest_difference(Kind::BFloat16);
            assert!(difference < 0.3, "{difference:e}");
        }
    }

    #[test]
    fn layers_side_by_side_are_one() {
        let dir = tempfile::tempdir().unwrap();
        let bytes = |tensor: &Tensor| -> Vec<u8> {
            let flat = Vec::<f32>::try_from(tensor.flatten(0, -1)).unwrap();
            flat.into_iter().flat_map(f32::to_le_bytes).collect()
        };
        let names = ["a", "b"];
        let parts = names.map(|_| (random(&[6, 5], Kind::Float), random(&[6], Kind::Float)));
        let data: Vec<(String, Vec<usize>, Vec<u8>)> = (names.iter().zip(&parts))
            .flat_map(|(name, (weight, bias))| {
                [
                    (format!("{name}.weight"), vec![6, 5], bytes(weight)),
                    (format!("{name}.bias"), vec![6], bytes(bias)),
                ]
            })
            .collect();
        let views = data.iter().map(|(name, shape, bytes)| {
            let dtype = safetensors::Dtype::F32;
            (
                name,
                safetensors::tensor::TensorView::new(dtype, shape.clone(), bytes).unwrap(),
            )
        });
        let file = dir.path().join("model.safetensors");
        safetensors::serialize_to_file(views, None, &file).unwrap();
        let weights = crate::weights::Weights::open(dir.path(), crate::weights::Placement::CPU);
        let weights = weights.unwrap();
        let layer = Linear::side_by_side(5, 6, &names.map(|name| weights.at(name))).unwrap();
        let xs = random(&[4, 5], Kind::Float);
        let apart = parts.map(|(weight, bias)| xs.linear(&weight, Some(&bias)));
        let difference = layer.forward(&xs).unwrap() - Tensor::cat(&apart, -1);
        assert!(difference.abs().max().double_value(&[]) < 1e-5);
    }
}
