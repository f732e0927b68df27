//! Request of one attempt, and the lines of its answer.

use crate::Problem;
use serde::{Deserialize, Serialize};

/// What to do with a picture; the names are those of Hugging Face's pipelines.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Task {
    /// Write a caption of the picture.
    ImageToText,
    /// Label the picture, with scores.
    ImageClassification,
    /// Find objects, with scores and boxes.
    ObjectDetection,
}

impl Task {
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
    /// Installation that sends the request; see [`crate::LeaderRequest::installation`].
    pub installation: String,
    /// Transition count of the sending leader's lease.
    pub epoch: u64,
    /// Uid of the `InferenceJob`. The runner logs it and runs each job at most once at a time.
    pub job: String,
    /// Number of this attempt, from 1.
    pub attempt: u32,
    /// Task to run on the picture.
    pub task: Task,
    /// Name of one of the runner's models, as the pool names it.
    pub model: String,
    /// Picture to process, and its digest.
    pub input: Input,
    /// Parameters of the task; absent ones have defaults.
    #[serde(default)]
    pub parameters: Parameters,
    /// Time limit from the arrival of the request, after which the runner answers
    /// `DeadlineExceeded`.
    pub deadline_millis: u64,
    /// Whether the job runs alone in its batch, because it may have crashed a runner before.
    #[serde(default)]
    pub exclusive: bool,
    /// Whether the result says which question it answers; see [`Line::Result`].
    #[serde(default)]
    pub reuse: bool,
}

/// Picture of an attempt and its expected digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Location of the picture's bytes.
    #[serde(flatten)]
    pub source: Source,
    /// SHA-256 in lower-case hexadecimal. Bytes with another one are a `DigestMismatch`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sha256: Option<String>,
}

/// Location of the picture's bytes.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Source {
    /// Presigned URL to GET this one object. It is secret until it expires, after
    /// [`crate::URL_LIFETIME`].
    Url(String),
    /// Bytes of the picture as base64, inside the request.
    Data(String),
}

impl std::fmt::Debug for Source {
    /// Omits the signature and the picture.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Url(url) => write!(f, "Url({})", url.split('?').next().unwrap_or_default()),
            Self::Data(data) => write!(f, "Data({} base64 characters)", data.len()),
        }
    }
}

/// Parameters of a task. `None` is the model's own default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Parameters {
    /// Image-to-text: maximum number of generated tokens, without the prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<u32>,
    /// Image-to-text: number of beams of the beam search; 1 is greedy decoding.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_beams: Option<u32>,
    /// Image-to-text: text that the caption starts with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// Image-classification: number of labels in the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_k: Option<u32>,
    /// Object-detection: minimum score of a detection, in thousandths.
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

/// Line of the answer to an [`InferRequest`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
pub enum Line {
    /// Sent every [`crate::HEARTBEAT_INTERVAL`] while the runner works on the request.
    Heartbeat,
    /// The work has reached a stage.
    Progress {
        /// The stage that was reached.
        stage: Stage,
    },
    /// Last line of an attempt that succeeded.
    Result {
        /// Result in the form of the task.
        result: InferResult,
        /// Model that produced the result.
        model: ServedModel,
        /// Durations of the attempt's steps.
        timings: Timings,
        /// The question that the result answers, if [`InferRequest::reuse`] asks for it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        answered: Option<Answered>,
    },
    /// Last line of an attempt that failed.
    Problem(Problem),
}

/// The question that a result answers, and the picture's size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answered {
    /// As [`crate::Question::question`].
    pub question: String,
    /// Width of the upright picture in pixels.
    pub width: u32,
    /// Height of the upright picture in pixels.
    pub height: u32,
}

/// How far an attempt has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// The runner fetches the picture from its URL.
    Fetching,
    /// The picture waits in the device's queue.
    Queued,
    /// The device computes a batch with the picture.
    Running,
    /// A stage that this build does not know.
    #[serde(other)]
    Unknown,
}

/// Result of an attempt. The task determines its form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum InferResult {
    /// Caption of the picture, for image-to-text.
    Caption(String),
    /// Labels for image-classification, highest score first.
    Predictions(Vec<Classification>),
    /// Objects for object-detection, in the order of the model's queries.
    Detections(Vec<Detection>),
}

/// Label of a classification and its score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Classification {
    /// Label from the model's `id2label`.
    pub label: String,
    /// Score from 0 to 1.
    pub score: f32,
}

/// An object detected in the picture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detection {
    /// Label from the model's `id2label`.
    pub label: String,
    /// Score from 0 to 1.
    pub score: f32,
    /// Bounding box of the object.
    #[serde(rename = "box")]
    pub bounding_box: BoundingBox,
}

/// Bounding box in pixels of the upright picture. The origin is its top left corner.
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

/// Model that produced a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServedModel {
    /// Name of the model in the pool.
    pub name: String,
    /// Revision of the weights; see [`crate::ModelState::revision`].
    pub revision: String,
}

/// Durations of an attempt's steps, in milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Timings {
    /// Time from the arrival of the request to the last byte of the picture.
    pub fetch_millis: u64,
    /// Time spent waiting for the device.
    pub queue_millis: u64,
    /// Time spent on decoding, preprocessing and inference.
    pub infer_millis: u64,
    /// Number of pictures in the batch.
    pub batch_size: u32,
    /// Time of the runner that the attempt used, in microseconds: that of decoding and resizing on a thread, and
    /// its share of the device's pass, without any wait. Namespaces share a pool by it; absent from a
    /// runner that does not measure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_micros: Option<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_request_deserializes_from_the_documented_json() {
        let request: InferRequest = serde_json::from_value(json!({
            "installation": "i", "epoch": 7, "job": "u", "attempt": 1,
            "task": "image-to-text", "model": "blip-base",
            "input": {"url": "http://s3/b/k?X-Amz-Signature=s", "sha256": "00"},
            "parameters": {"maxNewTokens": 20}, "deadlineMillis": 600_000, "exclusive": true
        }))
        .unwrap();
        assert_eq!(request.task, Task::ImageToText);
        assert_eq!(request.parameters.max_new_tokens, Some(20));
        assert_eq!(request.input.sha256.as_deref(), Some("00"));
        assert!(request.exclusive);
    }

    #[test]
    fn debug_output_omits_the_signature_of_a_presigned_url() {
        let source = Source::Url("http://s3/b/k?X-Amz-Signature=secret".into());
        assert_eq!(format!("{source:?}"), "Url(http://s3/b/k)");
    }

    #[test]
    fn a_line_is_tagged_by_its_event() {
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

    #[test]
    fn costs_are_read_from_those_who_measure_them_and_missed_from_no_one_else() {
        let of = |more: serde_json::Value| {
            let mut timings =
                json!({"fetchMillis": 1, "queueMillis": 2, "inferMillis": 3, "batchSize": 1});
            let fields = more.as_object().unwrap().clone();
            timings.as_object_mut().unwrap().extend(fields);
            serde_json::from_value::<Timings>(timings).unwrap()
        };
        assert_eq!(of(json!({})).cost_micros, None);
        let newer = json!({"costMicros": 7, "unheardOf": 1});
        assert_eq!(of(newer).cost_micros, Some(7));
        let problem = json!({
            "event": "problem", "type": "t", "title": "t", "status": 500, "detail": "d",
            "reason": "InferenceFailed", "retryable": true, "costMicros": 9, "unheardOf": 1
        });
        let line: Line = serde_json::from_value(problem).unwrap();
        assert!(matches!(line, Line::Problem(problem) if problem.cost_micros == Some(9)));
    }
}
