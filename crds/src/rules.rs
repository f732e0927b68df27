//! CEL rules whose messages name the field and say what to write instead.
//!
//! CEL checks texts from users instead of `pattern`, because the message of a failed pattern is
//! only its regular expression. These rules are for both resources; those of one resource are in
//! its own `rules`.

use crate::bounds::MAX_KEY_BYTES;
use kube::core::{Message, Rule};

/// Pattern of a reason, as in `metav1.Condition`.
pub(crate) const REASON_PATTERN: &str = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";

/// Pattern of a SHA-256 in lower-case hexadecimal.
pub(crate) const SHA256_PATTERN: &str = "^[0-9a-f]{64}$";

/// Unanchored pattern of a DNS label.
pub(crate) const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// Rule that rejects with `message` what does not satisfy `cel`.
pub(crate) fn rule(cel: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule {
        rule: cel.into(),
        message: Some(Message::Message(message.into())),
        ..Rule::default()
    }
}

/// Requires each of `cases`; the message is that of the first case that does not hold.
///
/// One rule and not one for each case: the API server evaluates every rule of a present field with every write,
/// that of a status among them, also where ratcheting then ignores the outcome. Each access to a field, `has` too,
/// copies the schemas of all its siblings several times, which is most of a rule's cost.
pub(crate) fn each_of(cases: &[(String, String)]) -> Rule {
    let all: Vec<String> = cases.iter().map(|(cel, _)| format!("({cel})")).collect();
    let text = |message: &str| serde_json::json!(message).to_string();
    let message = cases
        .iter()
        .rev()
        .fold(text("invalid"), |rest, (cel, message)| {
            format!("!({cel}) ? {} : {rest}", text(message))
        });
    Rule {
        rule: all.join(" && "),
        message: Some(Message::Expression(message)),
        ..Rule::default()
    }
}

/// The rule, which is not evaluated further where `cheap` holds, as it does for most objects.
pub(crate) fn unless(cheap: &str, rule: Rule) -> Rule {
    Rule {
        rule: format!("({cheap}) || ({})", rule.rule),
        ..rule
    }
}

/// The rule at the creation of what it is about, and never again: of a field that does not change. Later writes,
/// those of the status among them, pay nothing for it.
pub(crate) fn at_creation(rule: Rule) -> Rule {
    Rule {
        rule: format!("oldSelf.hasValue() || ({})", rule.rule),
        optional_old_self: Some(true),
        ..rule
    }
}

/// Requires that a regular expression (RE2, without `"`) matches the whole text.
pub(crate) fn matches(pattern: &str, message: impl Into<String>) -> Rule {
    rule(format!("self.matches(r\"^({pattern})$\")"), message)
}

/// Requires a DNS label: the name of a model or namespace.
pub(crate) fn label(field: &str) -> Rule {
    matches(
        LABEL,
        format!("{field} must be a DNS label: write lower-case letters, digits and inner `-` only"),
    )
}

/// Requires a DNS subdomain: the name of a pool, Secret or claim.
pub(crate) fn subdomain(field: &str) -> Rule {
    matches(
        &format!("{LABEL}([.]{LABEL})*"),
        format!(
            "{field} must be the name of an object: write lower-case letters, digits, `-` and `.` only, beginning and ending with a letter or digit"
        ),
    )
}

/// Requires a normalised path that cannot leave the prefix which Fovea adds.
pub(crate) fn object_path(field: &str, prefix: &str) -> Rule {
    object_path_within(field, prefix, MAX_KEY_BYTES)
}

/// As [`object_path`], of at most `max_bytes`.
pub(crate) fn object_path_within(field: &str, prefix: &str, max_bytes: u32) -> Rule {
    rule(
        format!(
            r"!self.matches(r'(^|/)[.]?(/|$)|[.][.]|[%\\]|\p{{Cc}}') && bytes(self).size() <= {max_bytes}"
        ),
        format!(
            "{field} must be a path below {prefix}: write it without a leading or trailing `/`, empty or `.` segments, `..`, `%`, `\\` or control characters, in at most {max_bytes} bytes"
        ),
    )
}
