//! A classifier's labels and what becomes of its logits, as `config.json` has them.

use super::Activation;
use serde::Deserialize;
use std::collections::HashMap;

/// Number of labels that transformers assumes if `config.json` has none.
const DEFAULT_LABELS: usize = 2;

/// Upper bound on labels; ImageNet-21k has 21,843.
const MAX_LABELS: usize = 1 << 20;

/// The keys of `config.json` about labels, with transformers 5.23's defaults.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct LabelConfig {
    pub id2label: Option<HashMap<usize, String>>,
    /// Used if there is no `id2label`.
    pub num_labels: Option<usize>,
    pub problem_type: Option<ProblemType>,
}

/// What a classifier's logits mean.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ProblemType {
    /// The logits are the scores.
    Regression,
    /// Exactly one label is right.
    SingleLabelClassification,
    /// Each label is right or wrong independently.
    MultiLabelClassification,
}

impl LabelConfig {
    /// All labels in the order of their indices; the error explains what is wrong with `id2label`.
    pub fn labels(&self) -> Result<Vec<String>, String> {
        let count = match &self.id2label {
            Some(id2label) => id2label.len(),
            None => self.num_labels.unwrap_or(DEFAULT_LABELS),
        };
        if !(1..=MAX_LABELS).contains(&count) {
            return Err(format!(
                "there are {count} labels; write 1 to {MAX_LABELS} in id2label"
            ));
        }
        (0..count)
            .map(|id| match &self.id2label {
                None => Ok(format!("LABEL_{id}")),
                Some(id2label) => (id2label.get(&id).cloned())
                    .ok_or_else(|| format!("id2label has {count} labels, but none of index {id}")),
            })
            .collect()
    }

    /// The activation for this number of labels, chosen as transformers'
    /// `ImageClassificationPipeline` does.
    pub fn activation(&self, labels: usize) -> Activation {
        match (self.problem_type, labels) {
            (Some(ProblemType::Regression), _) => Activation::None,
            (Some(ProblemType::MultiLabelClassification), _) | (_, 1) => Activation::Sigmoid,
            (Some(ProblemType::SingleLabelClassification) | None, _) => Activation::Softmax,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> LabelConfig {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn labels_are_in_the_order_of_their_indices() {
        let config = config(
            r#"{"id2label": {"1": "dog", "10": "k", "0": "cat", "2": "c",
            "3": "d", "4": "e", "5": "f", "6": "g", "7": "h", "8": "i", "9": "j"}, "num_labels": 3}"#,
        );
        let labels = config.labels().unwrap();
        assert_eq!((labels.len(), &*labels[1], &*labels[10]), (11, "dog", "k"));
    }

    #[test]
    fn labels_without_names_are_numbered() {
        assert_eq!(config("{}").labels().unwrap(), ["LABEL_0", "LABEL_1"]);
        let three = config(r#"{"num_labels": 3, "id2label": null}"#);
        assert_eq!(three.labels().unwrap()[2], "LABEL_2");
    }

    #[test]
    fn gaps_and_empty_labels_are_refused() {
        let error = config(r#"{"id2label": {"0": "a", "2": "c"}}"#).labels();
        assert!(error.unwrap_err().contains("none of index 1"));
        assert!(config(r#"{"id2label": {}}"#).labels().is_err());
        assert!(config(r#"{"num_labels": 9999999999}"#).labels().is_err());
        assert!(serde_json::from_str::<LabelConfig>(r#"{"problem_type": "guess"}"#).is_err());
    }

    #[test]
    fn scores_are_made_as_transformers_pipeline_makes_them() {
        let activation = |problem_type: &str, labels| {
            config(&format!(r#"{{"problem_type": {problem_type}}}"#)).activation(labels)
        };
        assert_eq!(activation("null", 2), Activation::Softmax);
        assert_eq!(activation("null", 1), Activation::Sigmoid);
        let single = r#""single_label_classification""#;
        assert_eq!(activation(single, 3), Activation::Softmax);
        let multi = r#""multi_label_classification""#;
        assert_eq!(activation(multi, 3), Activation::Sigmoid);
        assert_eq!(activation(r#""regression""#, 1), Activation::None);
        assert_eq!(activation(r#""regression""#, 3), Activation::None);
    }
}
