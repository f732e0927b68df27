//! The object that a submission creates.

use super::fingerprint::Fingerprint;
use crate::validate::ValidRequest;
use fovea_crds::{Callback, InferenceJob, InferenceJobSpec, Input, annotations, labels};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;

/// The family of routes that created a job.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    /// The value of [`labels::CLIENT`].
    pub(crate) client: Option<&'static str>,
    /// How long the finished job is kept.
    pub(crate) ttl_seconds: u32,
}

impl Origin {
    /// `/v1/jobs`: kept for a day.
    pub(crate) const OWN: Self = Self {
        client: None,
        ttl_seconds: 24 * 60 * 60,
    };
}

pub(crate) fn job(
    name: &str,
    request: &ValidRequest,
    input: &Input,
    fingerprint: &Fingerprint,
    origin: &Origin,
) -> InferenceJob {
    let ValidRequest {
        task,
        model,
        pool,
        priority,
        callback_url,
        parameters,
        reuse,
        batch,
    } = request.clone();
    let (output, parallelism, max_failed_permille) = match batch {
        None => (None, None, None),
        Some(batch) => (
            Some(batch.output),
            batch.parallelism,
            batch.max_failed_permille,
        ),
    };
    let spec = InferenceJobSpec {
        model,
        pool_ref: pool,
        priority,
        callback: callback_url.map(|url| Callback { url }),
        parameters,
        reuse,
        output,
        parallelism,
        max_failed_permille,
        ttl_seconds_after_finished: Some(origin.ttl_seconds),
        ..InferenceJobSpec::new(task, input.clone())
    };
    let made = [(labels::CREATED_BY, labels::API)].into_iter();
    let client = origin.client.map(|client| (labels::CLIENT, client));
    let labels = made
        .chain(client)
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    InferenceJob {
        metadata: ObjectMeta {
            name: Some(name.to_owned()),
            labels: Some(labels),
            annotations: Some(
                [(
                    annotations::FINGERPRINT.to_owned(),
                    fingerprint.as_str().to_owned(),
                )]
                .into(),
            ),
            ..ObjectMeta::default()
        },
        spec,
        status: None,
    }
}

/// Adds the trace, which is not part of the fingerprint.
pub(crate) fn traced(mut job: InferenceJob, traceparent: Option<&str>) -> InferenceJob {
    if let Some(traceparent) = traceparent {
        job.metadata
            .annotations
            .get_or_insert_default()
            .insert(annotations::TRACEPARENT.to_owned(), traceparent.to_owned());
    }
    job
}

/// Adds the user, which is not part of the fingerprint either.
pub(crate) fn submitted_by(mut job: InferenceJob, user: &str) -> InferenceJob {
    let bounded = &user[..user.floor_char_boundary(annotations::SUBMITTED_BY_BYTES)];
    job.metadata
        .annotations
        .get_or_insert_default()
        .insert(annotations::SUBMITTED_BY.to_owned(), bounded.to_owned());
    job
}

/// Marks a job as cancelled from the start: it takes the name and never runs.
pub(crate) fn tombstone(mut job: InferenceJob) -> InferenceJob {
    job.spec.cancel = true;
    job.metadata
        .annotations
        .get_or_insert_default()
        .insert(annotations::TOMBSTONE.to_owned(), "true".to_owned());
    job
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::Task;

    #[test]
    fn the_submitter_s_name_is_bounded_and_stays_text() {
        let by = |user: &str| {
            let spec = InferenceJobSpec::new(Task::ImageToText, Input::Object { key: "a".into() });
            let job = submitted_by(InferenceJob::new("n", spec), user);
            job.metadata.annotations.unwrap()[annotations::SUBMITTED_BY].clone()
        };
        assert_eq!(by("jane@example.com"), "jane@example.com");
        let bound = annotations::SUBMITTED_BY_BYTES;
        assert_eq!(by(&"a".repeat(bound + 1)), "a".repeat(bound));
        // A character of two bytes does not fit into the last one.
        assert_eq!(by(&format!("a{}", "é".repeat(bound))).len(), bound - 1);
    }
}
