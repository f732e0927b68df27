//! URLs of services, as people write them.

use crate::StoreError;
use std::fmt;
use std::str::FromStr;
use url::{Host, Url};

/// Replaces a URL's user name and password in what is printed.
const MASK: &str = "***";

/// The end of the host names of Amazon S3.
const AWS: &str = ".amazonaws.com";

/// A service's URL. `Display` and `Debug` mask its user name and password, so that a configuration
/// can be logged.
#[derive(Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// Why a text is no endpoint.
#[derive(Debug, thiserror::Error)]
pub enum InvalidEndpoint {
    /// No URL at all, or `host:port`.
    #[error("it does not begin with http:// or https://, as in http://minio:9000")]
    Scheme,
    /// Another fault of the URL.
    #[error("it is no URL: {0}")]
    Url(url::ParseError),
}

impl Endpoint {
    /// The URL as given, with its user name and password.
    pub fn as_url(&self) -> &Url {
        &self.0
    }

    /// The store's URL for the SDK, whose path ends with a slash: the SDK appends the bucket to it. `flag` is what
    /// set it.
    pub(crate) fn of_store(&self, flag: &str, bucket: &str) -> Result<Url, StoreError> {
        let Self(url) = self;
        let wrong = |why: String| StoreError::Config(format!("{flag} {self}: {why}"));
        if !url.username().is_empty() || url.password().is_some() {
            return Err(wrong(
                "leave out the user name and the password, which signed URLs would disclose: keys are in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (objectStore.existingSecret)".to_owned(),
            ));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(wrong(
                "leave out what follows the path, from `?` or `#` on".to_owned(),
            ));
        }
        let host = url.host_str().unwrap_or_default();
        if host.ends_with(AWS) && host.starts_with(&format!("{bucket}.")) {
            return Err(wrong(format!(
                "leave the bucket's name out of the host: --s3-bucket is {bucket:?}, and --s3-path-style=false puts it there"
            )));
        }
        let mut url = url.clone();
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(url)
    }

    /// Where the URL may name the bucket itself, what to change; the SDK adds the bucket's name.
    pub(crate) fn doubt(&self, bucket: &str) -> Option<String> {
        let Self(url) = self;
        let last = url.path().trim_end_matches('/').rsplit('/').next();
        if last == Some(bucket) {
            return Some(format!("leave the bucket's name out of the path of {self}"));
        }
        let Some(Host::Domain(host)) = url.host() else {
            return None;
        };
        let named = host.starts_with(&format!("{bucket}."));
        named.then(|| format!("leave the bucket's name out of the host of {self}"))
    }
}

impl From<Url> for Endpoint {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl FromStr for Endpoint {
    type Err = InvalidEndpoint;

    /// Spaces around the URL are left out.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim_start().to_ascii_lowercase();
        if !lower.starts_with("http://") && !lower.starts_with("https://") {
            return Err(InvalidEndpoint::Scheme);
        }
        text.parse().map(Self).map_err(InvalidEndpoint::Url)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(url) = self;
        if url.username().is_empty() && url.password().is_none() {
            return f.write_str(url.as_str());
        }
        let mut masked = url.clone();
        // Both only fail for a URL that cannot have them, and this one has.
        let _ = masked.set_password(None);
        let _ = masked.set_username(MASK);
        f.write_str(masked.as_str())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_store(text: &str) -> Result<String, String> {
        let endpoint: Endpoint = text.parse().map_err(|error| format!("{error}"))?;
        let url = endpoint.of_store("--s3-endpoint", "fovea");
        url.map(String::from).map_err(|error| error.to_string())
    }

    #[test]
    fn an_endpoint_is_used_as_given_and_printed_as_given_without_a_secret() {
        let secret = "http://user:secret@s3.test/";
        let endpoint: Endpoint = secret.parse().unwrap();
        assert_eq!(endpoint.as_url().as_str(), secret);
        let open: Endpoint = "http://s3.test/".parse().unwrap();
        assert_eq!(open.to_string(), "http://s3.test/");
    }

    #[test]
    fn a_path_ends_with_a_slash_and_spaces_are_left_out() {
        for (text, url) in [
            ("http://s3.test:9000", "http://s3.test:9000/"),
            (
                "http://s3.test/storage/v1/s3",
                "http://s3.test/storage/v1/s3/",
            ),
            (
                "http://s3.test/storage/v1/s3/",
                "http://s3.test/storage/v1/s3/",
            ),
            (" https://s3.test/a \n", "https://s3.test/a/"),
            ("HTTP://s3.test", "http://s3.test/"),
            ("http://[::1]:9000", "http://[::1]:9000/"),
        ] {
            assert_eq!(of_store(text).as_deref(), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_what_to_write() {
        for (text, what) in [
            ("minio:9000", "begin with http:// or https://"),
            ("s3.test", "begin with http:// or https://"),
            ("ftp://s3.test", "begin with http:// or https://"),
            ("s3://fovea", "begin with http:// or https://"),
            ("", "begin with http:// or https://"),
            ("http://", "no URL"),
            ("http://s3.test:port", "no URL"),
            ("http://user:secret@s3.test", "AWS_ACCESS_KEY_ID"),
            ("http://s3.test/?region=a", "from `?` or `#` on"),
            ("http://s3.test/#a", "from `?` or `#` on"),
            (
                "https://fovea.s3.eu-west-1.amazonaws.com",
                "out of the host",
            ),
        ] {
            let error = of_store(text).unwrap_err();
            assert!(error.contains(what), "{text}: {error}");
            assert!(!error.contains("secret@"), "{text}: {error}");
        }
    }

    #[test]
    fn an_endpoint_that_may_name_the_bucket_is_doubted() {
        for (text, doubted) in [
            ("http://s3.test/fovea", true),
            ("http://s3.test/a/fovea/", true),
            ("http://fovea.s3.test", true),
            ("http://fovea", false),
            ("http://s3.test/fovea/s3", false),
            ("http://s3.test", false),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert_eq!(endpoint.doubt("fovea").is_some(), doubted, "{text}");
        }
    }
}
