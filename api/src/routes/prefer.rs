//! `Prefer: wait=N` (RFC 7240): how long a client would like to wait for a job's end.

use http::header::InvalidHeaderValue;
use http::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// Reports the preference that was honoured.
pub(crate) const PREFERENCE_APPLIED: HeaderName = HeaderName::from_static("preference-applied");
/// Longest wait in seconds; a longer one is shortened to it.
const MAX_WAIT_SECONDS: u64 = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Wait {
    seconds: u64,
}

impl Wait {
    /// The requested wait. Malformed and unknown preferences are ignored, as the RFC requires; the
    /// first of several waits counts.
    pub(crate) fn of(headers: &HeaderMap) -> Option<Self> {
        let lines = headers.get_all("prefer").iter();
        lines
            .filter_map(|line| line.to_str().ok())
            .flat_map(preferences)
            .find_map(|(name, value)| name.eq_ignore_ascii_case("wait").then_some(value))
            .and_then(seconds)
            .map(|seconds| Self {
                seconds: seconds.min(MAX_WAIT_SECONDS),
            })
    }

    pub(crate) fn duration(self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// The header [`PREFERENCE_APPLIED`] for this preference.
    pub(crate) fn applied(self) -> Result<HeaderValue, InvalidHeaderValue> {
        HeaderValue::try_from(format!("wait={}", self.seconds))
    }
}

/// Names and values, without the parameters after a `;`.
fn preferences(line: &str) -> impl Iterator<Item = (&str, &str)> {
    outside_quotes(line, ',').map(|preference| {
        let first = outside_quotes(preference, ';').next().unwrap_or_default();
        let (name, value) = first.split_once('=').unwrap_or((first, ""));
        (name.trim(), value.trim())
    })
}

/// Splits where `separator` is not within a quoted string.
fn outside_quotes(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(move |c: char| {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => return c == separator && !quoted,
        }
        false
    })
}

/// Digits, also as a quoted string.
fn seconds(value: &str) -> Option<u64> {
    let digits = value
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(value);
    if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    // Digits fail to parse only if they overflow.
    Some(digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(lines: &[&str]) -> Option<u64> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append("prefer", HeaderValue::from_str(line).unwrap());
        }
        Wait::of(&headers).map(|wait| wait.seconds)
    }

    #[test]
    fn a_wait_is_found_among_other_preferences() {
        for (lines, expected) in [
            (&["wait=10"][..], 10),
            (&["WAIT = 7 ; x=y"], 7),
            (&["respond-async, wait=10"], 10),
            (&["respond-async", "wait=\"5\""], 5),
            (&["foo=\"a, wait=3\", wait=4"], 4),
            (&["foo=\"a\\\", wait=3\", wait=4"], 4),
            (&["wait=1, wait=2"], 1),
            (&["wait=0"], 0),
            (&["wait=61"], 60),
            (&["wait=99999999999999999999999"], 60),
        ] {
            assert_eq!(wait(lines), Some(expected), "{lines:?}");
        }
    }

    #[test]
    fn a_malformed_preference_is_ignored() {
        for lines in [
            &[][..],
            &[""],
            &["wait"],
            &["wait="],
            &["wait=-1"],
            &["wait=1.5"],
            &["wait=ten"],
            &["wait=+5"],
            &["waits=5"],
            &["x=\"wait=5"],
            &["wait=, wait=5"],
        ] {
            assert_eq!(wait(lines), None, "{lines:?}");
        }
    }
}
