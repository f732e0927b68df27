//! Converts a detector's tensors to objects.

use super::check::ObjectPlaces;
use super::manifest::{BoxFormat, BoxUnit};
use super::output::{Place, describe_tensor};
use crate::inference::{ModelFault, Object};
use crate::tasks::Activation;
use tch::{IValue, Kind, TchError, Tensor};

/// Upper bound on objects per picture; a YOLO of 1280 pixels has 102,000.
const MAX_OBJECTS: i64 = 200_000;

/// How far a score may exceed 0 to 1, through rounding in half precision.
const SCORE_SLACK: f32 = 1e-2;

#[derive(Debug)]
pub(super) struct ObjectReader {
    pub(super) places: ObjectPlaces,
    pub(super) activation: Activation,
    /// By label index: false for "no object".
    pub(super) known: Vec<bool>,
}

/// The tensors of a pass, in memory.
struct Raw {
    boxes: Vec<f32>,
    scores: Vec<f32>,
    /// `None` if each object has a score for every label.
    labels: Option<Vec<i64>>,
    objects: usize,
}

impl ObjectReader {
    /// The objects of each picture; `input` is the input's height and width.
    pub(super) fn read(
        &self,
        output: &IValue,
        pictures: i64,
        input: (i64, i64),
    ) -> Result<Vec<Vec<Object>>, ModelFault> {
        let raw = self.raw(output, pictures)?;
        let rows = usize::try_from(pictures).unwrap_or(0);
        (0..rows)
            .map(|row| {
                (row * raw.objects..(row + 1) * raw.objects)
                    .filter_map(|place| self.object(&raw, place, input).transpose())
                    .collect()
            })
            .collect()
    }

    /// Checks the tensors' shapes before anything is copied.
    fn raw(&self, output: &IValue, pictures: i64) -> Result<Raw, ModelFault> {
        let find = |place: &Place| place.find(output).map_err(ModelFault::Answer);
        let boxes = find(&self.places.boxes)?;
        let objects = match boxes.size()[..] {
            [batch, objects, 4] if batch == pictures && objects <= MAX_OBJECTS => objects,
            _ => {
                return Err(ModelFault::Answer(format!(
                    "the boxes are {}, not [{pictures}, objects, 4] with at most {MAX_OBJECTS} \
                     objects",
                    describe_tensor(&boxes)
                )));
            }
        };
        let scores = find(&self.places.scores)?;
        let labels = self.places.labels.as_ref().map(find).transpose()?;
        let count = i64::try_from(self.known.len()).unwrap_or(i64::MAX);
        let (shape, meaning) = match labels {
            Some(_) => (vec![pictures, objects], "a score for each object"),
            None => (
                vec![pictures, objects, count],
                "a score for each object and label",
            ),
        };
        expect(&scores, &shape, "scores", meaning)?;
        if let Some(labels) = &labels {
            expect(labels, &shape, "labels", "a label for each object")?;
        }
        Ok(Raw {
            boxes: floats(&boxes)?,
            scores: floats(&scores)?,
            labels: labels
                .map(|labels| Vec::try_from(&labels.f_to_kind(Kind::Int64)?.f_flatten(0, 1)?))
                .transpose()?,
            objects: usize::try_from(objects).unwrap_or(0),
        })
    }

    /// `None` if the module detects nothing there.
    fn object(
        &self,
        raw: &Raw,
        place: usize,
        input: (i64, i64),
    ) -> Result<Option<Object>, ModelFault> {
        let best = match &raw.labels {
            Some(labels) => self.labelled(raw.scores[place], labels[place])?,
            None => self.best(&raw.scores[place * self.known.len()..][..self.known.len()]),
        };
        let Some((label, score)) = best else {
            return Ok(None);
        };
        let corners = self.corners(&raw.boxes[place * 4..][..4], input);
        if !(score.is_finite() && corners.iter().all(|corner| corner.is_finite())) {
            return Err(ModelFault::Answer(
                "the module gave scores or boxes that are no numbers".to_owned(),
            ));
        }
        if !(-SCORE_SLACK..=1.0 + SCORE_SLACK).contains(&score) {
            return Err(ModelFault::Answer(format!(
                "the module gave a score of {score}, outside of 0 to 1; is its \"activation\" right?"
            )));
        }
        let score = score.clamp(0.0, 1.0);
        Ok(Some(Object {
            label,
            score,
            corners,
        }))
    }

    /// Label and score where the module chose the label; a negative label is padding.
    fn labelled(&self, score: f32, label: i64) -> Result<Option<(usize, f32)>, ModelFault> {
        if label < 0 {
            return Ok(None);
        }
        let known = usize::try_from(label).ok();
        let Some((label, &known)) = known.and_then(|label| Some((label, self.known.get(label)?)))
        else {
            return Err(ModelFault::Answer(format!(
                "the module gave an object the label {label}, but there are {}; correct \"labels\"",
                self.known.len()
            )));
        };
        let mut score = [score];
        self.activation.apply(&mut score);
        Ok(known.then_some((label, score[0])))
    }

    /// The best known label, the first of equals, and its score.
    fn best(&self, scores: &[f32]) -> Option<(usize, f32)> {
        let mut scores = scores.to_vec();
        self.activation.apply(&mut scores);
        let known = self.known.iter().zip(scores).enumerate();
        known
            .filter(|(_, (known, _))| **known)
            .map(|(label, (_, score))| (label, score))
            .reduce(|best, next| if next.1 > best.1 { next } else { best })
    }

    /// `xmin, ymin, xmax, ymax`, in fractions.
    fn corners(&self, four: &[f32], (height, width): (i64, i64)) -> [f32; 4] {
        let [a, b, c, d] = [four[0], four[1], four[2], four[3]];
        let [xmin, ymin, xmax, ymax] = match self.places.format {
            BoxFormat::Xyxy => [a, b, c, d],
            BoxFormat::Xywh => [a, b, a + c, b + d],
            BoxFormat::Cxcywh => [a - c / 2.0, b - d / 2.0, a + c / 2.0, b + d / 2.0],
        };
        match self.places.unit {
            BoxUnit::Fractions => [xmin, ymin, xmax, ymax],
            BoxUnit::Pixels => {
                #[expect(clippy::cast_precision_loss, reason = "sides of thousands of pixels")]
                let (width, height) = (width as f32, height as f32);
                [xmin / width, ymin / height, xmax / width, ymax / height]
            }
        }
    }
}

pub(super) fn expect(
    tensor: &Tensor,
    shape: &[i64],
    name: &str,
    meaning: &str,
) -> Result<(), ModelFault> {
    if tensor.size() == shape {
        return Ok(());
    }
    Err(ModelFault::Answer(format!(
        "the {name} are {}, not {shape:?}: {meaning}",
        describe_tensor(tensor)
    )))
}

fn floats(tensor: &Tensor) -> Result<Vec<f32>, TchError> {
    Vec::try_from(&tensor.f_to_kind(Kind::Float)?.f_reshape([-1])?)
}

#[cfg(test)]
#[path = "objects_tests.rs"]
mod tests;
