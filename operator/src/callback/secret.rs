//! The Secret with which a namespace's webhooks are signed. Pure.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use k8s_openapi::api::core::v1::Secret;
use standardwebhooks::Webhook;

pub(crate) const SECRET_NAME: &str = "fovea-webhook";

/// Type of the Secret; a Secret of another type is not used.
pub(crate) const SECRET_TYPE: &str = "fovea.dev/webhook";

/// Key in the Secret. Its value is `whsec_` followed by 24 to 64 bytes in base64. During a rotation it
/// may hold several secrets, one per line: every webhook then carries a signature of each.
pub(crate) const SECRET_KEY: &str = "secret";

const MAX_SECRETS: usize = 4;

const PREFIX: &str = "whsec_";

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SecretError {
    #[error(
        "Secret {SECRET_NAME:?} is not of type {SECRET_TYPE}: delete it and create it with this type"
    )]
    Type,
    #[error("Secret {SECRET_NAME:?} has no text under the key {SECRET_KEY:?}")]
    Key,
    #[error(
        "Secret {SECRET_NAME:?}: {SECRET_KEY:?} is not whsec_ followed by 24 to 64 bytes in base64"
    )]
    Form,
    #[error("Secret {SECRET_NAME:?}: {SECRET_KEY:?} holds more than {MAX_SECRETS} secrets")]
    TooMany,
}

/// Signs the webhooks of one namespace. It has no `Debug`, so that logs cannot contain the secret.
pub(crate) struct Signer(Vec<Webhook>);

impl Signer {
    pub(crate) fn of(secret: &Secret) -> Result<Self, SecretError> {
        if secret.type_.as_deref() != Some(SECRET_TYPE) {
            return Err(SecretError::Type);
        }
        let bytes = secret.data.as_ref().and_then(|data| data.get(SECRET_KEY));
        let text = bytes.and_then(|bytes| std::str::from_utf8(&bytes.0).ok());
        let secrets: Vec<&str> = text.ok_or(SecretError::Key)?.split_whitespace().collect();
        match secrets.len() {
            0 => Err(SecretError::Key),
            1..=MAX_SECRETS => {
                let keys: Result<_, _> = secrets.into_iter().map(key).collect();
                Ok(Self(keys?))
            }
            _ => Err(SecretError::TooMany),
        }
    }

    /// Value of the header `webhook-signature`: one signature per secret.
    pub(crate) fn sign(&self, id: &str, timestamp: i64, body: &str) -> Result<String, SecretError> {
        let sign = |key: &Webhook| key.sign(id, timestamp, body.as_bytes());
        let signatures: Result<Vec<String>, _> = self.0.iter().map(sign).collect();
        // The library's only error is a body that is not text.
        Ok(signatures.map_err(|_| SecretError::Form)?.join(" "))
    }
}

fn key(secret: &str) -> Result<Webhook, SecretError> {
    let digits = secret.strip_prefix(PREFIX).ok_or(SecretError::Form)?;
    let bytes = BASE64_STANDARD.decode(digits);
    let bytes = bytes.map_err(|_| SecretError::Form)?;
    if !(24..=64).contains(&bytes.len()) {
        return Err(SecretError::Form);
    }
    Webhook::from_bytes(bytes).map_err(|_| SecretError::Form)
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::ByteString;

    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const OTHER: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn secret(type_: &str, key: &str, text: &str) -> Secret {
        let data = [(key.to_owned(), ByteString(text.as_bytes().to_vec()))];
        Secret {
            type_: Some(type_.into()),
            data: Some(data.into()),
            ..Default::default()
        }
    }

    fn signer(text: &str) -> Result<Signer, SecretError> {
        Signer::of(&secret(SECRET_TYPE, SECRET_KEY, text))
    }

    /// The specification's own example.
    #[test]
    fn a_signature_is_that_of_the_specification() {
        let signed = signer(SECRET).unwrap_or_else(|e| panic!("{e}")).sign(
            "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
            1_649_367_553,
            r#"{"email":"test@example.com","username":"test_user"}"#,
        );
        assert_eq!(
            signed.as_deref(),
            Ok("v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=")
        );
    }

    #[test]
    fn a_secret_may_end_its_line_and_two_sign_both() {
        let both = signer(&format!("{SECRET}\n{OTHER}\n")).unwrap_or_else(|e| panic!("{e}"));
        let signed = both.sign("a", 1, "{}").unwrap();
        let each = [SECRET, OTHER].map(|secret| {
            let lone = signer(secret).unwrap_or_else(|e| panic!("{e}"));
            lone.sign("a", 1, "{}").unwrap()
        });
        assert_eq!(signed, each.join(" "));
    }

    #[test]
    fn another_kind_of_secret_is_never_used() {
        for other in ["Opaque", "kubernetes.io/tls", "fovea.dev/runner-token", ""] {
            let refused = Signer::of(&secret(other, SECRET_KEY, SECRET)).err();
            assert_eq!(refused, Some(SecretError::Type), "{other}");
        }
    }

    #[test]
    fn a_bad_secret_is_refused() {
        let keyless = secret(SECRET_TYPE, "token", SECRET);
        assert_eq!(Signer::of(&keyless).err(), Some(SecretError::Key));
        assert_eq!(signer(" \n").err(), Some(SecretError::Key));
        let long = format!("whsec_{}", BASE64_STANDARD.encode([7; 65]));
        for bad in [
            "C2FVsBQIhrscChlQIMV+b5sSYspob7oD",
            "whsec_",
            "whsec_c2hvcnQ=",
            "whsec_C2FVsBQIhrscChlQIMV-b5sSYspob7oD",
            &long,
        ] {
            assert_eq!(signer(bad).err(), Some(SecretError::Form), "{bad}");
        }
        let five = [SECRET; 5].join("\n");
        assert_eq!(signer(&five).err(), Some(SecretError::TooMany));
    }
}
