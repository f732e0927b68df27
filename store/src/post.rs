//! Presigned POST forms. A form permits uploads below one prefix until it expires, and nothing else.
//! `fovea-runner fetch --upload` sends checkpoints with one, since no runner has credentials.
//!
//! The SDK has no such function. The policy is S3's own format
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html>), signed
//! by Signature Version 4.

use crate::credentials::within_life;
use crate::{ModelPrefix, Store, StoreError};
use aws_sdk_s3::config::Credentials;
use aws_sdk_s3::presigning::PresigningConfig;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use url::Url;

/// S3's limit on the body of one POST.
pub const MAX_POST_BYTES: u64 = 5 << 30;

/// Longest lifetime of a form: S3's limit for presigned URLs.
const MAX_LIFETIME: Duration = Duration::from_hours(7 * 24);

/// Placeholder in a form's key; S3 replaces it by the uploaded file's name.
const FILENAME: &str = "${filename}";

/// The URL of a POST and the form fields that precede the file. `fovea-runner fetch --upload` reads
/// it as JSON.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PostForm {
    /// URL that the form is posted to.
    pub url: String,
    /// Form fields, in any order; `key` ends with `${filename}`.
    pub fields: BTreeMap<String, String>,
}

/// Omits the fields, which permit uploads.
impl fmt::Debug for PostForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PostForm({})", self.url)
    }
}

/// What a form permits, and until when.
struct Policy<'a> {
    bucket: &'a str,
    prefix: &'a ModelPrefix,
    max_bytes: u64,
    region: &'a str,
    now: SystemTime,
    lifetime: Duration,
}

impl Store {
    /// A form that permits uploads of at most `max_bytes` each below `prefix`, for `lifetime` or
    /// until the credentials expire. Signing sends no request, except what the credential provider may need.
    pub async fn presign_post(
        &self,
        prefix: &ModelPrefix,
        max_bytes: u64,
        lifetime: Duration,
    ) -> Result<PostForm, StoreError> {
        let refuse =
            |why: &str| StoreError::Config(format!("no form for {}: {why}", prefix.as_str()));
        if max_bytes > MAX_POST_BYTES {
            return Err(refuse("S3 takes at most 5 GiB in one POST"));
        }
        if lifetime > MAX_LIFETIME {
            return Err(refuse("it may live for at most seven days"));
        }
        let config = self.client.config();
        let credentials = self.credentials.get().await?;
        let now = self.clock.now();
        let policy = Policy {
            bucket: &self.bucket,
            prefix,
            max_bytes,
            region: config
                .region()
                .map_or("us-east-1", |region| region.as_ref()),
            now,
            lifetime: within_life(&credentials, now, lifetime),
        };
        Ok(PostForm {
            url: self.bucket_url().await?.to_owned(),
            fields: policy.fields(&credentials),
        })
    }

    /// URL of the bucket, as the SDK derives it from endpoint, region and path style. It does not change.
    pub(crate) async fn bucket_url(&self) -> Result<&str, StoreError> {
        let url = self
            .bucket_url
            .get_or_try_init(|| self.derived_bucket_url());
        url.await.map(String::as_str)
    }

    async fn derived_bucket_url(&self) -> Result<String, StoreError> {
        let wrong = |why: String| StoreError::Config(format!("the bucket's URL: {why}"));
        let lifetime = PresigningConfig::expires_in(Duration::from_mins(1))
            .map_err(|error| wrong(error.to_string()))?;
        let request = self.client.get_object().bucket(&self.bucket).key("key");
        let presigned = request.presigned(lifetime).await;
        let presigned =
            presigned.map_err(|error| StoreError::from_sdk(&error, &self.bucket, ""))?;
        let mut url = Url::parse(presigned.uri()).map_err(|error| wrong(error.to_string()))?;
        url.set_query(None);
        match url.path_segments_mut() {
            Ok(mut segments) => drop(segments.pop()),
            Err(()) => return Err(wrong("it takes no paths".to_owned())),
        }
        Ok(url.into())
    }
}

impl Policy<'_> {
    /// The form fields that precede the file.
    fn fields(&self, credentials: &Credentials) -> BTreeMap<String, String> {
        let now = utc(self.now);
        let date_time = now.replace(['-', ':'], "");
        let date = &date_time[..8];
        let mut fields = BTreeMap::from([
            ("x-amz-algorithm", "AWS4-HMAC-SHA256".to_owned()),
            (
                "x-amz-credential",
                format!(
                    "{}/{date}/{}/s3/aws4_request",
                    credentials.access_key_id(),
                    self.region
                ),
            ),
            ("x-amz-date", date_time.clone()),
        ]);
        if let Some(token) = credentials.session_token() {
            fields.insert("x-amz-security-token", token.to_owned());
        }
        let policy = STANDARD.encode(self.document(&fields).to_string());
        let secret = credentials.secret_access_key();
        let key = generate_signing_key(secret, self.now, self.region, "s3");
        let signature = calculate_signature(key, policy.as_bytes());
        fields.extend([
            ("key", format!("{}{FILENAME}", self.prefix.as_str())),
            ("policy", policy),
            ("x-amz-signature", signature),
        ]);
        let named = fields.into_iter();
        named
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }

    /// The conditions that S3 checks a POST against; it refuses fields that no condition names.
    fn document(&self, signed: &BTreeMap<&str, String>) -> Value {
        let mut conditions = vec![
            json!({"bucket": self.bucket}),
            json!(["starts-with", "$key", self.prefix.as_str()]),
            json!(["content-length-range", 0, self.max_bytes]),
        ];
        conditions.extend(signed.iter().map(|(name, value)| json!({*name: value})));
        json!({"expiration": utc(self.now + self.lifetime), "conditions": conditions})
    }
}

/// `2026-01-31T23:59:59Z`
pub(crate) fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    // Cannot fail for a time that a clock returns.
    DateTime::from_secs(seconds)
        .fmt(Format::DateTime)
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(credentials: &Credentials) -> BTreeMap<String, String> {
        let prefix = ModelPrefix::new("microsoft", "resnet-50").unwrap();
        let policy = Policy {
            bucket: "fovea",
            prefix: &prefix,
            max_bytes: 1000,
            region: "eu-central-1",
            // 2026 begins.
            now: UNIX_EPOCH + Duration::from_hours(490_896),
            lifetime: Duration::from_hours(1),
        };
        policy.fields(credentials)
    }

    #[test]
    fn a_form_allows_one_prefix_one_size_and_one_hour() {
        let credentials = Credentials::new("AKID", "secret", None, None, "test");
        let fields = fields(&credentials);
        assert_eq!(fields["key"], "models/microsoft/resnet-50/${filename}");
        assert_eq!(
            fields["x-amz-credential"],
            "AKID/20260101/eu-central-1/s3/aws4_request"
        );
        assert_eq!(fields["x-amz-date"], "20260101T000000Z");
        let policy: Value =
            serde_json::from_slice(&STANDARD.decode(&fields["policy"]).unwrap()).unwrap();
        assert_eq!(policy["expiration"], "2026-01-01T01:00:00Z");
        let conditions = policy["conditions"].as_array().unwrap();
        for condition in [
            json!({"bucket": "fovea"}),
            json!(["starts-with", "$key", "models/microsoft/resnet-50/"]),
            json!(["content-length-range", 0, 1000]),
            json!({"x-amz-date": "20260101T000000Z"}),
        ] {
            assert!(conditions.contains(&condition), "{condition}");
        }
        assert!(!fields.values().any(|value| value.contains("secret")));
        assert!(!fields.contains_key("x-amz-security-token"));
    }

    #[test]
    fn temporary_credentials_include_their_session_token() {
        let credentials =
            Credentials::new("AKID", "secret", Some("session".to_owned()), None, "test");
        let fields = fields(&credentials);
        assert_eq!(fields["x-amz-security-token"], "session");
        let policy = String::from_utf8(STANDARD.decode(&fields["policy"]).unwrap()).unwrap();
        assert!(
            policy.contains(r#"{"x-amz-security-token":"session"}"#),
            "{policy}"
        );
    }
}
