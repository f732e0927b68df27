//! What Rust writes, Rust reads back the same; what it does not know, it refuses to read.

use fovea_crds::{
    AllowedNamespaces, Autoscaling, BoundingBox, Callback, Detection, Device, Dtype, External,
    Fairness, FromNamespaces, InferenceJob, InferenceJobSpec, InferenceJobStatus, Input, JobResult,
    ModelSource, Output, OutputFormat, Parameters, Phase, PoolModel, PoolRef, Prediction,
    PullPolicy, Retry, RunnerPool, RunnerPoolSpec, RunnerTemplate, SecretRef, Task, bounds,
};
use k8s_openapi::ByteString;
use kube::core::DeserializeGuard;
use proptest::{collection, option, prelude::*};
use serde_json::{Value, json};

fn task() -> impl Strategy<Value = Task> {
    prop_oneof![
        Just(Task::ImageToText),
        Just(Task::ImageClassification),
        Just(Task::ObjectDetection),
    ]
}

fn input() -> impl Strategy<Value = Input> {
    prop_oneof![
        "[0-9a-f]{64}".prop_map(|sha256| Input::Upload { sha256 }),
        "\\PC{1,40}".prop_map(|key| Input::Object { key }),
        collection::vec(any::<u8>(), 1..64).prop_map(|data| Input::Inline {
            data: ByteString(data)
        }),
        (
            "\\PC{1,40}",
            collection::vec("\\PC{1,9}", 0..3),
            collection::vec("\\PC{1,9}", 0..3)
        )
            .prop_map(|(prefix, include, exclude)| Input::Prefix {
                prefix,
                include,
                exclude
            }),
        "\\PC{1,40}".prop_map(|key| Input::Manifest { key }),
        "\\PC{1,40}".prop_map(|prefix| Input::Archives { prefix }),
    ]
}

fn output() -> impl Strategy<Value = Output> {
    let format = prop_oneof![
        Just(OutputFormat::Jsonl),
        Just(OutputFormat::Csv),
        Just(OutputFormat::Parquet),
    ];
    ("\\PC{1,40}", format).prop_map(|(prefix, format)| Output { prefix, format })
}

prop_compose! {
    fn parameters()(
        max_new_tokens in option::of(any::<u32>()),
        num_beams in option::of(any::<u32>()),
        prompt in option::of(".{0,20}"),
        top_k in option::of(any::<u32>()),
        score_threshold_permille in option::of(any::<u32>()),
    ) -> Parameters {
        Parameters { max_new_tokens, num_beams, prompt, top_k, score_threshold_permille }
    }
}

prop_compose! {
    fn job_spec()(
        task in task(),
        input in input(),
        parameters in parameters(),
        model in option::of("[a-z]{1,9}"),
        pool in option::of(("[a-z]{1,9}", option::of("[a-z]{1,9}"))),
        priority in any::<i32>(),
        retry in any::<[u32; 3]>(),
        deadlines in any::<[u32; 2]>(),
        active_deadline_seconds in option::of(any::<u32>()),
        ttl_seconds_after_finished in option::of(any::<u32>()),
        flags in any::<[bool; 3]>(),
        batch in (option::of(output()), option::of(any::<u32>()), option::of(any::<u32>())),
        managed_by in option::of("[a-z]{1,9}/[a-z]{1,9}"),
        callback in option::of("https://[a-z]{1,9}/"),
    ) -> InferenceJobSpec {
        InferenceJobSpec {
            task,
            model,
            pool_ref: pool.map(|(name, namespace)| PoolRef { name, namespace }),
            input,
            output: batch.0,
            parallelism: batch.1,
            max_failed_permille: batch.2,
            parameters,
            priority,
            retry: Retry { limit: retry[0], initial_delay_seconds: retry[1], max_delay_seconds: retry[2] },
            attempt_deadline_seconds: deadlines[0],
            active_deadline_seconds,
            queue_deadline_seconds: deadlines[1],
            ttl_seconds_after_finished,
            suspend: flags[0],
            cancel: flags[1],
            reuse: flags[2],
            managed_by,
            callback: callback.map(|url| Callback { url }),
        }
    }
}

fn result() -> impl Strategy<Value = JobResult> {
    let score = || 0.0_f32..=1.0;
    let prediction = (".{0,9}", score()).prop_map(|(label, score)| Prediction { label, score });
    let edge = || -1e6_f32..1e6;
    let bounding_box =
        (edge(), edge(), edge(), edge()).prop_map(|(xmin, ymin, xmax, ymax)| BoundingBox {
            xmin,
            ymin,
            xmax,
            ymax,
        });
    let detection =
        (".{0,9}", score(), bounding_box).prop_map(|(label, score, bounding_box)| Detection {
            label,
            score,
            bounding_box,
        });
    prop_oneof![
        ".{0,40}".prop_map(JobResult::Caption),
        collection::vec(prediction, 0..200).prop_map(JobResult::Predictions),
        collection::vec(detection, 0..200).prop_map(JobResult::Detections),
    ]
}

fn source() -> impl Strategy<Value = ModelSource> {
    let hub = (
        "[a-z]{1,9}/[a-z]{1,9}",
        "[a-z]{1,9}",
        option::of("[a-z]{1,9}"),
    );
    prop_oneof![
        hub.prop_map(|(repo, revision, token)| ModelSource::HuggingFace {
            repo,
            revision,
            token_secret_ref: token.map(|name| SecretRef { name }),
        }),
        "[a-z]{1,9}".prop_map(|prefix| ModelSource::Object { prefix }),
        "[a-z]{1,9}".prop_map(|path| ModelSource::Volume { path }),
        ("[a-z]{1,9}", option::of("[a-z]{1,9}"), any::<bool>()).prop_map(
            |(reference, path, never)| ModelSource::Image {
                reference,
                pull_policy: never.then_some(PullPolicy::Never),
                path,
            }
        ),
    ]
}

prop_compose! {
    fn model()(
        name in "[a-z]{1,9}",
        task in task(),
        default in any::<bool>(),
        source in option::of(source()),
        dtype in prop_oneof![Just(Dtype::Auto), Just(Dtype::Float32), Just(Dtype::Bfloat16), Just(Dtype::Float16)],
        max_batch_size in any::<u32>(),
    ) -> PoolModel {
        PoolModel { name, task, default, source, dtype, max_batch_size }
    }
}

prop_compose! {
    fn pool_spec()(
        models in collection::vec(model(), 0..4),
        replicas in any::<u32>(),
        autoscaling in option::of(any::<[u32; 4]>()),
        device in prop_oneof![Just(Device::Auto), Just(Device::Cuda), Just(Device::Cpu)],
        image in option::of(option::of("[a-z]{1,9}")),
        external in option::of(collection::vec("https://[a-z]{1,9}", 0..3)),
        from in prop_oneof![Just(FromNamespaces::Same), Just(FromNamespaces::All), Just(FromNamespaces::Selector)],
        weights in collection::btree_map("[a-z]{1,9}", any::<u32>(), 0..3),
        max_in_flight in option::of(any::<u32>()),
    ) -> RunnerPoolSpec {
        RunnerPoolSpec {
            models,
            replicas,
            autoscaling: autoscaling.map(|[min, max, idle_seconds, target_queue_seconds]| {
                Autoscaling { min, max, idle_seconds, target_queue_seconds }
            }),
            device,
            template: image.map(|image| RunnerTemplate { image, ..RunnerTemplate::default() }),
            external: external.map(|endpoints| External { endpoints, token_secret_ref: None, ca_secret_ref: None }),
            allowed_namespaces: AllowedNamespaces { from, selector: None },
            fairness: Fairness { weights, max_in_flight },
        }
    }
}

proptest! {
    #[test]
    fn a_job_is_read_as_it_was_written(spec in job_spec()) {
        let job = InferenceJob::new("job", spec);
        let read: InferenceJob = serde_json::from_value(serde_json::to_value(&job)?)?;
        prop_assert_eq!(read, job);
    }

    #[test]
    fn a_pool_is_read_as_it_was_written(spec in pool_spec()) {
        let pool = RunnerPool::new("pool", spec);
        let read: RunnerPool = serde_json::from_value(serde_json::to_value(&pool)?)?;
        prop_assert_eq!(read, pool);
    }

    #[test]
    fn nothing_is_written_as_null(spec in job_spec(), pool in pool_spec(), result in result()) {
        let status = InferenceJobStatus { result: Some(result), ..InferenceJobStatus::default() };
        for value in [serde_json::to_value(spec)?, serde_json::to_value(pool)?, serde_json::to_value(status)?] {
            prop_assert!(!has_null(&value), "{}", value);
        }
    }

    #[test]
    fn a_clipped_result_is_within_its_bytes_and_clipping_it_again_changes_nothing(result in result()) {
        let clipped = result.clipped();
        prop_assert!(serde_json::to_vec(&clipped)?.len() <= bounds::MAX_RESULT_BYTES);
        prop_assert_eq!(clipped.clone().clipped(), clipped);
    }

    #[test]
    fn a_clipped_text_is_the_head_of_the_text(text in ".{0,60}", max in 0_u32..40) {
        let clipped = fovea_crds::clip::clip(&text, max);
        prop_assert!(clipped.chars().count() <= max as usize);
        let head = clipped.strip_suffix('…').unwrap_or(&clipped);
        prop_assert!(text.starts_with(head));
        prop_assert_eq!(clipped == text, text.chars().count() <= max as usize);
    }
}

fn has_null(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.iter().any(has_null),
        Value::Object(fields) => fields.values().any(has_null),
        Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

#[test]
fn a_value_that_this_build_does_not_know_is_not_read() {
    let spec = |field: &str, value: Value| {
        let mut spec = json!({"task": "image-to-text", "input": {"object": {"key": "k"}}});
        spec[field] = value;
        serde_json::from_value::<InferenceJobSpec>(spec)
    };
    assert!(spec("priority", json!(0)).is_ok());
    assert!(spec("task", json!("image-to-music")).is_err());
    assert!(spec("input", json!({"hologram": {}})).is_err());
    assert!(spec("input", json!({})).is_err());
    let status = |value| serde_json::from_value::<InferenceJobStatus>(value);
    assert!(status(json!({"phase": "Running"})).is_ok_and(|status| status.phase == Phase::Running));
    assert!(status(json!({"phase": "Paused"})).is_err());
    assert!(status(json!({"result": {"song": "la"}})).is_err());
    let pool = |field: &str, value: Value| {
        let mut spec = json!({"models": []});
        spec[field] = value;
        serde_json::from_value::<RunnerPoolSpec>(spec)
    };
    assert!(pool("device", json!("cpu")).is_ok());
    assert!(pool("device", json!("tpu")).is_err());
    assert!(pool("allowedNamespaces", json!({"from": "None"})).is_err());
}

#[test]
fn a_job_that_is_not_read_is_set_aside_with_its_name() {
    let job = json!({
        "apiVersion": "fovea.dev/v1alpha1",
        "kind": "InferenceJob",
        "metadata": {"name": "newer", "uid": "u"},
        "spec": {"task": "image-to-music", "input": {"object": {"key": "k"}}},
    });
    let guard: DeserializeGuard<InferenceJob> = serde_json::from_value(job).unwrap();
    let error = guard.0.unwrap_err();
    assert_eq!(error.metadata.name.as_deref(), Some("newer"));
    assert!(error.error.contains("image-to-music"), "{}", error.error);
}

#[test]
fn debug_output_omits_the_picture() {
    let data = ByteString(vec![7; 5000]);
    assert_eq!(
        format!("{:?}", Input::Inline { data }),
        "Inline(5000 bytes)"
    );
}
