//! CEL rules of a `RunnerPool`.

use crate::rules::{LABEL, matches, rule};
use kube::core::Rule;

/// Optional port, 1 to 65535.
const PORT: &str =
    "(:([1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]))?";

/// Base URL of a runner.
pub(super) fn endpoint() -> Rule {
    matches(
        &format!("https?://({LABEL}([.]{LABEL})*|[[][0-9a-f:.]+[]]){PORT}"),
        "an endpoint must be a runner's base URL: write https://host or https://host:port, without user, path, query or a final `/`",
    )
}

/// Allows plain HTTP for loopback addresses only.
pub(super) fn endpoint_scheme() -> Rule {
    rule(
        "!self.matches('^http://') || self.matches('^http://(localhost|127[.]0[.]0[.]1|[[]::1[]])(:[0-9]+)?$')",
        "an endpoint may use http on loopback only (localhost, 127.0.0.1, [::1]): write https instead",
    )
}

/// Hugging Face repository: `name` or `owner/name`.
pub(super) fn repository() -> Rule {
    const PART: &str = "[A-Za-z0-9][A-Za-z0-9._-]{0,95}";
    matches(
        &format!("{PART}(/{PART})?"),
        "repo must be a repository of the Hugging Face hub: write owner/name, such as Salesforce/blip-image-captioning-base",
    )
}

/// Git revision that cannot leave the cache folder named after it.
pub(super) fn revision() -> Rule {
    rule(
        "self.matches('^[A-Za-z0-9][A-Za-z0-9._/-]*$') && !self.contains('..') && !self.contains('//')",
        "revision must be a commit, tag or branch of the repository: write letters, digits, `.`, `_`, `-` and `/` only, without `..` or `//`",
    )
}

/// Name of an environment variable that is not reserved for the operator.
pub(super) fn env_name() -> Rule {
    rule(
        "self.matches('^[A-Za-z_][A-Za-z0-9_]*$') && !self.startsWith('FOVEA_')",
        "env[].name must be a variable's name: write letters, digits and `_` only, not starting with a digit or with FOVEA_ (reserved for the operator)",
    )
}

/// Requires valid keys for a template's labels or annotations, other than those that the operator and
/// the pods' controllers set. `reserved`: whole keys among these.
pub(super) fn pod_keys(field: &str, reserved: &[&str]) -> [Rule; 2] {
    let whole = reserved.iter().map(|key| format!(" || key == '{key}'"));
    [
        rule(
            "self.all(key, !format.qualifiedName().validate(key).hasValue())",
            format!(
                "template.{field} must have keys such as example.com/team: write an optional DNS subdomain and `/`, then at most 63 letters, digits, `-`, `_` and `.`"
            ),
        ),
        rule(
            format!(
                "!self.exists(key, key.startsWith('fovea.dev/') || key.startsWith('app.kubernetes.io/'){})",
                whole.collect::<String>()
            ),
            format!(
                "template.{field} must not have keys that the operator sets: fovea.dev/*, app.kubernetes.io/*, {}",
                reserved.join(", ")
            ),
        ),
    ]
}

/// Requires values that labels may have.
pub(super) fn label_values() -> Rule {
    rule(
        "self.all(key, !format.labelValue().validate(self[key]).hasValue())",
        "template.labels must have values of at most 63 letters, digits, `-`, `_` and `.`, beginning and ending with a letter or digit, or empty ones",
    )
}

/// Requires exactly one source of a claim's devices.
pub(super) fn one_claim() -> Rule {
    rule(
        "has(self.resourceClaimName) != has(self.resourceClaimTemplateName)",
        "write exactly one of resourceClaimName, resourceClaimTemplateName",
    )
}

/// Requires that the container's claims are the pod's.
pub(super) fn declared_claims() -> Rule {
    rule(
        "!has(self.resources) || !has(self.resources.claims) || self.resources.claims.all(claim, has(self.resourceClaims) && self.resourceClaims.exists(declared, declared.name == claim.name))",
        "every template.resources.claims[].name must be the name of one of template.resourceClaims: add the claim there",
    )
    .field_path(".resources.claims")
}

/// Rejects replicas beside autoscaling. The default of replicas is 1, so any other number was set
/// by the user.
pub(super) fn replicas_or_autoscaling() -> Rule {
    rule(
        "!has(self.autoscaling) || self.replicas == 1",
        "spec.replicas and spec.autoscaling are mutually exclusive: omit replicas, or remove autoscaling",
    )
    .field_path(".replicas")
}

/// Rejects a minimum above the maximum.
pub(super) fn min_below_max() -> Rule {
    rule(
        "self.min <= self.max",
        "autoscaling.min (1 if omitted) must not be greater than autoscaling.max",
    )
}

/// Rejects replicas beside external, whose endpoints determine the number of runners.
pub(super) fn external_or_replicas() -> Rule {
    rule(
        "!has(self.external) || self.replicas == 1",
        "an external pool has one runner per entry of spec.external.endpoints: omit replicas",
    )
    .field_path(".replicas")
}

/// Rejects a field about pods beside external.
pub(super) fn external_or(field: &str) -> Rule {
    rule(
        format!("!has(self.external) || !has(self.{field})"),
        format!(
            "spec.{field} applies to pods, and an external pool has none: remove {field}, or remove external"
        ),
    )
    .field_path(format!(".{field}"))
}

/// Requires a source for each model, unless the pool is external.
pub(super) fn external_or_source() -> Rule {
    rule(
        "has(self.external) || self.models.all(model, has(model.source))",
        "every model needs a source (huggingFace, object, volume or image): only an external pool's runners load their own",
    )
    .field_path(".models")
}

/// Requires a claim for models from a volume, since an emptyDir starts empty.
pub(super) fn volume_needs_claim() -> Rule {
    rule(
        "has(self.external) || self.models.all(model, !has(model.source) || !has(model.source.volume)) || (has(self.template) && has(self.template.cacheVolume) && has(self.template.cacheVolume.persistentVolumeClaim))",
        "a model's source.volume is a path on a claim: set template.cacheVolume.persistentVolumeClaim",
    )
    .field_path(".models")
}

/// Allows at most one default model for each task.
pub(super) fn one_default_a_task() -> Rule {
    rule(
        "self.all(model, !model.default || self.exists_one(other, other.default && other.task == model.task))",
        "a task may have only one default model: set default: true on one of them",
    )
}

/// Requires a selector if, and only if, from is Selector.
pub(super) fn selector() -> Rule {
    rule(
        "has(self.selector) == (self.from == 'Selector')",
        "allowedNamespaces.selector requires from: Selector, and the reverse: set both or neither",
    )
}

/// Requires namespace names as keys of the weights.
pub(super) fn weights() -> Rule {
    rule(
        format!("self.all(name, name.size() <= 63 && name.matches('^{LABEL}$'))"),
        "the keys of fairness.weights must be names of namespaces",
    )
}
