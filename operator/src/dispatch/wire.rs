//! Conversions between the CRDs' types and the runner protocol's. Every field is named here once, so that
//! both can change on their own.

use fovea_crds as crds;
use fovea_protocol as protocol;

pub(super) fn task(task: crds::Task) -> protocol::Task {
    match task {
        crds::Task::ImageToText => protocol::Task::ImageToText,
        crds::Task::ImageClassification => protocol::Task::ImageClassification,
        crds::Task::ObjectDetection => protocol::Task::ObjectDetection,
    }
}

pub(super) fn dtype(dtype: crds::Dtype) -> Option<protocol::Dtype> {
    match dtype {
        crds::Dtype::Auto => None,
        crds::Dtype::Float32 => Some(protocol::Dtype::Float32),
        crds::Dtype::Bfloat16 => Some(protocol::Dtype::Bfloat16),
        crds::Dtype::Float16 => Some(protocol::Dtype::Float16),
    }
}

pub(super) fn parameters(parameters: &crds::Parameters) -> protocol::Parameters {
    let crds::Parameters {
        max_new_tokens,
        num_beams,
        prompt,
        top_k,
        score_threshold_permille,
    } = parameters;
    protocol::Parameters {
        max_new_tokens: *max_new_tokens,
        num_beams: *num_beams,
        prompt: prompt.clone(),
        top_k: *top_k,
        score_threshold_permille: *score_threshold_permille,
    }
}

/// The result for a status; `None` if it belongs to another task.
pub(super) fn result(task: crds::Task, result: protocol::InferResult) -> Option<crds::JobResult> {
    match (task, result) {
        (crds::Task::ImageToText, protocol::InferResult::Caption(caption)) => {
            Some(crds::JobResult::Caption(caption))
        }
        (crds::Task::ImageClassification, protocol::InferResult::Predictions(list)) => Some(
            crds::JobResult::Predictions(list.into_iter().map(prediction).collect()),
        ),
        (crds::Task::ObjectDetection, protocol::InferResult::Detections(list)) => Some(
            crds::JobResult::Detections(list.into_iter().map(detection).collect()),
        ),
        _ => None,
    }
}

/// The question that a result answers, and the answer to be kept.
pub(super) fn answer(
    answered: protocol::Answered,
    result: protocol::InferResult,
    model: protocol::ServedModel,
) -> (String, protocol::Answer) {
    let protocol::Answered {
        question,
        width,
        height,
    } = answered;
    let answer = protocol::Answer {
        result,
        model,
        width,
        height,
    };
    (question, answer)
}

fn prediction(
    protocol::Classification { label, score }: protocol::Classification,
) -> crds::Prediction {
    crds::Prediction { label, score }
}

fn detection(
    protocol::Detection {
        label,
        score,
        bounding_box,
    }: protocol::Detection,
) -> crds::Detection {
    let protocol::BoundingBox {
        xmin,
        ymin,
        xmax,
        ymax,
    } = bounding_box;
    crds::Detection {
        label,
        score,
        bounding_box: crds::BoundingBox {
            xmin,
            ymin,
            xmax,
            ymax,
        },
    }
}

pub(super) fn served_model(
    protocol::ServedModel { name, revision }: protocol::ServedModel,
) -> crds::ServedModel {
    crds::ServedModel { name, revision }
}

/// The runner's timings, without the job's wait for a runner.
pub(super) fn timings(timings: protocol::Timings) -> crds::Timings {
    let protocol::Timings {
        fetch_millis,
        queue_millis,
        infer_millis,
        batch_size,
        // It is the operator's, to share a pool by.
        cost_micros: _,
    } = timings;
    crds::Timings {
        queue_millis,
        fetch_millis,
        infer_millis,
        batch_size,
    }
}
