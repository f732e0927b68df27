//! Form and answers of AI-image-analysis-service.

use fovea_crds::{BoundingBox, Detection, JobResult, Prediction};
use schemars::JsonSchema;
use serde::Serialize;

/// The form of `POST /upload-image`.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "read part by part; this is its description")]
pub struct AnalysisForm {
    /// The picture: JPEG or PNG, at most 10 MiB.
    #[schemars(extend("format" = "binary"))]
    file: String,
    /// Analysis to run on the picture.
    analysis_type: AnalysisType,
}

/// Analysis of a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisType {
    /// Classify the picture: the five most likely labels.
    Classification,
    /// Find objects: those with a score of at least 0.5.
    ObjectDetection,
}

/// Answer to `POST /upload-image`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Accepted {
    /// Id of the job, a lower-case UUID, for requests of its status.
    pub job_id: String,
    /// Always `PENDING`: the job was just created.
    pub status: JobState,
    /// Confirmation of the upload, for people.
    pub message: &'static str,
}

/// Answer to `GET /job-status/{id}`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobStatus {
    /// Id of the job, as in the request's path.
    pub job_id: String,
    /// State of the job.
    pub status: JobState,
    /// Explanation of the status for people.
    pub message: &'static str,
    /// Results of the analysis; null unless the status is COMPLETED.
    pub results: Option<Results>,
    /// Reason of the failure; null unless the status is FAILED.
    pub error_message: Option<String>,
    /// Time of the upload in UTC without offset, such as `2026-01-22T10:30:00`.
    pub created_at: Option<String>,
    /// Time of the status's last change, in the same format.
    pub updated_at: Option<String>,
}

/// State of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    /// The job waits for a runner or for another attempt.
    Pending,
    /// A runner works on the job.
    Processing,
    /// The job has ended with results.
    Completed,
    /// The job failed or was cancelled; there are no results.
    Failed,
}

impl JobState {
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Pending => "Job is pending",
            Self::Processing => "Job is processing",
            Self::Completed => "Job is completed",
            Self::Failed => "Job is failed",
        }
    }
}

/// Results of a completed job.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Results {
    /// The analysis that the upload asked for.
    pub analysis_type: AnalysisType,
    /// Labels, highest score first, or objects, in the model's order.
    pub predictions: Predictions,
}

/// Labels of a classification, or objects of a detection.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Predictions {
    /// Labels of a classification, highest score first.
    Labels(Vec<Prediction>),
    /// Objects of a detection, in the model's order.
    Objects(Vec<Object>),
}

/// An object that was found in the picture.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Object {
    /// Name of the object's class.
    pub label: String,
    /// Confidence, from 0 to 1.
    pub score: f32,
    /// Bounding box of the object.
    #[serde(rename = "box")]
    pub place: Place,
}

/// Edges of a bounding box, in pixels from the picture's top left corner.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Place {
    /// Left edge, in pixels from the picture's left edge.
    pub xmin: Edge,
    /// Top edge, in pixels from the picture's top edge.
    pub ymin: Edge,
    /// Right edge, in pixels from the picture's left edge.
    pub xmax: Edge,
    /// Bottom edge, in pixels from the picture's top edge.
    pub ymax: Edge,
}

/// Position of an edge, in pixels, whole or exact.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Edge {
    /// Whole pixels, as the original service returns them.
    Whole(i64),
    /// Fractions of pixels, as the model computes them.
    Exact(f32),
}

impl Results {
    pub(super) fn of(result: JobResult, whole_pixels: bool) -> Option<Self> {
        match result {
            JobResult::Caption(_) => None,
            JobResult::Predictions(list) => Some(Self {
                analysis_type: AnalysisType::Classification,
                predictions: Predictions::Labels(list),
            }),
            JobResult::Detections(list) => Some(Self {
                analysis_type: AnalysisType::ObjectDetection,
                predictions: Predictions::Objects(
                    list.into_iter()
                        .map(|found| Object::of(found, whole_pixels))
                        .collect(),
                ),
            }),
        }
    }
}

impl Object {
    fn of(found: Detection, whole_pixels: bool) -> Self {
        let Detection {
            label,
            score,
            bounding_box,
        } = found;
        let BoundingBox {
            xmin,
            ymin,
            xmax,
            ymax,
        } = bounding_box;
        let edge = |at: f32| {
            if whole_pixels {
                Edge::Whole(whole(at))
            } else {
                Edge::Exact(at)
            }
        };
        Self {
            label,
            score,
            place: Place {
                xmin: edge(xmin),
                ymin: edge(ymin),
                xmax: edge(xmax),
                ymax: edge(ymax),
            },
        }
    }
}

/// Drops the fraction, as Python's `int()` does with a tensor.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
fn whole(at: f32) -> i64 {
    at as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn boxes_are_whole_pixels_as_in_the_service_or_exact_if_configured() {
        let found = || {
            JobResult::Detections(vec![Detection {
                label: "cat".into(),
                score: 0.5,
                bounding_box: BoundingBox {
                    xmin: -0.5,
                    ymin: 1.75,
                    xmax: 10.0,
                    ymax: 20.25,
                },
            }])
        };
        let shown = |whole| serde_json::to_value(Results::of(found(), whole)).unwrap();
        let object = |place| json!({"analysis_type": "object_detection", "predictions": [{"label": "cat", "score": 0.5, "box": place}]});
        assert_eq!(
            shown(true),
            object(json!({"xmin": 0, "ymin": 1, "xmax": 10, "ymax": 20}))
        );
        assert_eq!(
            shown(false),
            object(json!({"xmin": -0.5, "ymin": 1.75, "xmax": 10.0, "ymax": 20.25}))
        );
    }
}
