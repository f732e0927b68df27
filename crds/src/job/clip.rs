//! Cuts a job's status to its bounds.

use super::{BoundingBox, Counts, Detection, Failure, InferenceJobStatus, JobResult, Prediction};
use crate::{
    bounds::{
        MAX_CAPTION_LENGTH, MAX_CLASS_LABEL_LENGTH, MAX_DETECTIONS, MAX_LABEL_LENGTH,
        MAX_OUTPUT_LENGTH, MAX_PERMILLE, MAX_PREDICTIONS, MAX_RESULT_BYTES, MAX_REVISION_LENGTH,
        MAX_RUNNER_LENGTH, MAX_SUMMARY_LENGTH,
    },
    clip::{self, clip},
    conditions,
};
use serde::Serialize;

impl InferenceJobStatus {
    /// Cuts every text, list and number to its bound. The operator passes every status through this
    /// before it writes it, so that the API server accepts it.
    #[must_use]
    pub fn clipped(mut self) -> Self {
        self.conditions = conditions::clipped(self.conditions);
        self.runner = self.runner.map(|runner| clip(&runner, MAX_RUNNER_LENGTH));
        if let Some(model) = &mut self.model {
            model.name = clip(&model.name, MAX_LABEL_LENGTH);
            model.revision = clip(&model.revision, MAX_REVISION_LENGTH);
        }
        self.result = self.result.map(JobResult::clipped);
        self.progress_permille = self.progress_permille.map(|share| share.min(MAX_PERMILLE));
        self.rate_per_second = self.rate_per_second.filter(|rate| rate.is_finite());
        if let Some(output) = &mut self.output {
            output.prefix = clip(&output.prefix, MAX_OUTPUT_LENGTH);
        }
        self.failure = self.failure.map(Failure::clipped);
        if let Some(callback) = &mut self.callback {
            callback.last_error = callback.last_error.take().map(|text| clip::message(&text));
        }
        self.summary = match (&self.result, &self.failure, self.summary) {
            (Some(result), _, _) => Some(result.summary()),
            (None, Some(failure), _) => Some(match self.counts {
                Some(counts) if counts.total > 0 => {
                    let summary = format!("{} ({})", failure.reason, counts.summary());
                    clip(&summary, MAX_SUMMARY_LENGTH)
                }
                _ => failure.reason.clone(),
            }),
            (None, None, _) if self.counts.is_some() => self.counts.map(Counts::summary),
            (None, None, summary) => summary.map(|text| clip(&text, MAX_SUMMARY_LENGTH)),
        };
        self
    }
}

impl Failure {
    /// Cuts the failure's texts to their bounds.
    #[must_use]
    pub fn clipped(self) -> Self {
        Self {
            reason: clip::reason(&self.reason),
            message: clip::message(&self.message),
            retryable: self.retryable,
        }
    }
}

impl JobResult {
    /// Cuts the result to the bounds of its lists and texts and to [`MAX_RESULT_BYTES`] of JSON.
    /// Numbers outside the range of JSON or the schema become the nearest ones inside; NaN becomes
    /// 0.
    #[must_use]
    pub fn clipped(self) -> Self {
        match self {
            Self::Caption(caption) => Self::Caption(clip_caption(&caption)),
            Self::Predictions(list) => Self::Predictions(head(
                list,
                MAX_PREDICTIONS,
                |Prediction { label, score }| Prediction {
                    label: clip(&label, MAX_CLASS_LABEL_LENGTH),
                    score: unit(score),
                },
            )),
            Self::Detections(list) => Self::Detections(head(
                list,
                MAX_DETECTIONS,
                |Detection {
                     label,
                     score,
                     bounding_box,
                 }| Detection {
                    label: clip(&label, MAX_CLASS_LABEL_LENGTH),
                    score: unit(score),
                    bounding_box: finite(bounding_box),
                },
            )),
        }
    }

    /// Summarises the result in one line for `kubectl get`.
    pub fn summary(&self) -> String {
        let line = match self {
            Self::Caption(caption) => caption.split_whitespace().collect::<Vec<_>>().join(" "),
            Self::Predictions(list) => {
                labels(list.iter().map(|each| (each.label.as_str(), each.score)))
            }
            Self::Detections(list) => {
                labels(list.iter().map(|each| (each.label.as_str(), each.score)))
            }
        };
        clip(&line, MAX_SUMMARY_LENGTH)
    }
}

/// `tabby 0.91, tiger cat 0.05`, or `none`.
fn labels<'a>(scored: impl Iterator<Item = (&'a str, f32)>) -> String {
    let parts: Vec<String> = scored
        .map(|(label, score)| format!("{label} {score:.2}"))
        .collect();
    if parts.is_empty() {
        "none".to_owned()
    } else {
        parts.join(", ")
    }
}

fn clip_caption(caption: &str) -> String {
    let clipped = clip(caption, MAX_CAPTION_LENGTH);
    if json_bytes(&clipped) <= MAX_RESULT_BYTES - ENVELOPE_BYTES {
        return clipped;
    }
    // JSON writes a character as six bytes at most (`\u0001`), and two quotes.
    let max = (MAX_RESULT_BYTES - ENVELOPE_BYTES - 2) / 6;
    clip(caption, u32::try_from(max).unwrap_or(0))
}

/// `{"predictions":[]}` and the like.
const ENVELOPE_BYTES: usize = 32;

/// Keeps the first items, as far as `max_items` and [`MAX_RESULT_BYTES`] allow.
fn head<T: Serialize>(list: Vec<T>, max_items: u32, clipped: impl Fn(T) -> T) -> Vec<T> {
    let mut left = MAX_RESULT_BYTES - ENVELOPE_BYTES;
    let mut kept = Vec::new();
    for item in list.into_iter().take(max_items as usize).map(clipped) {
        let bytes = json_bytes(&item) + 1;
        if bytes > left {
            break;
        }
        left -= bytes;
        kept.push(item);
    }
    kept
}

fn json_bytes(value: &impl Serialize) -> usize {
    serde_json::to_vec(value).map_or(usize::MAX, |json| json.len())
}

fn unit(score: f32) -> f32 {
    if score.is_nan() {
        0.0
    } else {
        score.clamp(0.0, 1.0)
    }
}

fn finite(of: BoundingBox) -> BoundingBox {
    let edge = |x: f32| {
        if x.is_nan() {
            0.0
        } else {
            x.clamp(f32::MIN, f32::MAX)
        }
    };
    BoundingBox {
        xmin: edge(of.xmin),
        ymin: edge(of.ymin),
        xmax: edge(of.xmax),
        ymax: edge(of.ymax),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Phase;
    use super::*;

    #[test]
    fn the_summary_of_a_batch_has_its_counts_however_it_ended() {
        let counts = |total| Counts {
            total,
            succeeded: 3,
            failed: 2,
            skipped: 1,
            ..Counts::default()
        };
        let failure = Failure {
            reason: "TooManyFailed".to_owned(),
            message: String::new(),
            retryable: false,
        };
        for (phase, counts, failure, summary) in [
            (
                Phase::Cancelled,
                Some(counts(9)),
                None,
                Some("5/9, 2 failed"),
            ),
            (
                Phase::Failed,
                Some(counts(9)),
                Some(&failure),
                Some("TooManyFailed (5/9, 2 failed)"),
            ),
            (Phase::Failed, None, Some(&failure), Some("TooManyFailed")),
            (Phase::Cancelled, None, None, None),
        ] {
            let status = InferenceJobStatus {
                phase,
                counts,
                failure: failure.cloned(),
                ..InferenceJobStatus::default()
            };
            assert_eq!(status.clipped().summary.as_deref(), summary);
        }
    }

    #[test]
    fn a_summary_is_one_line() {
        let caption = JobResult::Caption(" a cat\n\ton a mat ".into());
        assert_eq!(caption.summary(), "a cat on a mat");
        let prediction = |label: &str, score| Prediction {
            label: label.into(),
            score,
        };
        let list = vec![prediction("tabby", 0.914), prediction("tiger cat", 0.05)];
        assert_eq!(
            JobResult::Predictions(list).summary(),
            "tabby 0.91, tiger cat 0.05"
        );
        assert_eq!(JobResult::Detections(vec![]).summary(), "none");
    }

    #[test]
    fn a_caption_that_json_writes_longer_is_cut_by_its_bytes() {
        let JobResult::Caption(caption) = JobResult::Caption("\u{1}".repeat(4096)).clipped() else {
            panic!("another form of result");
        };
        assert!(json_bytes(&caption) <= MAX_RESULT_BYTES - ENVELOPE_BYTES);
        assert!(caption.chars().count() > 1000);
    }
}
