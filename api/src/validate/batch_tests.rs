use super::*;
use serde_json::{Value, json};

fn validated(body: Value) -> Result<(ValidRequest, Input), FieldError> {
    let request: BatchRequest = serde_json::from_value(body).unwrap();
    BatchFields::from(request).validate("ns")
}

#[test]
fn a_batch_s_output_is_outside_its_input() {
    let batch = |input: &str, output: Option<&str>| {
        let output = output.map(|prefix| json!({"prefix": prefix}));
        validated(json!({"input": {"prefix": {"prefix": input}}, "output": output}))
    };
    let (request, input) = batch("cats", None).unwrap();
    assert_eq!(request.batch.unwrap().output.prefix, "batches");
    assert!(matches!(input, Input::Prefix { prefix, .. } if prefix == "cats"));
    assert!(batch("cats", Some("cats-done")).is_ok());
    assert!(batch("batches/in", None).is_ok());
    for (input, output) in [
        ("batches", None),
        ("cats", Some("cats")),
        ("cats", Some("cats/done")),
        ("cats", Some("fovea-batches/a")),
        ("cats", Some("../done")),
        ("fovea-batches", None),
        ("../cats", None),
    ] {
        assert!(batch(input, output).is_err(), "{input} {output:?}");
    }
}

#[test]
fn what_is_wrong_is_named() {
    let prefix = json!({"prefix": {"prefix": "a"}});
    for (body, named) in [
        (json!({}), "input"),
        (
            json!({"input": {"manifest": {"key": ""}}}),
            "input.manifest.key",
        ),
        (
            json!({"input": {"archives": {"prefix": "a//b"}}}),
            "input.archives.prefix",
        ),
        (
            json!({"input": {"prefix": {"prefix": "a", "include": [""]}}}),
            "input.prefix.include",
        ),
        (
            json!({"input": prefix, "output": {"format": "xlsx"}}),
            "output.format",
        ),
        (json!({"input": prefix, "parallelism": -1}), "parallelism"),
        (
            json!({"input": prefix, "maxFailedPermille": 1001}),
            "maxFailedPermille",
        ),
        (json!({"input": prefix, "task": "cats"}), "task"),
    ] {
        match validated(body.clone()) {
            Err(FieldError::Invalid { name, .. }) => assert_eq!(name, named, "{body}"),
            other => panic!("{body}: {other:?}"),
        }
    }
}

#[test]
fn every_field_that_messages_name_can_be_set_and_no_other() {
    for name in NAMES.split(", ") {
        let value = if name == "reuse" { "true" } else { "1" };
        assert_eq!(
            BatchFields::default().set(name, value.into()),
            Ok(()),
            "{name}"
        );
    }
    assert!(BatchFields::check("key").is_err() && BatchFields::check("input").is_err());
}

#[test]
fn only_what_the_api_has_stored_counts_as_uploaded() {
    let manifest = |key: &str| {
        let input = Input::Manifest { key: key.into() };
        uploaded("ns", &input).map(|key| key.to_string())
    };
    let key = "fovea-batches/7/manifest.csv";
    assert_eq!(manifest(key), Some(format!("data/ns/{key}")));
    assert_eq!(manifest("list.csv"), None);
    assert_eq!(manifest("fovea-batches-2/list.csv"), None);
    let archives = Input::Archives {
        prefix: "fovea-batches/7".into(),
    };
    let key = uploaded("ns", &archives).map(|key| key.to_string());
    assert_eq!(key.as_deref(), Some("data/ns/fovea-batches/7/pictures.tar"));
}
