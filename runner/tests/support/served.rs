//! A checkpoint or module as the runner serves it.

use fovea_protocol::{InferResult, Parameters};
use fovea_runner::image::PixelValues;
use fovea_runner::inference::{Answer, Item, Model, ModelFront};
use fovea_runner::models::{self, Loaded, ModelError};
use fovea_runner::weights::Placement;
use std::path::Path;
use std::sync::Arc;

pub(crate) struct Served {
    pub(crate) front: Arc<ModelFront>,
    pub(crate) model: Box<dyn Model>,
    pub(crate) revision: String,
}

pub(crate) fn serve(dir: &Path) -> Result<Served, ModelError> {
    let (front, loader) = models::open(dir)?;
    let Loaded { model, revision } = loader(Placement::CPU)?;
    Ok(Served {
        front,
        model,
        revision,
    })
}

impl Served {
    /// A picture with the default parameters.
    pub(crate) fn item(&self, pixels: PixelValues) -> Item {
        let query = self.front.head.query(&Parameters::default()).unwrap();
        Item { pixels, query }
    }

    pub(crate) fn run(&self, items: &[Item]) -> Result<Vec<Answer>, String> {
        (self.model.run(items, &|_| false)).map_err(|fault| fault.to_string())
    }

    /// The result for one picture of this size.
    pub(crate) fn result(&self, pixels: PixelValues, size: (u32, u32)) -> InferResult {
        let item = self.item(pixels);
        let answer = self.run(std::slice::from_ref(&item)).unwrap().remove(0);
        self.front.head.result(&item.query, answer, size).unwrap()
    }
}
