//! The value of `continue`: the API server's token with its list's namespace and filter. It contains
//! no secret and grants nothing: the API server checks its part, the namespace must be the user's.

use crate::error::Problem;
use crate::jobs::{Filter, foreign_token};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

const MAX_LENGTH: usize = 8192;
/// Version of the token's format.
const VERSION: u8 = 1;

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ContinueToken {
    version: u8,
    namespace: String,
    filter: Filter,
    after: String,
}

impl ContinueToken {
    pub(super) fn new(namespace: &str, filter: Filter, after: String) -> Self {
        Self {
            version: VERSION,
            namespace: namespace.to_owned(),
            filter,
            after,
        }
    }

    pub(super) fn encode(&self) -> Result<String, Problem> {
        let json = serde_json::to_vec(self).map_err(Problem::internal)?;
        Ok(URL_SAFE_NO_PAD.encode(json))
    }

    /// The filter and the API server's token, if the token is from a list of this namespace.
    pub(super) fn decode(text: &str, namespace: &str) -> Result<(Filter, String), Problem> {
        if text.len() > MAX_LENGTH {
            return Err(foreign_token());
        }
        let json = URL_SAFE_NO_PAD.decode(text).map_err(|_| foreign_token())?;
        let token: Self = serde_json::from_slice(&json).map_err(|_| foreign_token())?;
        if token.version != VERSION || token.namespace != namespace || token.after.is_empty() {
            return Err(foreign_token());
        }
        Ok((token.filter, token.after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_crds::{Phase, Task};
    use proptest::prelude::*;

    fn filter() -> Filter {
        Filter {
            phase: Some(Phase::Failed),
            task: Some(Task::ObjectDetection),
            batches: false,
        }
    }

    #[test]
    fn a_token_is_valid_for_its_own_namespace_only() {
        let token = ContinueToken::new("a", filter(), "k8s".into());
        let text = token.encode().unwrap();
        assert!(
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        let (found, after) = ContinueToken::decode(&text, "a").unwrap();
        assert_eq!((found, after.as_str()), (filter(), "k8s"));
        assert!(ContinueToken::decode(&text, "b").is_err());
    }

    proptest! {
        #[test]
        fn any_other_text_is_refused(text in ".{0,200}") {
            prop_assert!(ContinueToken::decode(&text, "a").is_err());
            prop_assert!(ContinueToken::decode(&URL_SAFE_NO_PAD.encode(&text), "a").is_err());
        }
    }
}
