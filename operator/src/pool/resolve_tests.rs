use super::*;
use fovea_crds::{InferenceJobSpec, InferenceJobStatus, Input, PoolRef, RunnerPoolSpec};

fn model(name: &str, task: Task, default: bool) -> PoolModel {
    serde_json::from_value(serde_json::json!({"name": name, "task": task, "default": default}))
        .unwrap()
}

fn key(namespace: &str, name: &str) -> PoolKey {
    PoolKey {
        name: name.into(),
        namespace: namespace.into(),
    }
}

/// A default pool for all, with two captioners, and a private one in `team`.
fn directory() -> Directory {
    let mut open = RunnerPoolSpec::new(vec![
        model("blip", Task::ImageToText, true),
        model("blip-large", Task::ImageToText, false),
        model("vit", Task::ImageClassification, false),
    ]);
    open.allowed_namespaces.from = FromNamespaces::All;
    let private = RunnerPoolSpec::new(vec![model("detr", Task::ObjectDetection, false)]);
    let mut selective = open.clone();
    selective.allowed_namespaces.from = FromNamespaces::Selector;
    selective.allowed_namespaces.selector = Some(LabelSelector {
        match_labels: Some(BTreeMap::from([("tier".into(), "gold".into())])),
        ..Default::default()
    });
    Directory {
        pools: BTreeMap::from([
            (
                key("fovea-system", "default"),
                RunnerPool::new("default", open),
            ),
            (key("team", "private"), RunnerPool::new("private", private)),
            (
                key("fovea-system", "gold"),
                RunnerPool::new("gold", selective),
            ),
        ]),
        namespaces: BTreeMap::from([(
            "rich".to_owned(),
            Namespace {
                uid: "u".into(),
                labels: BTreeMap::from([("tier".into(), "gold".into())]),
            },
        )]),
        default_pool: key("fovea-system", "default"),
    }
}

fn job(namespace: &str, task: Task) -> InferenceJob {
    let mut job = InferenceJob::new(
        "j",
        InferenceJobSpec::new(task, Input::Object { key: "a".into() }),
    );
    job.metadata.namespace = Some(namespace.into());
    job
}

fn in_pool(mut job: InferenceJob, namespace: Option<&str>, name: &str) -> InferenceJob {
    job.spec.pool_ref = Some(PoolRef {
        name: name.into(),
        namespace: namespace.map(Into::into),
    });
    job
}

#[test]
fn a_job_that_names_nothing_gets_the_default_pools_default_model() {
    let placement = directory()
        .resolve(&job("team", Task::ImageToText))
        .unwrap();
    assert_eq!(
        (placement.pool, placement.model.as_str()),
        (key("fovea-system", "default"), "blip")
    );
}

#[test]
fn a_tasks_only_model_is_its_default() {
    assert_eq!(
        directory()
            .resolve(&job("team", Task::ImageClassification))
            .unwrap()
            .model,
        "vit"
    );
}

#[test]
fn a_pool_reference_without_a_namespace_means_the_job_s_own() {
    let found = directory()
        .resolve(&in_pool(
            job("team", Task::ObjectDetection),
            None,
            "private",
        ))
        .unwrap();
    assert_eq!(found.pool, key("team", "private"));
}

#[test]
fn a_missing_pool_holds_the_job_and_lists_the_existing_ones() {
    let held = directory()
        .resolve(&in_pool(job("team", Task::ImageToText), None, "gone"))
        .unwrap_err();
    let Refusal::Hold {
        reason: "PoolNotFound",
        message,
    } = held
    else {
        panic!("{held:?}")
    };
    assert!(
        message.contains("team/gone") && message.contains("fovea-system/default"),
        "{message}"
    );
}

#[test]
fn a_pool_takes_the_namespaces_that_it_allows() {
    let gold = |namespace| {
        directory().resolve(&in_pool(
            job(namespace, Task::ImageToText),
            Some("fovea-system"),
            "gold",
        ))
    };
    assert!(gold("rich").is_ok());
    assert!(matches!(
        gold("poor"),
        Err(Refusal::Hold {
            reason: "PoolNotAllowed",
            ..
        })
    ));
    let foreign = in_pool(job("poor", Task::ObjectDetection), Some("team"), "private");
    assert!(matches!(
        directory().resolve(&foreign),
        Err(Refusal::Hold {
            reason: "PoolNotAllowed",
            ..
        })
    ));
}

#[test]
fn an_unknown_model_is_a_failure_that_lists_those_of_the_task() {
    let mut named = job("team", Task::ImageToText);
    named.spec.model = Some("vit".into());
    let Err(Refusal::Never(failure)) = directory().resolve(&named) else {
        panic!()
    };
    assert_eq!(failure.reason, "UnknownModel");
    assert!(
        failure.message.contains("blip, blip-large"),
        "{}",
        failure.message
    );
    let Err(Refusal::Never(failure)) = directory().resolve(&job("team", Task::ObjectDetection))
    else {
        panic!()
    };
    assert!(
        failure.message.contains("vit (image-classification)"),
        "{}",
        failure.message
    );
}

#[test]
fn the_pool_that_a_status_records_stays_the_jobs_pool() {
    let mut recorded = job("team", Task::ObjectDetection);
    recorded.status = Some(InferenceJobStatus {
        pool_ref: Some(key("team", "private")),
        ..Default::default()
    });
    assert_eq!(
        directory().resolve(&recorded).unwrap().pool,
        key("team", "private")
    );
}
