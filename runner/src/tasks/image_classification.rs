//! Image-classification: turns logits into the best labels, as transformers'
//! `ImageClassificationPipeline` does.

use super::{foreign_answer, only_for};
use crate::inference::{Answer, Query, TaskHead};
use fovea_protocol::{Classification, InferResult, Parameters, Problem, Reason, Task};
use serde::Deserialize;
use std::cmp::Ordering;

/// Labels in a result if the request sets no `topK`.
const DEFAULT_TOP_K: u32 = 5;

/// Turns logits into scores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// Exactly one label is right: the scores sum to 1.
    Softmax,
    /// Each label is right or wrong independently.
    Sigmoid,
    /// The logits are the scores.
    None,
}

impl Activation {
    /// Replaces logits by scores; in 32 bits, as transformers computes them with numpy.
    pub(crate) fn apply(self, logits: &mut [f32]) {
        match self {
            Self::Softmax => {
                let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                for logit in logits.iter_mut() {
                    *logit = (*logit - most).exp();
                }
                let sum: f64 = logits.iter().copied().map(f64::from).sum();
                #[expect(clippy::cast_possible_truncation, reason = "results have 32 bits")]
                let sum = sum as f32;
                for logit in logits.iter_mut() {
                    *logit /= sum;
                }
            }
            Self::Sigmoid => {
                for logit in logits.iter_mut() {
                    *logit = 1.0 / (1.0 + (-*logit).exp());
                }
            }
            Self::None => {}
        }
    }
}

#[derive(Debug)]
pub struct ImageClassification {
    labels: Vec<String>,
    activation: Activation,
}

impl ImageClassification {
    /// `labels` are in the order of the model's logits.
    pub fn new(labels: Vec<String>, activation: Activation) -> Self {
        Self { labels, activation }
    }
}

impl TaskHead for ImageClassification {
    fn task(&self) -> Task {
        Task::ImageClassification
    }

    fn query(&self, parameters: &Parameters) -> Result<Query, Problem> {
        only_for(self.task(), parameters)?;
        match parameters.top_k.unwrap_or(DEFAULT_TOP_K) {
            0 => Err(Problem::new(
                Reason::InvalidParameters,
                "topK is 0; set at least 1",
            )),
            top_k => Ok(Query::Classify {
                top_k: self.labels.len().min(top_k as usize),
            }),
        }
    }

    fn result(
        &self,
        query: &Query,
        answer: Answer,
        _picture: (u32, u32),
    ) -> Result<InferResult, Problem> {
        let (&Query::Classify { top_k }, Answer::Logits(mut scores)) = (query, answer) else {
            return Err(foreign_answer());
        };
        let failed = |why: String| Problem::new(Reason::InferenceFailed, why);
        if scores.len() != self.labels.len() {
            return Err(failed(format!(
                "the model gave {} logits for its {} labels",
                scores.len(),
                self.labels.len()
            )));
        }
        self.activation.apply(&mut scores);
        if scores.iter().any(|score| !score.is_finite()) {
            return Err(failed(
                "the model gave scores that are not finite; check that its weights are complete and \
                 fit this dtype"
                    .into(),
            ));
        }
        let mut best: Vec<(&String, f32)> = self.labels.iter().zip(scores).collect();
        // Stable: of equal scores the lower index goes first, as in transformers.
        best.sort_by(|(_, a), (_, b)| b.partial_cmp(a).unwrap_or(Ordering::Equal));
        best.truncate(top_k);
        let predictions = best.into_iter().map(|(label, score)| Classification {
            label: label.clone(),
            score,
        });
        Ok(InferResult::Predictions(predictions.collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(activation: Activation) -> ImageClassification {
        let labels = ["ant", "bee", "cat"].map(str::to_owned);
        ImageClassification::new(labels.into(), activation)
    }

    fn predict(head: &ImageClassification, top_k: u32, logits: [f32; 3]) -> Vec<(String, f32)> {
        let parameters = Parameters {
            top_k: Some(top_k),
            ..Parameters::default()
        };
        let query = head.query(&parameters).unwrap();
        match head.result(&query, Answer::Logits(logits.into()), (1, 1)) {
            Ok(InferResult::Predictions(predictions)) => (predictions.into_iter())
                .map(|Classification { label, score }| (label, score))
                .collect(),
            other => panic!("{other:?}"),
        }
    }

    fn names(predictions: &[(String, f32)]) -> Vec<&str> {
        predictions.iter().map(|(label, _)| &**label).collect()
    }

    #[test]
    fn softmax_scores_are_one_together_and_survive_large_logits() {
        let predictions = predict(&head(Activation::Softmax), 9, [1000.0, 1002.0, 1001.0]);
        assert_eq!(names(&predictions), ["bee", "cat", "ant"]);
        let sum: f32 = predictions.iter().map(|(_, score)| score).sum();
        assert!((sum - 1.0).abs() < 1e-6, "{predictions:?}");
        assert!((predictions[0].1 - 0.665_240_94).abs() < 1e-6);
    }

    #[test]
    fn sigmoid_scores_stand_by_themselves_and_regression_has_none() {
        let predictions = predict(&head(Activation::Sigmoid), 2, [0.0, -200.0, 2.0]);
        assert_eq!(names(&predictions), ["cat", "ant"]);
        assert!((predictions[0].1 - 0.880_797).abs() < 1e-6);
        assert!((predictions[1].1 - 0.5).abs() < 1e-6);
        let raw = predict(&head(Activation::None), 3, [-7.5, 0.25, 40.0]);
        assert_eq!(raw[2], ("ant".to_owned(), -7.5));
    }

    #[test]
    fn of_equal_scores_the_lower_index_goes_first() {
        let predictions = predict(&head(Activation::Softmax), 3, [1.0, 2.0, 1.0]);
        assert_eq!(names(&predictions), ["bee", "ant", "cat"]);
    }

    #[test]
    fn five_labels_are_given_unless_the_model_has_fewer_or_top_k_is_set() {
        let labels: Vec<String> = (0..8).map(|i| i.to_string()).collect();
        let many = ImageClassification::new(labels, Activation::Softmax);
        let top_k = |head: &ImageClassification, top_k| {
            let parameters = Parameters {
                top_k,
                ..Parameters::default()
            };
            match head.query(&parameters) {
                Ok(Query::Classify { top_k }) => Ok(top_k),
                Ok(other) => panic!("{other:?}"),
                Err(problem) => Err(problem.detail),
            }
        };
        assert_eq!(top_k(&many, None), Ok(5));
        assert_eq!(top_k(&many, Some(7)), Ok(7));
        assert_eq!(top_k(&many, Some(u32::MAX)), Ok(8));
        assert_eq!(top_k(&head(Activation::Softmax), None), Ok(3));
        assert!(top_k(&many, Some(0)).unwrap_err().contains("at least 1"));
    }

    #[test]
    fn parameters_of_other_tasks_are_refused_by_name() {
        let foreign = [
            r#"{"maxNewTokens": 3}"#,
            r#"{"numBeams": 2}"#,
            r#"{"prompt": "a"}"#,
            r#"{"scoreThresholdPermille": 500}"#,
        ];
        for text in foreign {
            let parameters: Parameters = serde_json::from_str(text).unwrap();
            let problem = head(Activation::Softmax).query(&parameters).unwrap_err();
            let name = text.split('"').nth(1).unwrap();
            assert_eq!(problem.reason, Reason::InvalidParameters);
            assert!(
                problem.detail.contains(name) && problem.detail.contains("image-classification"),
                "{}",
                problem.detail
            );
        }
    }

    #[test]
    fn scores_that_are_not_finite_fail_with_a_reason() {
        let head = head(Activation::Softmax);
        let query = Query::Classify { top_k: 3 };
        for answer in [
            Answer::Logits(vec![1.0, f32::NAN, 2.0]),
            Answer::Logits(vec![1.0, f32::INFINITY, 2.0]),
            Answer::Logits(vec![1.0, 2.0]),
            Answer::Caption(vec![1]),
        ] {
            let problem = head.result(&query, answer, (1, 1)).unwrap_err();
            assert_eq!(problem.reason, Reason::InferenceFailed);
        }
    }
}
