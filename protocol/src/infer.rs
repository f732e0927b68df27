//! One attempt: the request, and the lines that answer it.

use crate::Problem;
use serde::{Deserialize, Serialize};

/// What to do with a picture; the names are those of Hugging Face's pipelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Describe the picture in words.
    ImageToText,
    /// Name what the picture shows, with scores.
    ImageClassification,
    /// Find objects, with scores and boxes.
    ObjectDetection,
}

impl Task {
    /// Every task.
    pub const ALL: [Self; 3] = [
        Self::ImageToText,
        Self::ImageClassification,
        Self::ObjectDetection,
    ];

    /// The task's name on the wire.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ImageToText => "image-to-text",
            Self::ImageClassification => "image-classification",
            Self::ObjectDetection => "object-detection",
        }
    }
}

/// Body of `POST /v1/infer`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct InferRequest {
    /// Which Fovea speaks; see [`crate::LeaderRequest`].
    pub installation: String,
    /// The speaking leader's lease transition count.
    pub epoch: u64,
    /// The `InferenceJob`'s uid, for logs and for at most one run of a job at a time.
    pub job: String,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// What to do.
    pub task: Task,
    /// One of the runner's models, by the pool's name for it.
    pub model: String,
    /// The picture.
    pub input: Input,
    /// Settings of the task.
    #[serde(default)]
    pub parameters: Parameters,
    /// From the request's arrival; the runner answers `DeadlineExceeded` then.
    pub deadline_millis: u64,
    /// Run alone, not batched with other jobs: it may have taken a runner down before.
    #[serde(default)]
    pub exclusive: bool,
}

/// The picture of an attempt, and what it must be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Where the bytes are.
    #[serde(flatten)]
    pub source: Source,
    /// Lower-case hex; another digest is a `DigestMismatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
    /// Length; another one is a `DigestMismatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// Where the bytes are.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// A presigned GET, good for this one object: a secret while it lasts.
    Url(String),
    /// The bytes themselves, base64.
    Data(String),
}

impl std::fmt::Debug for Source {
    /// Tells neither the signature nor the picture.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => write!(f, "Url({})", url.split('?').next().unwrap_or_default()),
            Self::Data(data) => write!(f, "Data({} base64 characters)", data.len()),
        }
    }
}

/// Settings of a task; `None` is the model's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// Image-to-text: most tokens to write beyond the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<u32>,
    /// Image-to-text: how many sequences a beam search follows; 1 is greedy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_beams: Option<u32>,
    /// Image-to-text: the caption begins with these words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Image-classification: how many labels.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Object-detection: least score of a box, in thousandths.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score_threshold_permille: Option<u32>,
}

impl Parameters {
    /// The first parameter that another task than `task` takes.
    pub fn foreign_to(&self, task: Task) -> Option<&'static str> {
        let Self {
            max_new_tokens,
            num_beams,
            prompt,
            top_k,
            score_threshold_permille,
        } = self;
        let given = [
            ("maxNewTokens", max_new_tokens.is_some(), Task::ImageToText),
            ("numBeams", num_beams.is_some(), Task::ImageToText),
            ("prompt", prompt.is_some(), Task::ImageToText),
            ("topK", top_k.is_some(), Task::ImageClassification),
            (
                "scoreThresholdPermille",
                score_threshold_permille.is_some(),
                Task::ObjectDetection,
            ),
        ];
        let foreign = given.iter().find(|(_, given, of)| *given && *of != task);
        foreign.map(|(name, ..)| *name)
    }
}

/// One line of the answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Line {
    /// Still at work; every [`crate::HEARTBEAT_INTERVAL`].
    Heartbeat,
    /// The work has reached a stage.
    Progress {
        /// Which.
        stage: Stage,
    },
    /// The end: a result.
    Result {
        /// The task's own form of result.
        result: InferResult,
        /// Which model gave it.
        model: ServedModel,
        /// Where the time went.
        timings: Timings,
    },
    /// The end: no result.
    Problem(Problem),
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Getting the picture.
    Fetching,
    /// Waiting for the device.
    Queued,
    /// On the device.
    Running,
    /// A stage that this build does not know.
    #[serde(other)]
    Unknown,
}

/// A result, one form per task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InferResult {
    /// Image-to-text.
    Caption(String),
    /// Image-classification, best first.
    Predictions(Vec<Classification>),
    /// Object-detection, in the model's query order.
    Detections(Vec<Detection>),
}

/// One label of a classification.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// From the model's `id2label`.
    pub label: String,
    /// 0 to 1.
    pub score: f32,
}

/// One detected object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// From the model's `id2label`.
    pub label: String,
    /// 0 to 1.
    pub score: f32,
    /// Where.
    #[serde(rename = "box")]
    pub bounding_box: BoundingBox,
}

/// In pixels of the upright picture, origin at its top left.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct BoundingBox {
    /// Left edge.
    pub xmin: f32,
    /// Top edge.
    pub ymin: f32,
    /// Right edge.
    pub xmax: f32,
    /// Bottom edge.
    pub ymax: f32,
}

/// The model behind a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServedModel {
    /// The pool's name for it.
    pub name: String,
    /// Which weights; see [`crate::ModelState::revision`].
    pub revision: String,
}

/// Where an attempt's time went, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// From arrival to the picture's last byte.
    pub fetch_millis: u64,
    /// Waiting for the device.
    pub queue_millis: u64,
    /// Decoding, preprocessing and the model.
    pub infer_millis: u64,
    /// Pictures that shared the pass.
    pub batch_size: u32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_reads_as_the_design_writes_it() {
        let request: InferRequest = serde_json::from_value(json!({
            "installation": "i", "epoch": 7, "job": "u", "attempt": 1,
            "task": "image-to-text", "model": "blip-base",
            "input": {"url": "http://s3/b/k?X-Amz-Signature=s", "sha256": "00", "bytes": 3},
            "parameters": {"maxNewTokens": 20}, "deadlineMillis": 600_000, "exclusive": true
        }))
        .unwrap();
        assert_eq!(request.task, Task::ImageToText);
        assert_eq!(request.parameters.max_new_tokens, Some(20));
        assert_eq!(request.input.bytes, Some(3));
        assert!(request.exclusive);
    }

    #[test]
    fn a_presigned_url_is_not_told_whole_in_logs() {
        let source = Source::Url("http://s3/b/k?X-Amz-Signature=secret".into());
        assert_eq!(format!("{source:?}"), "Url(http://s3/b/k)");
    }

    #[test]
    fn lines_are_told_apart_by_their_event() {
        let line: Line = serde_json::from_value(json!({
            "event": "result", "result": {"caption": "a red circle"},
            "model": {"name": "blip", "revision": "sha256:0"},
            "timings": {"fetchMillis": 1, "queueMillis": 2, "inferMillis": 3, "batchSize": 1}
        }))
        .unwrap();
        assert!(matches!(
            line,
            Line::Result { result: InferResult::Caption(caption), .. } if caption == "a red circle"
        ));
        assert_eq!(
            serde_json::to_value(Line::Heartbeat).unwrap(),
            json!({"event": "heartbeat"})
        );
    }
}
