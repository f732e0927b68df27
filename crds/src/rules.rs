//! CEL rules whose messages name the field and say what to write instead.
//!
//! Text that users write is checked by CEL rather than by `pattern`, because a failed pattern
//! answers with the regular expression. The rules of one kind lie beside its types; here are
//! those of texts that both have.

use crate::bounds::MAX_KEY_BYTES;
use kube::core::{Message, Rule};

/// A reason in CamelCase, as `metav1.Condition` has it.
pub(crate) const REASON_PATTERN: &str = "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$";

/// Lower-case hexadecimal SHA-256.
pub(crate) const SHA256_PATTERN: &str = "^[0-9a-f]{64}$";

/// A DNS label, unanchored.
pub(crate) const LABEL: &str = "[a-z0-9]([-a-z0-9]*[a-z0-9])?";

/// A rule: `cel` must hold, else the API server answers `message`.
pub(crate) fn rule(cel: impl Into<String>, message: impl Into<String>) -> Rule {
    Rule {
        rule: cel.into(),
        message: Some(Message::Message(message.into())),
        ..Rule::default()
    }
}

/// A text must match all of a regular expression (RE2, without `"`).
pub(crate) fn matches(pattern: &str, message: impl Into<String>) -> Rule {
    rule(format!("self.matches(r\"^({pattern})$\")"), message)
}

/// A DNS label: a model's or a namespace's name.
pub(crate) fn label(field: &str) -> Rule {
    matches(
        LABEL,
        format!("{field} must be a DNS label: write lower-case letters, digits and inner `-` only"),
    )
}

/// A DNS subdomain: the name of a pool, a secret, a claim.
pub(crate) fn subdomain(field: &str) -> Rule {
    matches(
        &format!("{LABEL}([.]{LABEL})*"),
        format!(
            "{field} must be the name of an object: write lower-case letters, digits, `-` and `.` only, beginning and ending with a letter or digit"
        ),
    )
}

/// A normalised path below a prefix that Fovea adds, without a way out of it.
pub(crate) fn object_path(field: &str, prefix: &str) -> Rule {
    rule(
        format!(
            r"!self.matches(r'(^|/)[.]?(/|$)|[.][.]|[%\\]|\p{{Cc}}') && bytes(self).size() <= {MAX_KEY_BYTES}"
        ),
        format!(
            "{field} must be a path below {prefix}: write it without a leading or trailing `/`, empty or `.` segments, `..`, `%`, `\\` or control characters, in at most {MAX_KEY_BYTES} bytes"
        ),
    )
}
