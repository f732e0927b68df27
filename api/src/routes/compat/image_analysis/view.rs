//! What the service's client is shown.

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
    /// What to do with it.
    analysis_type: AnalysisType,
}

/// What to do with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AnalysisType {
    /// The five likeliest labels.
    Classification,
    /// Objects with a score of 0.5 at least.
    ObjectDetection,
}

/// What `POST /upload-image` answers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Accepted {
    /// A lower-case UUID, to ask for the results with.
    pub job_id: String,
    /// Always PENDING.
    pub status: JobState,
    /// The same for people.
    pub message: &'static str,
}

/// What `GET /job-status/{id}` answers.
#[derive(Debug, Serialize, JsonSchema)]
pub struct JobStatus {
    /// The job's id.
    pub job_id: String,
    /// How far it has come.
    pub status: JobState,
    /// The same for people.
    pub message: &'static str,
    /// What came out; null unless the status is COMPLETED.
    pub results: Option<Results>,
    /// Why nothing came out; null unless the status is FAILED.
    pub error_message: Option<String>,
    /// UTC without offset, such as `2026-01-22T10:30:00`.
    pub created_at: Option<String>,
    /// When the status last changed, likewise.
    pub updated_at: Option<String>,
}

/// How far a job has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum JobState {
    /// Waiting for its turn.
    Pending,
    /// With a worker.
    Processing,
    /// There are results.
    Completed,
    /// There will be none.
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

/// What came out.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Results {
    /// What was done.
    pub analysis_type: AnalysisType,
    /// Labels or objects, best first.
    pub predictions: Predictions,
}

/// Labels or objects.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Predictions {
    /// Of a classification.
    Labels(Vec<Prediction>),
    /// Of an object detection.
    Objects(Vec<Object>),
}

/// One object.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Object {
    /// What it is.
    pub label: String,
    /// 0 to 1.
    pub score: f32,
    /// Where it is, in pixels from the top left.
    #[serde(rename = "box")]
    pub place: Place,
}

/// The edges of a box.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Place {
    /// Left.
    pub xmin: Edge,
    /// Top.
    pub ymin: Edge,
    /// Right.
    pub xmax: Edge,
    /// Bottom.
    pub ymax: Edge,
}

/// One edge, in pixels.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(untagged)]
pub enum Edge {
    /// As the service gives it.
    Whole(i64),
    /// As the model gives it.
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

/// Cut off, as torch's `int()` does.
#[expect(clippy::cast_possible_truncation, reason = "the cast saturates")]
fn whole(at: f32) -> i64 {
    at as i64
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn boxes_are_whole_pixels_as_the_service_gives_them_or_exact_where_asked() {
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
