//! Cuts texts to the bounds of the schema, so that the API server never rejects a status
//! because of a long answer from a runner. Each status type has its own `clipped`.

use crate::bounds::{MAX_MESSAGE_LENGTH, MAX_REASON_LENGTH};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

/// Cuts `text` to at most `max` characters; an ellipsis ends a text that was cut.
pub fn clip(text: &str, max: u32) -> String {
    let max = max as usize;
    if text.len() <= max || text.chars().count() <= max {
        return text.to_owned();
    }
    let mut clipped: String = text.chars().take(max.saturating_sub(1)).collect();
    if max > 0 {
        clipped.push('…');
    }
    clipped
}

/// Cuts a message to [`MAX_MESSAGE_LENGTH`].
pub fn message(text: &str) -> String {
    clip(text, MAX_MESSAGE_LENGTH)
}

/// Cuts a condition's message and replaces an invalid reason.
pub fn condition(mut condition: Condition) -> Condition {
    condition.message = message(&condition.message);
    condition.reason = reason(&condition.reason);
    condition
}

/// Replaces a reason that is not one CamelCase word by `Unknown`.
pub(crate) fn reason(text: &str) -> String {
    let word = |c: char| c.is_ascii_alphanumeric();
    if text.starts_with(|c: char| c.is_ascii_alphabetic())
        && text.chars().all(word)
        && text.len() <= MAX_REASON_LENGTH as usize
    {
        text.to_owned()
    } else {
        "Unknown".to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_characters_and_the_cut_is_shown() {
        assert_eq!(clip("crab", 4), "crab");
        assert_eq!(clip("🦀🦀🦀", 3), "🦀🦀🦀");
        assert_eq!(clip("🦀🦀🦀", 2), "🦀…");
        assert_eq!(clip("🦀", 0), "");
    }

    #[test]
    fn a_reason_is_one_word() {
        assert_eq!(reason("InvalidPicture"), "InvalidPicture");
        for wrong in ["", "two words", "ü", "1st", &"A".repeat(65)] {
            assert_eq!(reason(wrong), "Unknown", "{wrong:?}");
        }
    }
}
