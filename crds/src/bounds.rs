//! Bounds of both resources, used by the schema and by the code that writes statuses.
//!
//! Lengths of strings are in characters, as the API server counts them, unless the name says
//! bytes.

/// A Kubernetes name that is a DNS label: namespaces, models.
pub const MAX_LABEL_LENGTH: u32 = 63;
/// A Kubernetes name that is a DNS subdomain: pools, secrets, claims.
pub const MAX_NAME_LENGTH: u32 = 253;

// Spec of a job.

/// `spec.input.object.key`.
pub const MAX_KEY_LENGTH: u32 = 512;
/// The same in UTF-8: with `data/<namespace>/` before it the key stays below S3's 1,024.
pub const MAX_KEY_BYTES: u32 = 900;
/// `spec.input.inline.data`, decoded.
pub const MAX_INLINE_BYTES: u32 = 64 * 1024;
/// `spec.input.inline.data` as base64: 4 characters for each 3 bytes begun.
pub const MAX_INLINE_LENGTH: u32 = MAX_INLINE_BYTES.div_ceil(3) * 4;
/// `spec.input.prefix.include` and `exclude`.
pub const MAX_PATTERNS: u32 = 16;
/// One of `spec.input.prefix.include` and `exclude`.
pub const MAX_PATTERN_LENGTH: u32 = 256;
/// `spec.parallelism`.
pub const MAX_PARALLELISM: u32 = 10_000;
/// `spec.output.prefix` in UTF-8: the job's uid and the part's name come after it.
pub const MAX_OUTPUT_BYTES: u32 = 800;
/// `status.output.prefix`: `<spec.output.prefix>/<job uid>`.
pub const MAX_OUTPUT_LENGTH: u32 = MAX_KEY_LENGTH + 37;
/// `spec.parameters.prompt`.
pub const MAX_PROMPT_LENGTH: u32 = 512;
/// `spec.parameters.maxNewTokens`.
pub const MAX_NEW_TOKENS: u32 = 512;
/// `spec.parameters.numBeams`.
pub const MAX_BEAMS: u32 = 10;
/// `spec.parameters.topK`.
pub const MAX_TOP_K: u32 = 1000;
/// A whole, in thousandths: `spec.parameters.scoreThresholdPermille`.
pub const MAX_PERMILLE: u32 = 1000;
/// `spec.priority`, and its negative.
pub const MAX_PRIORITY: i32 = 1000;
/// `spec.retry.limit`.
pub const MAX_RETRIES: u32 = 10;
/// `spec.retry.*DelaySeconds`: a day.
pub const MAX_RETRY_DELAY_SECONDS: u32 = 24 * 60 * 60;
/// `spec.attemptDeadlineSeconds`: a day.
pub const MAX_ATTEMPT_SECONDS: u32 = 24 * 60 * 60;
/// `spec.activeDeadlineSeconds`, `spec.queueDeadlineSeconds`, `spec.ttlSecondsAfterFinished`: a
/// year.
pub const MAX_SPAN_SECONDS: u32 = 366 * 24 * 60 * 60;

/// `spec.callback.url`.
pub const MAX_URL_LENGTH: u32 = 2048;

// Statuses.

/// A condition's or a failure's message.
pub const MAX_MESSAGE_LENGTH: u32 = 1024;
/// A condition's or a failure's reason.
pub const MAX_REASON_LENGTH: u32 = 64;
/// `status.conditions`.
pub const MAX_CONDITIONS: u32 = 8;
/// `status.summary`.
pub const MAX_SUMMARY_LENGTH: u32 = 120;
/// `status.runner`: the URL of a pod, or an endpoint.
pub const MAX_RUNNER_LENGTH: u32 = 300;
/// A model's revision: a hub commit or `sha256:<digest>`.
pub const MAX_REVISION_LENGTH: u32 = 128;
/// `status.models[].source`: a repository of the hub, `@` and a revision.
pub const MAX_SOURCE_LENGTH: u32 = 193 + 1 + MAX_REVISION_LENGTH;
/// A label of a model's `id2label`.
pub const MAX_CLASS_LABEL_LENGTH: u32 = 128;
/// `status.result.caption`.
pub const MAX_CAPTION_LENGTH: u32 = 4096;
/// `status.result.predictions`.
pub const MAX_PREDICTIONS: u32 = 100;
/// `status.result.detections`.
pub const MAX_DETECTIONS: u32 = 100;
/// `status.result` as JSON; a larger result is stored whole in `results/`.
pub const MAX_RESULT_BYTES: usize = 8 * 1024;

// Spec of a pool.

/// `spec.models`.
pub const MAX_MODELS: u32 = 32;
/// `spec.models[].maxBatchSize`.
pub const MAX_BATCH_SIZE: u32 = 256;
/// `spec.replicas`, `spec.autoscaling.max`.
pub const MAX_REPLICAS: u32 = 1000;
/// `spec.autoscaling.*Seconds`: a day.
pub const MAX_AUTOSCALING_SECONDS: u32 = 24 * 60 * 60;
/// `spec.external.endpoints`.
pub const MAX_ENDPOINTS: u32 = 64;
/// One of `spec.external.endpoints`.
pub const MAX_ENDPOINT_LENGTH: u32 = 280;
/// `spec.fairness.weights`.
pub const MAX_WEIGHTS: u32 = 256;
/// One of `spec.fairness.weights`.
pub const MAX_WEIGHT: u32 = 1000;
/// `spec.fairness.maxInFlight`.
pub const MAX_IN_FLIGHT: u32 = 10_000;
/// `spec.template.image`, `spec.models[].source.image.reference`.
pub const MAX_IMAGE_LENGTH: u32 = 512;
/// `spec.template.imagePullSecrets`.
pub const MAX_PULL_SECRETS: u32 = 16;
/// `spec.template.labels`, `spec.template.annotations`.
pub const MAX_POD_METADATA: u32 = 64;
/// Value of one of `spec.template.annotations`: all of them in ASCII stay below the API server's
/// 256 KiB.
pub const MAX_ANNOTATION_LENGTH: u32 = 2048;
/// `spec.template.resourceClaims`, `spec.template.resources.claims`.
pub const MAX_RESOURCE_CLAIMS: u32 = 32;
/// `spec.template.env`.
pub const MAX_ENV: u32 = 64;
/// Name of one of `spec.template.env`.
pub const MAX_ENV_NAME_LENGTH: u32 = 128;
/// Value of one of `spec.template.env`.
pub const MAX_ENV_VALUE_LENGTH: u32 = 1024;
/// `spec.template.tolerations`.
pub const MAX_TOLERATIONS: u32 = 64;
/// `spec.template.nodeSelector`.
pub const MAX_NODE_SELECTOR: u32 = 64;
/// `status.selector`: a label selector as text.
pub const MAX_SELECTOR_LENGTH: u32 = 512;
