//! Labels and boxes, from an upload to the job's result.

use crate::support::{answers, visitor};
use anyhow::Result;
use serde::Deserialize;
use serde_json::Value;
use std::path::Path;

/// Minimum intersection over union of a detected box and the true one.
const OVERLAP: f64 = 0.5;

async fn result_of(path: &Path, fields: &[(&str, &str)]) -> Result<Value> {
    let picture = std::fs::read(path)?;
    let job = visitor()
        .await
        .submitted_and_ended(&picture, fields)
        .await?;
    assert_eq!(job["phase"], "Succeeded", "{job}");
    Ok(job["result"].clone())
}

#[tokio::test]
async fn both_classifiers_label_the_demos_pictures_and_return_top_k_labels() -> Result<()> {
    for (path, label) in answers::<String>("labels.json") {
        for model in ["vit-demo", "resnet-demo"] {
            let fields = [
                ("task", "image-classification"),
                ("model", model),
                ("topK", "3"),
            ];
            let result = result_of(&path, &fields).await?;
            let predictions = result["predictions"].as_array().unwrap();
            assert_eq!(predictions.len(), 3, "{model}: {result}");
            assert_eq!(predictions[0]["label"], label, "{model}: {result}");
            let score = |prediction: &Value| prediction["score"].as_f64().unwrap();
            assert!(score(&predictions[0]) > 0.5, "{model}: {result}");
            let sorted = predictions.is_sorted_by(|a, b| score(a) >= score(b));
            assert!(sorted, "{result}");
        }
    }
    Ok(())
}

#[derive(Debug, Deserialize)]
struct Object {
    label: String,
    #[serde(rename = "box")]
    place: Place,
}

#[derive(Debug, Deserialize)]
struct Place {
    xmin: f64,
    ymin: f64,
    xmax: f64,
    ymax: f64,
}

impl Place {
    /// Intersection over union.
    fn overlap(&self, other: &Self) -> f64 {
        let side = |from: f64, to: f64| (to - from).max(0.0);
        let area = |place: &Self| side(place.xmin, place.xmax) * side(place.ymin, place.ymax);
        let both = side(self.xmin.max(other.xmin), self.xmax.min(other.xmax))
            * side(self.ymin.max(other.ymin), self.ymax.min(other.ymax));
        both / (area(self) + area(other) - both)
    }
}

#[tokio::test]
async fn every_object_is_found_where_it_is_and_nothing_else() -> Result<()> {
    for (path, objects) in answers::<Vec<Object>>("objects.json") {
        let result = result_of(&path, &[("task", "object-detection")]).await?;
        let found: Vec<Object> = serde_json::from_value(result["detections"].clone())?;
        assert_eq!(found.len(), objects.len(), "{}: {result}", path.display());
        for object in objects {
            let there = found.iter().any(|found| {
                found.label == object.label && found.place.overlap(&object.place) > OVERLAP
            });
            assert!(there, "{}: no {object:?} in {result}", path.display());
        }
    }
    Ok(())
}

#[tokio::test]
async fn no_object_scores_above_a_threshold_of_one() -> Result<()> {
    let (path, _) = answers::<Vec<Object>>("objects.json").pop_first().unwrap();
    let fields = [
        ("task", "object-detection"),
        ("scoreThresholdPermille", "1000"),
    ];
    let result = result_of(&path, &fields).await?;
    assert_eq!(result["detections"], serde_json::json!([]), "{result}");
    Ok(())
}
