//! A prefix of tensor names.

use super::{Weights, WeightsError};
use tch::{TchError, Tensor};

/// A prefix of tensor names, such as `text_decoder.bert.encoder`.
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

    /// As [`tensor`](Self::tensor), but made to be freed soon: it lies so that it leaves no gap
    /// where others stay.
    pub fn short_lived(&self, name: &str, shape: &[i64]) -> Result<Tensor, WeightsError> {
        self.weights.joined(&[self.full(name)], shape)
    }

    /// The tensors `name` of several places, each of which must have this shape, as one along the
    /// first dimension; as [`short_lived`](Self::short_lived).
    pub fn joined(places: &[Self], name: &str, shape: &[i64]) -> Result<Tensor, WeightsError> {
        let names: Vec<String> = places.iter().map(|place| place.full(name)).collect();
        match places.first() {
            Some(place) => place.weights.joined(&names, shape),
            None => Err(WeightsError::Device {
                name: name.to_owned(),
                source: TchError::Shape("no tensors to be joined".to_owned()),
            }),
        }
    }

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
