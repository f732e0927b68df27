//! Activations by the names that `config.json` has for them (transformers' `ACT2FN`).

use serde::Deserialize;
use tch::{TchError, Tensor};

/// The point-wise function of a feed-forward block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub enum Activation {
    /// `x * Phi(x)`, computed with the error function.
    #[default]
    #[serde(rename = "gelu")]
    Gelu,
    /// GELU, approximated with tanh.
    #[serde(rename = "gelu_new", alias = "gelu_pytorch_tanh")]
    GeluTanh,
    /// `x * sigmoid(1.702 x)`.
    #[serde(rename = "quick_gelu")]
    QuickGelu,
    /// `max(x, 0)`.
    #[serde(rename = "relu")]
    Relu,
}

impl Activation {
    /// Applies the function to each number of a tensor of any shape.
    pub fn forward(self, xs: &Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Gelu => xs.f_gelu("none"),
            Self::GeluTanh => xs.f_gelu("tanh"),
            Self::QuickGelu => xs.f_mul_scalar(1.702)?.f_sigmoid()?.f_mul(xs),
            Self::Relu => xs.f_relu(),
        }
    }
    /// As [`forward`](Self::forward), but reuses the memory of `xs` where torch can.
    pub fn forward_in_place(self, mut xs: Tensor) -> Result<Tensor, TchError> {
        match self {
            Self::Gelu => xs.f_gelu_("none"),
            Self::GeluTanh => xs.f_gelu_("tanh"),
            Self::QuickGelu => self.forward(&xs),
            Self::Relu => xs.f_relu_(),
        }
    }
}
