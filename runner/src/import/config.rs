//! The subcommand's flags, and the environment variables of the hub's own tools.

use super::error::ImportError;
use super::names::{RepoId, Revision};
use super::transfer::{Retry, Token};
use clap::Parser;
use fovea_telemetry::LogFormat;
use reqwest::Url;
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// The Hub's URL if `HF_ENDPOINT` is not set.
const HUB: &str = "https://huggingface.co";

/// Timeout between two pieces of an answer of the Hub.
const SILENCE: Duration = Duration::from_secs(30);

/// Download a model from the Hugging Face Hub.
///
/// Resolves the revision to a commit; downloads the configuration, the tokenizer and one format of
/// the weights; resumes interrupted downloads; verifies every digest. Files are stored in the Hub's
/// standard cache (`HF_HOME`, `HF_HUB_CACHE`). The variables `HF_TOKEN`, `HF_ENDPOINT` and
/// `HF_HUB_OFFLINE` work as in the Hub's own tools. Prints the folder, for --model.
#[derive(Clone, Debug, Parser)]
#[command(name = "fetch")]
pub struct ImportConfig {
    /// Repository on the Hub, such as `Salesforce/blip-image-captioning-base`.
    #[arg(value_name = "OWNER/NAME")]
    pub repo: RepoId,

    /// Branch, tag or commit to download.
    #[arg(long, default_value = "main")]
    pub revision: Revision,

    /// Also copy the files to this folder, with a manifest of their digests.
    #[arg(long, value_name = "DIR")]
    pub to: Option<PathBuf>,

    /// Also upload the files to the object store, below `models/OWNER/NAME/<commit>/`. FILE holds a
    /// presigned POST form as JSON, `{"url": .., "fields": {..}}`, which the operator writes for
    /// import Jobs; so this program needs no credentials of the store.
    #[arg(long, value_name = "FILE")]
    pub upload: Option<PathBuf>,

    /// PEM file of certificate authorities to trust for the Hub in addition to the system's, of at
    /// most 384 KiB: for a mirror with a certificate of a private authority.
    #[arg(long, value_name = "FILE")]
    pub hub_ca_file: Option<PathBuf>,

    /// PEM file of certificate authorities to trust for --upload instead of the system's, of at most
    /// 384 KiB.
    #[arg(long, value_name = "FILE")]
    pub s3_ca_file: Option<PathBuf>,

    /// When everything is done, write the revision's commit to this file. Import Jobs use their
    /// termination log, which the operator reads.
    #[arg(long, value_name = "FILE")]
    pub commit_file: Option<PathBuf>,

    /// Format of the log on standard error. Its level is set by the environment variable `RUST_LOG`,
    /// such as `debug` (default: `info`).
    #[arg(long, value_enum, default_value = "text")]
    pub log_format: LogFormat,
}

/// Settings of the connection to the Hub.
#[derive(Clone, Debug)]
pub struct HubSettings {
    pub(super) endpoint: Url,
    pub(super) token: Option<Token>,
    pub(super) cache: PathBuf,
    pub(super) offline: bool,
    pub(super) silence: Duration,
    pub(super) retry: Retry,
}

impl HubSettings {
    /// Reads them as `huggingface_hub` does; `variable` is [`std::env::var_os`] outside tests.
    pub fn from_environment(
        variable: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, ImportError> {
        let text = |name: &str| {
            let value = variable(name)?.into_string().ok()?;
            Some(value.trim().to_owned()).filter(|value| !value.is_empty())
        };
        let folder = |name: &str| {
            variable(name)
                .filter(|value| !value.is_empty())
                .map(PathBuf::from)
        };
        let home = folder("HF_HOME")
            .or_else(|| Some(folder("XDG_CACHE_HOME")?.join("huggingface")))
            .or_else(|| Some(folder("HOME")?.join(".cache/huggingface")))
            .ok_or_else(|| ImportError::Setting {
                name: "HF_HOME",
                why: "neither it nor HOME is set: set it to a folder for the cache".to_owned(),
            })?;
        let cache = folder("HF_HUB_CACHE")
            .or_else(|| folder("HUGGINGFACE_HUB_CACHE"))
            .unwrap_or_else(|| home.join("hub"));
        let token_file = folder("HF_TOKEN_PATH").unwrap_or_else(|| home.join("token"));
        let token = text("HF_TOKEN")
            .or_else(|| text("HUGGING_FACE_HUB_TOKEN"))
            .or_else(|| Some(std::fs::read_to_string(token_file).ok()?.trim().to_owned()))
            .filter(|token| !token.is_empty());
        let endpoint = endpoint(&text("HF_ENDPOINT").unwrap_or_else(|| HUB.to_owned()))?;
        if token.is_some() && !is_private(&endpoint) {
            return Err(ImportError::Setting {
                name: "HF_ENDPOINT",
                why: "it is plain http, which would show HF_TOKEN to everybody on the way; use \
                      https, or unset HF_TOKEN"
                    .to_owned(),
            });
        }
        let token = token.map(|text| {
            Token::new(&text).ok_or_else(|| ImportError::Setting {
                name: "HF_TOKEN",
                why: "it has characters that no token has".to_owned(),
            })
        });
        Ok(Self {
            endpoint,
            token: token.transpose()?,
            cache,
            offline: ["HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"]
                .iter()
                .find_map(|name| text(name))
                .is_some_and(|value| is_true(&value)),
            silence: SILENCE,
            retry: Retry::default(),
        })
    }

    /// The same settings with other timeouts and retries, for tests.
    #[must_use]
    pub fn with_patience(self, silence: Duration, retry: Retry) -> Self {
        Self {
            silence,
            retry,
            ..self
        }
    }
}

/// Parses an endpoint; it must be a base for paths.
fn endpoint(text: &str) -> Result<Url, ImportError> {
    Url::parse(text)
        .ok()
        .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        .ok_or_else(|| ImportError::Setting {
            name: "HF_ENDPOINT",
            why: format!("{text:?} is no http or https URL"),
        })
}

/// Whether traffic is private: HTTPS, or this machine.
fn is_private(endpoint: &Url) -> bool {
    let loopback = match endpoint.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    endpoint.scheme() == "https" || loopback
}

fn is_true(value: &str) -> bool {
    matches!(
        value.to_ascii_uppercase().as_str(),
        "1" | "ON" | "YES" | "TRUE"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(variables: &[(&str, &str)]) -> Result<HubSettings, ImportError> {
        let find = |name: &str| variables.iter().find(|(known, _)| *known == name);
        HubSettings::from_environment(|name| find(name).map(|(_, value)| OsString::from(value)))
    }

    #[test]
    fn the_cache_lies_where_the_hubs_own_tools_have_it() {
        let cache = |variables: &[_]| settings(variables).unwrap().cache;
        assert_eq!(
            cache(&[("HOME", "/h")]),
            PathBuf::from("/h/.cache/huggingface/hub")
        );
        assert_eq!(
            cache(&[("HOME", "/h"), ("XDG_CACHE_HOME", "/x")]),
            PathBuf::from("/x/huggingface/hub")
        );
        assert_eq!(
            cache(&[("HOME", "/h"), ("HF_HOME", "/f")]),
            PathBuf::from("/f/hub")
        );
        assert_eq!(
            cache(&[("HF_HOME", "/f"), ("HUGGINGFACE_HUB_CACHE", "/c")]),
            PathBuf::from("/c")
        );
        assert_eq!(
            cache(&[
                ("HF_HOME", "/f"),
                ("HUGGINGFACE_HUB_CACHE", "/c"),
                ("HF_HUB_CACHE", "/d")
            ]),
            PathBuf::from("/d")
        );
        assert!(settings(&[]).unwrap_err().to_string().contains("HF_HOME"));
    }

    #[test]
    fn a_token_comes_from_the_environment_or_its_file_and_never_goes_over_plain_http() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().to_str().unwrap();
        let token = |more: &[_]| {
            settings(&[&[("HF_HOME", folder)], more].concat())
                .map(|settings| settings.token.is_some())
        };
        assert!(!token(&[]).unwrap());
        assert!(token(&[("HF_TOKEN", "hf_x")]).unwrap());
        assert!(token(&[("HUGGING_FACE_HUB_TOKEN", "hf_x")]).unwrap());
        std::fs::write(home.path().join("token"), "hf_x\n").unwrap();
        assert!(token(&[]).unwrap());
        assert!(token(&[("HF_ENDPOINT", "http://127.0.0.1:1")]).unwrap());
        assert!(token(&[("HF_ENDPOINT", "http://[::1]:1")]).unwrap());
        let error = token(&[("HF_ENDPOINT", "http://mirror.example")])
            .unwrap_err()
            .to_string();
        assert!(error.contains("https"), "{error}");
        assert!(token(&[("HF_ENDPOINT", "ftp://mirror.example")]).is_err());
        assert!(token(&[("HF_TOKEN", "a\nb")]).is_err());
    }

    #[test]
    fn offline_is_what_the_hubs_own_tools_call_so() {
        let offline = |value| {
            settings(&[("HOME", "/h"), ("HF_HUB_OFFLINE", value)])
                .unwrap()
                .offline
        };
        assert!(offline("1") && offline("true") && offline("YES"));
        assert!(!offline("0") && !offline(""));
        assert!(
            settings(&[("HOME", "/h"), ("TRANSFORMERS_OFFLINE", "1")])
                .unwrap()
                .offline
        );
    }
}
