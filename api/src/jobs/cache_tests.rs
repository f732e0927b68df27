use super::*;
use fovea_crds::{InferenceJobSpec, InferenceJobStatus, Input, Task};
use futures::FutureExt as _;
use k8s_openapi::ByteString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::ResourceExt as _;

const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn key() -> JobKey {
    JobKey::new("ns", "a")
}

fn job(version: u64, phase: Phase) -> InferenceJob {
    let data = ByteString(vec![7; 1000]);
    let spec = InferenceJobSpec::new(Task::ImageToText, Input::Inline { data });
    let mut job = InferenceJob::new("a", spec);
    job.metadata.namespace = Some("ns".into());
    job.metadata.uid = Some("u".into());
    job.metadata.resource_version = Some(version.to_string());
    job.metadata.managed_fields = Some(Vec::new());
    job.annotations_mut()
        .insert(LAST_APPLIED.into(), "{}".into());
    job.status = Some(InferenceJobStatus {
        phase,
        ..InferenceJobStatus::default()
    });
    job
}

fn filled() -> Cache {
    let cache = Cache::default();
    cache.relist();
    cache.relisted();
    cache
}

fn version(cache: &Cache) -> Option<String> {
    cache.get(&key())?.resource_version()
}

#[test]
fn no_job_is_returned_before_the_first_list_or_while_the_watch_is_broken() {
    let cache = Cache::default();
    cache.relist();
    cache.apply(job(1, Phase::Pending));
    assert_eq!((version(&cache), cache.is_filled()), (None, false));
    cache.relisted();
    assert_eq!(version(&cache).as_deref(), Some("1"));
    cache.failed();
    assert_eq!((version(&cache), cache.is_filled()), (None, true));
    cache.apply(job(2, Phase::Pending));
    assert_eq!(version(&cache).as_deref(), Some("2"));
}

#[test]
fn jobs_are_cached_trimmed_and_never_replaced_by_an_older_version() {
    let cache = filled();
    cache.apply(job(10, Phase::Running));
    cache.apply(job(9, Phase::Pending));
    let kept = cache.get(&key()).unwrap();
    assert_eq!(kept.resource_version().as_deref(), Some("10"));
    assert!(kept.metadata.managed_fields.is_none() && kept.annotations().is_empty());
    assert!(matches!(&kept.spec.input, Input::Inline { data } if data.0.is_empty()));
}

#[test]
fn a_finished_job_is_sent_to_waiting_requests_and_not_kept() {
    let cache = filled();
    cache.apply(job(1, Phase::Running));
    let mut waiting = cache.subscribe(key());
    cache.apply(job(2, Phase::Failed));
    assert_eq!(version(&cache), None);
    let Some(Update::Job(received)) = waiting.next().now_or_never() else {
        panic!("no update was received");
    };
    assert_eq!(received.status.as_ref().unwrap().phase, Phase::Failed);
    assert!(waiting.next().now_or_never().is_none());
}

#[test]
fn a_job_that_a_new_list_lacks_is_reported_as_deleted() {
    let cache = filled();
    cache.apply(job(1, Phase::Pending));
    let mut waiting = cache.subscribe(key());
    cache.relist();
    cache.relisted();
    assert_eq!(version(&cache), None);
    assert!(matches!(
        waiting.next().now_or_never(),
        Some(Update::Unknown)
    ));
}

#[test]
fn the_response_to_a_write_does_not_restore_a_job_that_the_watch_removed() {
    let cache = filled();
    cache.apply(job(1, Phase::Pending));
    cache.written(job(2, Phase::Pending));
    assert_eq!(version(&cache).as_deref(), Some("2"));
    cache.forget(&key());
    cache.written(job(3, Phase::Pending));
    assert_eq!(version(&cache), None);
}

#[test]
fn after_a_restore_an_older_version_replaces_a_newer_one() {
    let cache = filled();
    cache.apply(job(9, Phase::Running));
    let mut waiting = cache.subscribe(key());
    cache.set_back();
    assert_eq!(version(&cache), None);
    assert!(matches!(
        waiting.next().now_or_never(),
        Some(Update::Unknown)
    ));
    cache.relist();
    cache.apply(job(4, Phase::Pending));
    cache.relisted();
    assert_eq!(version(&cache).as_deref(), Some("4"));
    let Some(Update::Job(received)) = waiting.next().now_or_never() else {
        panic!("no update was received");
    };
    assert_eq!(received.resource_version().as_deref(), Some("4"));
}

#[test]
fn the_last_dropped_subscription_removes_its_entry() {
    let cache = filled();
    let (one, other) = (cache.subscribe(key()), cache.subscribe(key()));
    drop(one);
    assert_eq!(cache.waited_for(), 1);
    drop(other);
    assert_eq!(cache.waited_for(), 0);
}

fn held(version: u64, suspend: bool, reason: &str) -> InferenceJob {
    let mut job = job(version, Phase::Pending);
    job.spec.suspend = suspend;
    job.status.as_mut().unwrap().conditions = vec![condition("Accepted", "False", reason)];
    job
}

fn condition(type_: &str, status: &str, reason: &str) -> Condition {
    let condition = serde_json::json!({
        "type": type_, "status": status, "reason": reason,
        "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    serde_json::from_value(condition).unwrap()
}

#[test]
fn a_namespace_is_full_while_one_of_its_jobs_waits_for_room() {
    for (reason, full) in [
        (TOO_MANY_FINISHED_JOBS, Full::FinishedJobs),
        (QUOTA_EXCEEDED, Full::UnfinishedJobs),
    ] {
        let cache = filled();
        assert_eq!(cache.fullness("ns"), None);
        cache.apply(held(1, false, reason));
        cache.apply(held(2, false, reason));
        assert_eq!(cache.fullness("ns"), Some(full));
        assert_eq!(cache.fullness("other"), None);
        cache.apply(held(3, true, reason));
        let suspended = cache.fullness("ns");
        assert_eq!(suspended, None, "a suspended job does not wait for room");
        cache.apply(held(4, false, reason));
        cache.apply(job(5, Phase::Running));
        assert_eq!(cache.fullness("ns"), None);
        for leave in [Cache::set_back, |cache: &Cache| cache.forget(&key())] {
            cache.apply(held(6, false, reason));
            assert_eq!(cache.fullness("ns"), Some(full));
            leave(&cache);
            assert_eq!(cache.fullness("ns"), None);
        }
    }
}

#[test]
fn a_job_beyond_the_memory_of_the_cache_is_left_to_the_api_server() {
    let cache = filled();
    cache.apply(job(1, Phase::Pending));
    cache.lock().bytes += MAX_BYTES;
    let mut waiting = cache.subscribe(key());
    cache.apply(job(2, Phase::Running));
    assert_eq!(version(&cache), None);
    // Those who wait for it get it all the same.
    let update = waiting.next().now_or_never().unwrap();
    assert!(matches!(update, Update::Job(job) if job.resource_version().as_deref() == Some("2")));
    cache.lock().bytes = 0;
    cache.apply(job(3, Phase::Running));
    assert_eq!(version(&cache).as_deref(), Some("3"));
    cache.apply(job(4, Phase::Succeeded));
    assert_eq!((version(&cache), cache.lock().bytes), (None, 0));
}

#[test]
fn a_job_beyond_the_memory_of_the_cache_is_counted_all_the_same() {
    let cache = filled();
    let gpu = ResolvedPoolRef {
        name: "gpu".to_owned(),
        namespace: "home".to_owned(),
    };
    let mut running = job(2, Phase::Running);
    running.status.as_mut().unwrap().pool_ref = Some(gpu.clone());
    cache.lock().bytes = MAX_BYTES;
    cache.apply(held(1, false, QUOTA_EXCEEDED));
    assert_eq!(version(&cache), None);
    assert_eq!(cache.fullness("ns"), Some(Full::UnfinishedJobs));
    cache.apply(running.clone());
    assert_eq!(cache.fullness("ns"), None);
    assert_eq!(cache.of_pool("ns", &gpu).running, 1);
    // A list without it.
    cache.relist();
    cache.relisted();
    assert_eq!(cache.of_pool("ns", &gpu), PoolJobs::default());
    cache.apply(running);
    cache.apply(job(3, Phase::Succeeded));
    assert_eq!(cache.of_pool("ns", &gpu), PoolJobs::default());
    assert!(cache.lock().facts.is_empty());
}

#[test]
fn the_jobs_of_a_namespace_are_counted_by_pool_while_they_wait_and_run() {
    let pool = |name: &str| ResolvedPoolRef {
        name: name.to_owned(),
        namespace: "home".to_owned(),
    };
    let in_pool = |version: u64, phase: Phase, suspend: bool| {
        let mut job = job(version, phase);
        job.spec.suspend = suspend;
        job.status.as_mut().unwrap().pool_ref = Some(pool("gpu"));
        job
    };
    let cache = filled();
    let counts = |namespace: &str, name: &str| {
        let PoolJobs { queued, running } = cache.of_pool(namespace, &pool(name));
        (queued, running)
    };
    cache.apply(job(1, Phase::Pending));
    assert_eq!(counts("ns", "gpu"), (0, 0), "no pool has accepted it");
    for (version, phase, suspend, expected) in [
        (2, Phase::Pending, false, (1, 0)),
        (3, Phase::Running, false, (0, 1)),
        (4, Phase::Pending, true, (0, 0)),
        (5, Phase::Pending, false, (1, 0)),
    ] {
        cache.apply(in_pool(version, phase, suspend));
        assert_eq!(counts("ns", "gpu"), expected, "version {version}");
    }
    assert_eq!(
        (counts("ns", "cpu"), counts("other", "gpu")),
        ((0, 0), (0, 0))
    );
    // The operator holds it as one that was restored.
    let mut held = in_pool(5, Phase::Pending, false);
    held.status.as_mut().unwrap().conditions = vec![condition("Suspended", "True", "Restored")];
    cache.apply(held);
    assert_eq!(counts("ns", "gpu"), (0, 0));
    cache.apply(in_pool(6, Phase::Succeeded, false));
    assert_eq!(counts("ns", "gpu"), (0, 0));
    assert!(cache.lock().of_pools.is_empty());
    cache.apply(in_pool(7, Phase::Running, false));
    cache.set_back();
    assert_eq!(counts("ns", "gpu"), (0, 0));
}
