//! CEL rules of an `InferenceJob`.

use super::{InferenceJobSpec, Input, Task};
use crate::{
    bounds::{MAX_INLINE_BYTES, MAX_INLINE_LENGTH, MAX_OUTPUT_BYTES},
    rules::{
        LABEL, SHA256_PATTERN, at_creation, each_of, matches, object_path_within, rule, unless,
    },
    schema,
};
use kube::core::{Reason, Rule};
use schemars::schema_for;

/// SHA-256 of the picture in hexadecimal.
pub(super) fn sha256() -> Rule {
    matches(
        SHA256_PATTERN.trim_matches(['^', '$']),
        "sha256 must be the picture's SHA-256: write 64 lower-case hexadecimal digits",
    )
}

/// Same format as `spec.managedBy` of a Kubernetes Job.
pub(super) fn managed_by() -> Rule {
    matches(
        &format!("{LABEL}([.]{LABEL})*/[A-Za-z0-9/._~!$&'()*+,;=:@%-]+"),
        "managedBy must name a controller: write a domain and a path, such as example.com/my-controller",
    )
}

/// Accepts only URLs that every parser reads the same way: ASCII, no user name or password, and a
/// host of letters, digits, `.`, `_`, `-` and the characters of IPv6 addresses.
pub(super) fn callback_url() -> Rule {
    matches(
        "https://[A-Za-z0-9._:\\[\\]-]+([/?][!$-\\[\\]-~]*)?",
        "callback.url must be an https URL: write https://<host>/<path>, without user name, password, fragment, backslash, quote or space",
    )
}

/// Accepts only base64 that every decoder reads the same way: the standard alphabet, padded, on one
/// line, with zeros in the unused bits of the last digit. `maxLength` bounds the text, which can hold two bytes
/// more than the picture may have.
pub(super) fn inline_data() -> Rule {
    const DIGIT: &str = "[A-Za-z0-9+/]";
    let base64 = format!("^(({DIGIT}{{4}})*({DIGIT}[AQgw]==|{DIGIT}{{2}}[AEIMQUYcgkosw048]=)?)$");
    let cases = [
        (
            format!("self.matches(r\"{base64}\")"),
            "data must be base64: write it on one line in the standard alphabet, with padding, as `base64 -w0 picture.jpg` does".to_owned(),
        ),
        (
            format!("self.size() < {MAX_INLINE_LENGTH} || self.endsWith('==')"),
            format!(
                "data must be a picture of at most {MAX_INLINE_BYTES} bytes: upload a larger one through the API, or put it into the bucket and use input.object"
            ),
        ),
    ];
    at_creation(each_of(&cases))
}

/// Every parameter belongs to one task.
pub(super) fn parameters() -> Rule {
    let of = |task: Task| (task.parameters().iter()).map(move |name| only_for(name, task));
    let cases: Vec<_> = Task::ALL.into_iter().flat_map(of).collect();
    let rule = unless("!has(self.parameters)", each_of(&cases));
    at_creation(rule).field_path(".parameters")
}

fn only_for(parameter: &str, task: Task) -> (String, String) {
    (
        format!("!has(self.parameters.{parameter}) || self.task == '{task}'"),
        format!(
            "parameters.{parameter} belongs to the task {task}: leave it out, or set spec.task to {task}"
        ),
    )
}

const IS_BATCH: &str =
    "has(self.input.prefix) || has(self.input.manifest) || has(self.input.archives)";
const IS_PICTURE: &str =
    "has(self.input.upload) || has(self.input.inline) || has(self.input.object)";
const OF_BATCHES: [&str; 3] = ["output", "parallelism", "maxFailedPermille"];

fn only_batch(field: &str) -> (String, String) {
    (
        format!("!has(self.{field}) || {IS_BATCH}"),
        format!(
            "{field} belongs to batches: leave it out, or write spec.input.prefix, manifest or archives"
        ),
    )
}

/// A batch has an output, outside of its input, and a single picture has no field of batches. Of all these only
/// `parallelism` may change, which [`immutable`] checks then.
pub(super) fn batch() -> Rule {
    let needs_output = (
        format!("has(self.output) || !({IS_BATCH})"),
        "a batch needs output: write output: {prefix: <folder for the results>}".to_owned(),
    );
    let outside = ["prefix", "archives"].map(|input| {
        (
            format!(
                "!has(self.input.{input}) || !has(self.output) || !(self.output.prefix + '/').startsWith(self.input.{input}.prefix + '/')"
            ),
            format!(
                "output.prefix must not lie inside input.{input}.prefix: write another folder, so that results do not become input"
            ),
        )
    });
    let cases: Vec<_> = [needs_output]
        .into_iter()
        .chain(OF_BATCHES.map(only_batch))
        .chain(outside)
        .collect();
    let none = OF_BATCHES
        .map(|field| format!("!has(self.{field})"))
        .join(" && ");
    let rule = unless(&format!("{none} && ({IS_PICTURE})"), each_of(&cases));
    at_creation(rule)
}

/// Leaves room for the job's uid and the part's name.
pub(super) fn output_prefix() -> Rule {
    let (field, below) = ("output.prefix", "data/<namespace>/");
    object_path_within(field, below, MAX_OUTPUT_BYTES)
}

/// Rejects an initial delay above the maximum delay.
pub(super) fn delays() -> Rule {
    rule(
        "self.initialDelaySeconds <= self.maxDelaySeconds",
        "retry.initialDelaySeconds must not be greater than retry.maxDelaySeconds (600 if omitted)",
    )
}

/// Fields of the spec that may change while the job exists.
const MUTABLE: [&str; 5] = [
    "suspend",
    "cancel",
    "priority",
    "parallelism",
    "ttlSecondsAfterFinished",
];

/// Rejects adding, changing or removing a field of the spec that is not [`MUTABLE`], taking back `cancel`, and
/// `parallelism` that is added to a single picture.
///
/// A rule of the whole object: a write of the status cannot change the spec, nor one of the spec the status, so that a
/// new phase is enough to know that the spec is as before. Comparing specs costs several times as much.
pub(super) fn immutable() -> Rule {
    let fields = schema::properties_but(&schema_for!(InferenceJobSpec), &MUTABLE);
    let fixed = fields.iter().map(|field| {
        (
            unchanged(field),
            format!("spec.{field} is immutable: create a new InferenceJob instead"),
        )
    });
    let cancel = (
        "!has(oldSelf.spec.cancel) || !oldSelf.spec.cancel || (has(self.spec.cancel) && self.spec.cancel)"
            .to_owned(),
        "spec.cancel cannot be taken back: create a new InferenceJob instead".to_owned(),
    );
    let (parallel, message) = only_batch("parallelism");
    let parallelism = (parallel.replace("self.", "self.spec."), message);
    let cases: Vec<_> = fixed.chain([cancel, parallelism]).collect();
    let same_spec = "has(self.status) != has(oldSelf.status) || (has(self.status) && self.status.phase != oldSelf.status.phase) || self.spec == oldSelf.spec";
    unless(same_spec, each_of(&cases))
        .field_path(".spec")
        .reason(Reason::FieldValueForbidden)
}

/// Rejects changes of a finished job's end, so that the API server enforces the first final phase for every
/// writer.
pub(super) fn final_once_terminal() -> Rule {
    let cases = ["phase", "result", "failure", "output"].map(|field| {
        (
            same(field),
            format!(
                "status.{field} of a finished job is immutable: create a new InferenceJob instead"
            ),
        )
    });
    let unfinished = "!(oldSelf.phase in ['Succeeded', 'Failed', 'Cancelled'])";
    unless(unfinished, each_of(&cases)).reason(Reason::FieldValueForbidden)
}

/// Whether a field of the spec is as before. A field that is omitted has its default.
fn unchanged(field: &str) -> String {
    let is_same = |value: &str, default: &str| {
        let of = |of: &str| format!("(has({of}.{field}) ? {of}.{value} : {default})");
        format!("{} == {}", of("self.spec"), of("oldSelf.spec"))
    };
    let spec = InferenceJobSpec::new(Task::ImageToText, Input::Object { key: String::new() });
    match field {
        "reuse" => is_same(field, &spec.reuse.to_string()),
        "attemptDeadlineSeconds" => is_same(field, &spec.attempt_deadline_seconds.to_string()),
        "queueDeadlineSeconds" => is_same(field, &spec.queue_deadline_seconds.to_string()),
        "retry" => [
            ("retry.limit", spec.retry.limit),
            (
                "retry.initialDelaySeconds",
                spec.retry.initial_delay_seconds,
            ),
            ("retry.maxDelaySeconds", spec.retry.max_delay_seconds),
        ]
        .map(|(value, default)| is_same(value, &default.to_string()))
        .join(" && "),
        _ => same(&format!("spec.{field}")),
    }
}

fn same(field: &str) -> String {
    format!(
        "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    )
}
