//! The rules for single fields: task, model, pool, settings and object key.

use super::error::{FieldError, excerpt, invalid};
use super::{is_label, is_subdomain};
use fovea_crds::bounds::{
    MAX_BEAMS, MAX_KEY_BYTES, MAX_KEY_LENGTH, MAX_NEW_TOKENS, MAX_PERMILLE, MAX_PROMPT_LENGTH,
    MAX_TOP_K,
};
use fovea_crds::{Parameters, PoolRef, Task};
use fovea_store::ObjectKey;
use serde::Deserialize;

/// The settings as a client writes them.
#[derive(Debug, Default, Deserialize)]
#[serde(
    default,
    rename_all = "camelCase",
    deny_unknown_fields,
    expecting = "an object"
)]
pub(super) struct RequestParameters {
    pub(super) max_new_tokens: Option<i64>,
    pub(super) num_beams: Option<i64>,
    pub(super) prompt: Option<String>,
    pub(super) top_k: Option<i64>,
    pub(super) score_threshold_permille: Option<i64>,
}

/// Checks the path of a user's own object in the bucket.
pub(crate) fn object_key(namespace: &str, key: &str) -> Result<(), FieldError> {
    if key.chars().count() > MAX_KEY_LENGTH as usize || key.len() > MAX_KEY_BYTES as usize {
        return invalid(
            "key",
            format!("at most {MAX_KEY_LENGTH} characters and {MAX_KEY_BYTES} bytes"),
        );
    }
    ObjectKey::data(namespace, key)
        .map(|_| ())
        .or_else(|error| invalid("key", error.to_string()))
}

pub(crate) fn task(name: &str) -> Result<Task, FieldError> {
    name.parse().or_else(|_| {
        let names = Task::ALL.map(Task::as_str).join(", ");
        invalid(
            "task",
            format!("{:?} is unknown: it is one of {names}", excerpt(name)),
        )
    })
}

/// Checks the name of a model.
pub(super) fn model(name: String) -> Result<String, FieldError> {
    if is_label(&name) {
        return Ok(name);
    }
    invalid(
        "model",
        format!(
            "{:?} is not the name of a model: at most 63 of a-z, 0-9 and -, as the pool names it",
            excerpt(&name)
        ),
    )
}

/// Reads `name` or `namespace/name`.
pub(super) fn pool(text: &str) -> Result<PoolRef, FieldError> {
    let (namespace, name) = match text.split_once('/') {
        Some((namespace, name)) => (Some(namespace), name),
        None => (None, text),
    };
    if !is_subdomain(name) || namespace.is_some_and(|namespace| !is_label(namespace)) {
        return invalid(
            "pool",
            format!(
                "{:?} is neither the name of a RunnerPool nor <namespace>/<name>",
                excerpt(text)
            ),
        );
    }
    Ok(PoolRef {
        name: name.to_owned(),
        namespace: namespace.map(str::to_owned),
    })
}

/// Checks the settings, each of which belongs to one task.
pub(super) fn parameters(
    task: Task,
    settings: RequestParameters,
) -> Result<Parameters, FieldError> {
    let RequestParameters {
        max_new_tokens,
        num_beams,
        prompt,
        top_k,
        score_threshold_permille,
    } = settings;
    for (name, given) in [
        ("maxNewTokens", max_new_tokens.is_some()),
        ("numBeams", num_beams.is_some()),
        ("prompt", prompt.is_some()),
        ("topK", top_k.is_some()),
        ("scoreThresholdPermille", score_threshold_permille.is_some()),
    ] {
        if let Some(owner) = Task::of_parameter(name)
            && given
            && owner != task
        {
            return invalid(name, format!("only for the task {owner}: leave it out"));
        }
    }
    if let Some(prompt) = &prompt {
        let length = prompt.chars().count();
        if length == 0 || length > MAX_PROMPT_LENGTH as usize {
            return invalid(
                "prompt",
                format!("1 to {MAX_PROMPT_LENGTH} characters, not {length}"),
            );
        }
    }
    Ok(Parameters {
        max_new_tokens: within("maxNewTokens", max_new_tokens, 1, MAX_NEW_TOKENS)?,
        num_beams: within("numBeams", num_beams, 1, MAX_BEAMS)?,
        prompt,
        top_k: within("topK", top_k, 1, MAX_TOP_K)?,
        score_threshold_permille: within(
            "scoreThresholdPermille",
            score_threshold_permille,
            0,
            MAX_PERMILLE,
        )?,
    })
}

/// Checks that a number lies between two bounds, both included.
pub(super) fn within<N>(
    name: &'static str,
    value: Option<i64>,
    least: N,
    most: N,
) -> Result<Option<N>, FieldError>
where
    N: TryFrom<i64> + PartialOrd + std::fmt::Display + Copy,
{
    let Some(value) = value else { return Ok(None) };
    match N::try_from(value) {
        Ok(number) if number >= least && number <= most => Ok(Some(number)),
        _ => invalid(name, format!("{least} to {most}, not {value}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_key_stays_below_its_namespace() {
        assert_eq!(object_key("ns", "cats/1.jpg"), Ok(()));
        for wrong in [
            "",
            "../other/1.jpg",
            "/a",
            "a//b",
            "a%2e",
            &"é".repeat(512),
            &"a".repeat(513),
        ] {
            assert!(object_key("ns", wrong).is_err(), "{wrong}");
        }
    }
}
