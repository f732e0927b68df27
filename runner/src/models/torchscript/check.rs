//! Checks a manifest; errors say what to write.

use super::labels::Labels;
use super::manifest::{
    Batch, BoxFormat, BoxUnit, Dtype, Layout, ManifestFile, Output, Places, Preprocessing, Size,
};
use super::output::Place;
use crate::tasks::Activation;
use fovea_protocol::Task;
use std::path::Path;

/// Upper bound on `batch`; a larger one is a mistake.
const MAX_FIXED_BATCH: usize = 1024;

#[derive(Debug)]
pub(super) struct Manifest {
    pub(super) file: String,
    pub(super) preprocessing: Preprocessing,
    pub(super) labels: Labels,
    pub(super) input: Input,
    pub(super) size: Option<Size>,
    pub(super) activation: Activation,
    pub(super) reading: Reading,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Input {
    pub(super) dtype: Dtype,
    pub(super) layout: Layout,
    pub(super) batch: Batch,
}

#[derive(Clone, Debug)]
pub(super) enum Reading {
    Logits(Place),
    Objects(ObjectPlaces),
}

/// Places in a detector's output, and the meaning of its boxes.
#[derive(Clone, Debug)]
pub(super) struct ObjectPlaces {
    pub(super) boxes: Place,
    pub(super) scores: Place,
    pub(super) labels: Option<Place>,
    pub(super) format: BoxFormat,
    pub(super) unit: BoxUnit,
}

impl ManifestFile {
    pub(super) fn check(self) -> Result<Manifest, String> {
        let Self {
            file,
            task,
            preprocessing,
            activation,
            labels,
            dtype,
            layout,
            batch,
            size,
            output,
            box_format,
            box_unit,
        } = self;
        let file = file.ok_or("\"file\" is missing; write the module's file name")?;
        plain("file", &file)?;
        let preprocessing = preprocessing.ok_or(
            "\"preprocessing\" is missing; write what a preprocessor_config.json holds, or the \
             name of one",
        )?;
        if let Preprocessing::File(name) = &preprocessing {
            plain("preprocessing", name)?;
        }
        let activation = activation.ok_or(
            "\"activation\" is missing; write what makes scores of the module's output: \
             \"softmax\", \"sigmoid\" or \"none\"",
        )?;
        let labels = labels
            .ok_or("\"labels\" is missing; write a list of the labels, or the name of a file")?;
        if let Labels::File(name) = &labels {
            plain("labels", name)?;
        }
        if let Batch::Fixed(count) = batch
            && !(1..=MAX_FIXED_BATCH).contains(&count)
        {
            return Err(format!(
                "batch is {count}; write \"dynamic\", or 1 to {MAX_FIXED_BATCH}"
            ));
        }
        let reading = match task {
            Some(Task::ImageClassification) => {
                logits(output, box_format.is_some() || box_unit.is_some())?
            }
            Some(Task::ObjectDetection) => objects(output, box_format, box_unit, activation)?,
            Some(Task::ImageToText) => {
                return Err(
                    "task is image-to-text, which takes more than one pass of a module; \
                            serve a BLIP checkpoint for captions"
                        .to_owned(),
                );
            }
            None => {
                return Err("\"task\" is missing; write \"image-classification\" or \
                            \"object-detection\""
                    .to_owned());
            }
        };
        Ok(Manifest {
            file,
            preprocessing,
            labels,
            input: Input {
                dtype,
                layout,
                batch,
            },
            size,
            activation,
            reading,
        })
    }
}

fn logits(output: Option<Output>, boxes: bool) -> Result<Reading, String> {
    match output {
        _ if boxes => {
            Err("box_format and box_unit belong to object-detection; leave them out".to_owned())
        }
        None => Ok(Reading::Logits(Place::default())),
        Some(Output::One(place)) => Ok(Reading::Logits(place)),
        Some(Output::Several(_)) => Err(
            "output has boxes and scores; for image-classification write the logits' index or \
             key alone"
                .to_owned(),
        ),
    }
}

fn objects(
    output: Option<Output>,
    format: Option<BoxFormat>,
    unit: Option<BoxUnit>,
    activation: Activation,
) -> Result<Reading, String> {
    let Some(Output::Several(places)) = output else {
        return Err(
            "output must say where a detector's output has what; write {\"boxes\": .., \
             \"scores\": ..}, and \"labels\" where the module itself chooses them, each an index \
             or a key"
                .to_owned(),
        );
    };
    let Places {
        boxes,
        scores,
        labels,
    } = places;
    if labels.is_some() && activation == Activation::Softmax {
        return Err(
            "activation is softmax, but an object that has its label has one score; write \
             \"sigmoid\" or \"none\""
                .to_owned(),
        );
    }
    Ok(Reading::Objects(ObjectPlaces {
        boxes,
        scores,
        labels,
        format: format.ok_or(
            "\"box_format\" is missing; write \"xyxy\", \"xywh\" (left, top, width, height) or \
             \"cxcywh\"",
        )?,
        unit: unit.ok_or(
            "\"box_unit\" is missing; write \"pixels\" (of the module's input) or \"fractions\"",
        )?,
    }))
}

/// Refuses a path; it must be the name of a file in the folder.
fn plain(key: &str, name: &str) -> Result<(), String> {
    if Path::new(name).file_name().is_some_and(|last| last == name) {
        return Ok(());
    }
    Err(format!(
        "{key} is \"{name}\"; write the name of a file in the folder, without a path"
    ))
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
