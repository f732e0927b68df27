//! Object-detection: turns a model's objects into boxes in the picture, as transformers'
//! `post_process_object_detection` does: in the model's order, overlapping boxes included.

use super::{foreign_answer, only_for};
use crate::inference::{Answer, Object, Query, TaskHead};
use fovea_protocol::{BoundingBox, Detection, InferResult, Parameters, Problem, Reason, Task};

/// The default threshold, that of transformers' pipeline.
const DEFAULT_THRESHOLD_PERMILLE: u32 = 500;

#[derive(Debug)]
pub struct ObjectDetection {
    labels: Vec<String>,
}

impl ObjectDetection {
    /// `labels` are in the order of the model's label indices.
    pub fn new(labels: Vec<String>) -> Self {
        Self { labels }
    }

    /// Scales an object to a picture of this width and height; `None` if its label index is out of
    /// range.
    fn detection(&self, object: &Object, (width, height): (u32, u32)) -> Option<Detection> {
        #[expect(clippy::cast_precision_loss, reason = "results have 32 bits")]
        let (width, height) = (width as f32, height as f32);
        let [xmin, ymin, xmax, ymax] = object.corners;
        Some(Detection {
            label: self.labels.get(object.label)?.clone(),
            score: object.score,
            bounding_box: BoundingBox {
                xmin: xmin * width,
                ymin: ymin * height,
                xmax: xmax * width,
                ymax: ymax * height,
            },
        })
    }
}

impl TaskHead for ObjectDetection {
    fn task(&self) -> Task {
        Task::ObjectDetection
    }

    fn query(&self, parameters: &Parameters) -> Result<Query, Problem> {
        only_for(self.task(), parameters)?;
        let threshold = parameters.score_threshold_permille;
        let permille = threshold.unwrap_or(DEFAULT_THRESHOLD_PERMILLE);
        match u16::try_from(permille) {
            Ok(permille) if permille <= 1000 => Ok(Query::Detect {
                threshold: f32::from(permille) / 1000.0,
            }),
            _ => Err(Problem::new(
                Reason::InvalidParameters,
                format!("scoreThresholdPermille is {permille}; set 0 to 1000"),
            )),
        }
    }

    fn result(
        &self,
        query: &Query,
        answer: Answer,
        picture: (u32, u32),
    ) -> Result<InferResult, Problem> {
        let (Query::Detect { threshold }, Answer::Objects(objects)) = (query, answer) else {
            return Err(foreign_answer());
        };
        (objects.iter().filter(|object| object.score > *threshold))
            .map(|object| self.detection(object, picture))
            .collect::<Option<_>>()
            .map(InferResult::Detections)
            .ok_or_else(foreign_answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> ObjectDetection {
        ObjectDetection::new(["cat", "dog"].map(str::to_owned).to_vec())
    }

    fn object(label: usize, score: f32) -> Object {
        let corners = [0.0, -0.1, 0.5, 1.0];
        Object {
            label,
            score,
            corners,
        }
    }

    fn detections(threshold_permille: Option<u32>, objects: Vec<Object>) -> Vec<Detection> {
        let parameters = Parameters {
            score_threshold_permille: threshold_permille,
            ..Parameters::default()
        };
        let query = head().query(&parameters).unwrap();
        let result = head().result(&query, Answer::Objects(objects), (200, 100));
        match result.unwrap() {
            InferResult::Detections(detections) => detections,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn objects_above_the_threshold_are_given_in_the_models_order() {
        let objects = vec![
            object(1, 0.6),
            object(0, 0.5),
            object(0, 0.9),
            object(0, 0.1),
        ];
        let labels = |threshold| -> Vec<String> {
            let found = detections(threshold, objects.clone());
            found.into_iter().map(|detection| detection.label).collect()
        };
        assert_eq!(labels(None), ["dog", "cat"]);
        assert_eq!(labels(Some(499)), ["dog", "cat", "cat"]);
        assert_eq!(labels(Some(900)), [""; 0]);
        assert_eq!(labels(Some(0)).len(), 4);
    }

    #[test]
    fn boxes_are_in_the_pictures_pixels_and_may_reach_over_its_edge() {
        let found = detections(None, vec![object(0, 0.7)]);
        let expected = BoundingBox {
            xmin: 0.0,
            ymin: -10.0,
            xmax: 100.0,
            ymax: 100.0,
        };
        assert_eq!(found[0].bounding_box, expected);
    }

    #[test]
    fn a_threshold_over_one_and_other_tasks_parameters_are_refused_by_name() {
        let refused = |parameters: Parameters| {
            let problem = head().query(&parameters).unwrap_err();
            format!("{problem:?}")
        };
        let parameters = Parameters::default;
        let score_threshold_permille = Some(1001);
        assert!(
            refused(Parameters {
                score_threshold_permille,
                ..parameters()
            })
            .contains("1001")
        );
        let top_k = Some(3);
        assert!(
            refused(Parameters {
                top_k,
                ..parameters()
            })
            .contains("topK")
        );
        let prompt = Some("a".to_owned());
        assert!(
            refused(Parameters {
                prompt,
                ..parameters()
            })
            .contains("prompt")
        );
        let num_beams = Some(3);
        assert!(
            refused(Parameters {
                num_beams,
                ..parameters()
            })
            .contains("numBeams")
        );
    }

    #[test]
    fn an_answer_of_another_task_or_an_unheard_of_label_is_a_problem() {
        let query = Query::Detect { threshold: 0.5 };
        let result = |answer| head().result(&query, answer, (1, 1));
        assert!(result(Answer::Logits(vec![0.0])).is_err());
        assert!(result(Answer::Objects(vec![object(2, 0.9)])).is_err());
    }
}
