//! TorchScript modules have the results of torch, for every form of output.

use crate::modules::{changed, expected, golden, preprocessing};
use crate::support::serve;
use fovea_protocol::{InferResult, Parameters};
use fovea_runner::inference::Answer;
use serde_json::json;
use sha2::{Digest as _, Sha256};

/// Bound on the difference of scores and corners: JPEG decoders may round differently.
fn tolerance(file: &str) -> f32 {
    if file.contains(".jpg") { 2e-2 } else { 1e-4 }
}

#[track_caller]
fn assert_classifies(name: &str, slack: f32) {
    let served = serve(&golden().join(name)).unwrap();
    let items = served.items();
    let answers = served.run(&items).unwrap();
    assert_eq!(answers.len(), items.len());
    for ((golden, item), answer) in expected().into_iter().zip(&items).zip(answers) {
        let ours = served.scores(item, answer);
        assert_eq!(ours.len(), golden.scores.len());
        for (label, theirs) in golden.scores {
            let difference = (ours[&label] - theirs).abs();
            let allowed = tolerance(&golden.file).max(slack);
            assert!(difference < allowed, "{name} {}: {difference}", golden.file);
        }
    }
}

#[test]
fn a_classifier_has_torchs_scores_in_either_layout_and_for_any_batch() {
    for name in "classifier channels-last fixed-batch-1 fixed-batch-4".split(' ') {
        assert_classifies(name, 0.0);
    }
}

#[test]
fn a_half_precision_module_gets_half_precision_input() {
    assert_classifies("half", 0.1);
}

#[test]
fn a_detector_has_torchs_objects_for_every_form_of_output() {
    for name in ["detector", "labelling-detector"] {
        let served = serve(&golden().join(name)).unwrap();
        let parameters: Parameters =
            serde_json::from_value(json!({"scoreThresholdPermille": 0})).unwrap();
        let query = served.front.head.query(&parameters).unwrap();
        let items = served.items();
        let answers = served.run(&items).unwrap();
        for (golden, answer) in expected().into_iter().zip(answers) {
            let result = served.front.head.result(&query, answer, (200, 100));
            let Ok(InferResult::Detections(ours)) = result else {
                panic!("{name}");
            };
            assert_eq!(ours.len(), golden.objects.len());
            let file = golden.file;
            let allowed = tolerance(&file);
            for (ours, theirs) in ours.iter().zip(golden.objects) {
                assert_eq!(ours.label, theirs.label, "{name} {file}");
                let difference = (ours.score - theirs.score).abs();
                assert!(difference < allowed, "{name} {file}: {difference}");
                let [xmin, ymin, xmax, ymax] = theirs.corners;
                let bounds = &ours.bounding_box;
                for (ours, theirs) in [
                    (bounds.xmin, xmin * 200.0),
                    (bounds.ymin, ymin * 100.0),
                    (bounds.xmax, xmax * 200.0),
                    (bounds.ymax, ymax * 100.0),
                ] {
                    let difference = (ours - theirs).abs();
                    assert!(difference < allowed * 200.0, "{name} {file}");
                }
            }
        }
    }
}

#[test]
fn the_revision_is_the_modules_own_digest() {
    let dir = golden().join("classifier");
    let digest = hex::encode(Sha256::digest(std::fs::read(dir.join("model.pt")).unwrap()));
    assert_eq!(serve(&dir).unwrap().revision, format!("sha256:{digest}"));
}

#[test]
fn a_fixed_batch_of_cancelled_pictures_is_not_run() {
    let served = serve(&golden().join("fixed-batch-4")).unwrap();
    let items = served.items();
    let wanted = |row: usize| !(4..8).contains(&row);
    let answers = (served.model.run(&items, &|row| !wanted(row))).unwrap();
    assert_eq!(answers.len(), 10);
    for (row, answer) in answers.into_iter().enumerate() {
        assert_eq!(answer == Answer::Logits(vec![]), !wanted(row), "{row}");
    }
}

#[test]
fn a_raised_error_begins_with_the_modules_message_and_the_next_picture_is_served() {
    let served = serve(&golden().join("raises")).unwrap();
    let fault = served.run(&[served.plain(1.0)]).unwrap_err();
    let first = fault.lines().next().unwrap();
    for words in ["too bright for this module", "[1, 3, 24, 40]"] {
        assert!(first.contains(words), "{fault}");
    }
    assert!(served.run(&[served.plain(-1.0)]).is_ok());
}

#[test]
fn failing_passes_do_not_leak_memory() {
    let resident_bytes = || {
        let status = std::fs::read_to_string("/proc/self/statm").unwrap();
        let pages = status.split(' ').nth(1).unwrap();
        pages.parse::<u64>().unwrap() * 4096
    };
    let served = serve(&golden().join("raises")).unwrap();
    let batch = vec![served.plain(1.0); 64];
    let before = resident_bytes();
    for _ in 0..500 {
        assert!(served.run(&batch).is_err());
    }
    // Of 64 pictures each input takes 0.7 MB: 350 MB in all.
    let grown = resident_bytes().saturating_sub(before);
    println!("{grown} bytes more");
    assert!(grown < 100 << 20, "{grown}");
}

#[test]
fn a_module_that_loops_on_some_pictures_loads_and_answers_for_the_others() {
    let served = serve(&golden().join("loops")).unwrap();
    let answers = served.run(&[served.plain(-1.0), served.plain(0.5)]);
    assert_eq!(answers.unwrap().len(), 2);
}

#[test]
fn preprocessing_and_labels_may_lie_in_files_of_their_own() {
    let files = json!({"preprocessing": "preprocessor_config.json", "labels": "labels.txt"});
    let dir = changed("classifier", &files);
    let write = |name: &str, text: String| std::fs::write(dir.path().join(name), text).unwrap();
    let preprocessing = preprocessing(&json!({}));
    write("preprocessor_config.json", preprocessing.to_string());
    write("labels.txt", "ant\nbee\ncat\ndog\neel\n".to_owned());
    let served = serve(dir.path()).unwrap();
    let item = served.plain(0.0);
    let answer = served.run(std::slice::from_ref(&item)).unwrap().remove(0);
    assert!(served.scores(&item, answer).contains_key("eel"));
}

#[test]
fn a_module_of_any_size_gets_every_picture_in_its_own_shape() {
    let edges = json!({"size": {"shortest_edge": 24, "longest_edge": 60}});
    let changes = json!({"size": "dynamic", "preprocessing": preprocessing(&edges)});
    let served = serve(changed("classifier", &changes).path()).unwrap();
    let items = served.items();
    let shapes: std::collections::BTreeSet<_> =
        items.iter().map(|item| item.pixels.shape()).collect();
    assert!(shapes.len() > 3, "{shapes:?}");
    for item in &items {
        let key = served.front.batch_key(item);
        assert_eq!(key.shape, Some(item.pixels.shape()));
        assert!(served.run(std::slice::from_ref(item)).is_ok());
    }
}
