//! CEL rules of an `InferenceJob`.

use super::Task;
use crate::{
    bounds::{MAX_INLINE_BYTES, MAX_INLINE_LENGTH, MAX_OUTPUT_BYTES},
    rules::{LABEL, SHA256_PATTERN, matches, object_path_within, rule},
};
use kube::core::{Reason, Rule};

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
/// line, with zeros in the unused bits of the last digit.
pub(super) fn inline_base64() -> Rule {
    const DIGIT: &str = "[A-Za-z0-9+/]";
    matches(
        &format!("({DIGIT}{{4}})*({DIGIT}[AQgw]==|{DIGIT}{{2}}[AEIMQUYcgkosw048]=)?"),
        "data must be base64: write it on one line in the standard alphabet, with padding, as `base64 -w0 picture.jpg` does",
    )
}

/// Bounds the decoded size; `maxLength` bounds the base64 text, which can hold two bytes more.
pub(super) fn inline_size() -> Rule {
    rule(
        format!("self.size() < {MAX_INLINE_LENGTH} || self.endsWith('==')"),
        format!(
            "data must be a picture of at most {MAX_INLINE_BYTES} bytes: upload a larger one through the API, or put it into the bucket and use input.object"
        ),
    )
}

/// Every parameter belongs to one task.
pub(super) fn parameters() -> impl Iterator<Item = Rule> {
    let of = |task: Task| (task.parameters().iter()).map(move |name| only_for(name, task));
    Task::ALL.into_iter().flat_map(of)
}

fn only_for(parameter: &str, task: Task) -> Rule {
    rule(
        format!(
            "!has(self.parameters) || !has(self.parameters.{parameter}) || self.task == '{task}'"
        ),
        format!(
            "parameters.{parameter} belongs to the task {task}: leave it out, or set spec.task to {task}"
        ),
    )
    .field_path(format!(".parameters.{parameter}"))
}

const IS_BATCH: &str =
    "has(self.input.prefix) || has(self.input.manifest) || has(self.input.archives)";

/// A batch has an output, outside of its input, and a single picture has no field of batches.
pub(super) fn batch() -> Vec<Rule> {
    let only_batch = |field: &str| {
        rule(
            format!("!has(self.{field}) || {IS_BATCH}"),
            format!(
                "{field} belongs to batches: leave it out, or write spec.input.prefix, manifest or archives"
            ),
        )
        .field_path(format!(".{field}"))
    };
    let outside = |input: &str| {
        rule(
            format!(
                "!has(self.input.{input}) || !has(self.output) || !(self.output.prefix + '/').startsWith(self.input.{input}.prefix + '/')"
            ),
            format!(
                "output.prefix must not lie inside input.{input}.prefix: write another folder, so that results do not become input"
            ),
        )
        .field_path(".output")
    };
    vec![
        rule(
            format!("has(self.output) || !({IS_BATCH})"),
            "a batch needs output: write output: {prefix: <folder for the results>}",
        )
        .field_path(".input"),
        only_batch("output"),
        only_batch("parallelism"),
        only_batch("maxFailedPermille"),
        outside("prefix"),
        outside("archives"),
    ]
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

/// Rejects a change of `spec.cancel` from true to false.
pub(super) fn cancel() -> Rule {
    rule(
        "self || !oldSelf",
        "spec.cancel cannot be taken back: create a new InferenceJob instead",
    )
    .reason(Reason::FieldValueForbidden)
}

/// Rejects adding, changing or removing a field of the spec.
pub(super) fn immutable(field: &str) -> Rule {
    rule(
        unchanged(field),
        format!("spec.{field} is immutable: create a new InferenceJob instead"),
    )
    .field_path(format!(".{field}"))
    .reason(Reason::FieldValueForbidden)
}

/// Rejects changes of a finished job's status field, so that the API server enforces the first
/// final phase for every writer.
pub(super) fn final_once_terminal(field: &str) -> Rule {
    rule(
        format!(
            "!(oldSelf.phase in ['Succeeded', 'Failed', 'Cancelled']) || ({})",
            unchanged(field)
        ),
        format!("status.{field} of a finished job is immutable: create a new InferenceJob instead"),
    )
    .field_path(format!(".{field}"))
    .reason(Reason::FieldValueForbidden)
}

fn unchanged(field: &str) -> String {
    format!(
        "has(self.{field}) == has(oldSelf.{field}) && (!has(self.{field}) || self.{field} == oldSelf.{field})"
    )
}
