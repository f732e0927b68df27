//! Errors about single fields; clients see their texts.

use crate::error::{Problem, ProblemType};

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FieldError {
    #[error("{0:?} is not a field of this request: it has {1}")]
    Unknown(String, &'static str),
    #[error("{0:?} is given more than once: send it once")]
    Duplicate(String),
    #[error("{name}: {why}")]
    Invalid { name: &'static str, why: String },
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        let kind = match error {
            FieldError::Unknown(..) => ProblemType::UnknownField,
            FieldError::Duplicate(_) => ProblemType::DuplicateField,
            FieldError::Invalid { .. } => ProblemType::InvalidField,
        };
        Self::new(kind, error.to_string())
    }
}

pub(super) fn invalid<T>(name: &'static str, why: String) -> Result<T, FieldError> {
    Err(FieldError::Invalid { name, why })
}

/// A client's text, short enough to be repeated to it.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(80).collect()
}
