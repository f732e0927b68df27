//! A place in the tree of tensor names.

use super::{Weights, WeightsError};
use tch::Tensor;

/// A place in the tree of tensor names, `text_decoder.bert.encoder` say.
#[derive(Clone, Debug)]
pub struct Scope<'a> {
    weights: &'a Weights,
    prefix: String,
}

impl<'a> Scope<'a> {
    pub(super) fn new(weights: &'a Weights, prefix: &str) -> Self {
        Self {
            weights,
            prefix: prefix.to_owned(),
        }
    }

    /// The place `name` below this one.
    #[must_use]
    pub fn at(&self, name: impl std::fmt::Display) -> Self {
        Self {
            weights: self.weights,
            prefix: self.full(&name.to_string()),
        }
    }

    /// The tensor `name` here, which must have this shape, as the placement wants it.
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
