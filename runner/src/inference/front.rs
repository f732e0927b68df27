//! The request-side half of a model, which needs no weights.

use super::{Answer, BatchKey, Item, Query};
use crate::image::Preprocessor;
use fovea_protocol::{InferResult, Parameters, Problem, Task};

/// The task of a model. Runs on request threads and holds no tensor.
pub trait TaskHead: Send + Sync {
    /// The task that requests must name.
    fn task(&self) -> Task;

    /// Turns a request's parameters into a query, or explains why they do not fit the model.
    fn query(&self, parameters: &Parameters) -> Result<Query, Problem>;

    /// Turns the answer to `query` into the result on the wire; `picture` is the width and height
    /// of the upright picture, in pixels.
    fn result(
        &self,
        query: &Query,
        answer: Answer,
        picture: (u32, u32),
    ) -> Result<InferResult, Problem>;
}

/// The half of a model that requests need.
pub struct ModelFront {
    /// Parses parameters and builds results.
    pub head: Box<dyn TaskHead>,
    /// Turns a file's bytes into the model's input.
    pub preprocessor: Preprocessor,
    /// Whether inputs of several sizes can share a pass.
    pub mixed_sizes: bool,
    /// Digest of the checkpoint's files beside its weights.
    pub settings: String,
}

impl ModelFront {
    /// The key of an item: items with equal keys can share a pass.
    pub fn batch_key(&self, item: &Item) -> BatchKey {
        let (tokens, beams) = match &item.query {
            Query::Caption(query) => (query.input_ids.len(), query.num_beams),
            Query::Classify { .. } | Query::Detect { .. } => (0, 0),
        };
        let shape = (!self.mixed_sizes).then(|| item.pixels.shape());
        BatchKey {
            tokens,
            beams,
            shape,
        }
    }

    /// An upper bound on the work of an item relative to the warm-up's, at least 1: by its input
    /// pixels and its sequential steps.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub fn relative_work(&self, item: &Item) -> f64 {
        let (height, width) = self.preprocessor.warm_up_size();
        let usual_pixels = f64::from(height) * f64::from(width);
        let [_, height, width] = item.pixels.shape();
        let pixels = (height * width) as f64 / usual_pixels;
        let usual = self.head.query(&Parameters::default());
        let usual_steps = usual.map_or(1, |query| query.steps());
        let steps = item.query.steps() as f64 / usual_steps as f64;
        pixels.max(1.0) * steps.max(1.0)
    }
}
