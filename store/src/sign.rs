//! Signed URLs in large numbers. The SDK takes about a request's time of the CPU for each; here the credentials,
//! the bucket's URL and the day's key are read once for many.
//!
//! The URL is that of Signature Version 4 in query parameters
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html>); a test compares it with the
//! SDK's.

use crate::credentials::within_life;
use crate::{ObjectKey, Sha256, Store, StoreError};
use aws_sdk_s3::config::Credentials;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};
use url::Url;

/// What Signature Version 4 encodes in a path.
const PATH: &AsciiSet = &QUERY.remove(b'/');

/// What it encodes in a query.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');

/// Signs URLs that allow a GET, all with the same end of life.
pub struct Signer {
    /// Of the bucket, with its path, without a final `/`.
    url: Url,
    host: String,
    key: Vec<u8>,
    /// The query but for the signature.
    query: String,
    date_time: String,
    scope: String,
    lifetime: Duration,
}

impl std::fmt::Debug for Signer {
    /// Omits the key.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Signer({}, {:?})", self.url, self.lifetime)
    }
}

impl Store {
    /// A signer of URLs that allow a GET for `lifetime`, or until the credentials expire if that is sooner.
    /// It sends no request, except what the credential provider may need.
    pub async fn signer(&self, lifetime: Duration) -> Result<Signer, StoreError> {
        let credentials = self.credentials.get().await?;
        let url = self.bucket_url().await?;
        let config = self.client.config();
        let region = config
            .region()
            .map_or("us-east-1", |region| region.as_ref());
        Signer::new(url, &credentials, region, self.clock.now(), lifetime)
    }
}

impl Signer {
    fn new(
        bucket: &str,
        credentials: &Credentials,
        region: &str,
        now: SystemTime,
        lifetime: Duration,
    ) -> Result<Self, StoreError> {
        let wrong =
            |why: &dyn std::fmt::Display| StoreError::Config(format!("the bucket's URL: {why}"));
        let url = Url::parse(bucket.trim_end_matches('/')).map_err(|error| wrong(&error))?;
        let host = url.host_str().ok_or_else(|| wrong(&"it has no host"))?;
        let host = match url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        let lifetime = within_life(credentials, now, lifetime);
        let date_time = crate::post::utc(now).replace(['-', ':'], "");
        let scope = format!("{}/{region}/s3/aws4_request", &date_time[..8]);
        let encode = |text: &str| utf8_percent_encode(text, QUERY).to_string();
        let mut query = format!(
            "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={}&X-Amz-Date={date_time}&X-Amz-Expires={}",
            encode(&format!("{}/{scope}", credentials.access_key_id())),
            lifetime.as_secs()
        );
        if let Some(token) = credentials.session_token() {
            let _ = write!(query, "&X-Amz-Security-Token={}", encode(token));
        }
        query.push_str("&X-Amz-SignedHeaders=host&x-id=GetObject");
        let secret = credentials.secret_access_key();
        let key = generate_signing_key(secret, now, region, "s3");
        Ok(Self {
            url,
            host,
            key: key.as_ref().to_vec(),
            query,
            date_time,
            scope,
            lifetime,
        })
    }

    /// Time in which the URLs can be used, from the signer's making.
    pub fn lifetime(&self) -> Duration {
        self.lifetime
    }

    /// A URL that allows a GET of this object.
    pub fn get(&self, key: &ObjectKey) -> Result<String, StoreError> {
        if !key.is_inside_its_prefix() {
            return Err(StoreError::Config(format!(
                "refusing to presign {key}: it left its prefix"
            )));
        }
        let Self {
            url,
            host,
            key: signing_key,
            query,
            date_time,
            scope,
            lifetime: _,
        } = self;
        let root = url.path().trim_end_matches('/');
        let path = format!("{root}/{}", utf8_percent_encode(key.as_str(), PATH));
        let request = format!("GET\n{path}\n{query}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD");
        let digest = Sha256::of(request.as_bytes());
        let text = format!("AWS4-HMAC-SHA256\n{date_time}\n{scope}\n{digest}");
        let signature = calculate_signature(signing_key, text.as_bytes());
        let origin = &url[..url::Position::BeforePath];
        Ok(format!(
            "{origin}{path}?{query}&X-Amz-Signature={signature}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_s3::Client;
    use aws_sdk_s3::config::{BehaviorVersion, Config, Region};
    use aws_sdk_s3::presigning::PresigningConfig;
    use std::collections::BTreeMap;

    /// The SDK's URL of the same time.
    async fn by_sdk(endpoint: &str, credentials: Credentials, key: &str, now: SystemTime) -> Url {
        let config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("eu-central-1"))
            .endpoint_url(endpoint)
            .force_path_style(true)
            .credentials_provider(credentials)
            .build();
        let presigning = PresigningConfig::builder()
            .start_time(now)
            .expires_in(Duration::from_mins(5))
            .build();
        let request = Client::from_conf(config)
            .get_object()
            .bucket("fovea")
            .key(key);
        let presigned = request.presigned(presigning.unwrap()).await.unwrap();
        Url::parse(presigned.uri()).unwrap()
    }

    #[tokio::test]
    async fn a_url_is_the_one_that_the_sdk_signs() {
        // 2026 begins.
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(490_896);
        let long_lived = Credentials::new("AKID", "secret/+", None, None, "test");
        let session = Some("to/ken+=".to_owned());
        let temporary = Credentials::new("AKID", "secret", session, None, "test");
        for credentials in [long_lived, temporary] {
            for endpoint in ["http://127.0.0.1:9000", "https://s3.example.com"] {
                for name in [
                    "cats/1.jpg",
                    "a b+c&d=e?.jpg",
                    "ü/…(1)'*!.jpg",
                    "a~b@c:d,e;f$.png",
                ] {
                    let key = ObjectKey::data("team-a", name).unwrap();
                    let bucket = format!("{endpoint}/fovea/");
                    let lifetime = Duration::from_mins(5);
                    let signer = Signer::new(&bucket, &credentials, "eu-central-1", now, lifetime);
                    let ours = Url::parse(&signer.unwrap().get(&key).unwrap()).unwrap();
                    let theirs = by_sdk(endpoint, credentials.clone(), key.as_str(), now).await;
                    let query = |url: &Url| -> BTreeMap<String, String> {
                        url.query_pairs().into_owned().collect()
                    };
                    assert_eq!(ours.path(), theirs.path());
                    assert_eq!(query(&ours), query(&theirs), "{name}");
                }
            }
        }
    }

    #[test]
    fn a_url_lives_no_longer_than_its_credentials() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_hours(490_896);
        let expiry = Some(now + Duration::from_secs(40));
        let credentials = Credentials::new("AKID", "secret", None, expiry, "test");
        let lifetime = Duration::from_mins(5);
        let signer = Signer::new("http://s/b", &credentials, "r", now, lifetime).unwrap();
        assert_eq!(signer.lifetime(), Duration::from_secs(40));
        let url = signer.get(&ObjectKey::data("a", "b").unwrap()).unwrap();
        assert!(url.contains("X-Amz-Expires=40&"), "{url}");
    }
}
