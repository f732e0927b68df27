//! One import: the fake hub, its own cache, and timeouts of milliseconds.

use crate::hub::{Hub, REPO};
use fovea_runner::import::{self, HubSettings, ImportConfig, ImportError, Imported, Retry};
use fovea_telemetry::LogFormat;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;

/// Timeout between two pieces of an answer.
const SILENCE: Duration = Duration::from_millis(500);

/// Timeout of every condition that a test waits for, even on a busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Retries with short waits.
pub(crate) const RETRY: Retry = Retry {
    max_idle_tries: 3,
    max_tries: 10,
    first_wait: Duration::from_millis(2),
    longest_wait: Duration::from_millis(10),
    longest_retry_after: Duration::from_secs(2),
};

pub(crate) fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/blip")
}

/// The fake hub and a home folder.
pub(crate) struct Setting {
    pub(crate) hub: Hub,
    pub(crate) home: TempDir,
    pub(crate) variables: Vec<(&'static str, OsString)>,
    pub(crate) config: ImportConfig,
}

impl Setting {
    pub(crate) async fn new() -> Self {
        let (hub, home) = (Hub::start().await, tempfile::tempdir().unwrap());
        let variables = vec![
            ("HF_ENDPOINT", format!("http://{}", hub.front).into()),
            ("HF_HOME", home.path().into()),
        ];
        let config = ImportConfig {
            repo: REPO.parse().unwrap(),
            revision: "main".parse().unwrap(),
            to: None,
            upload: None,
            hub_ca_file: None,
            s3_ca_file: None,
            commit_file: None,
            log_format: LogFormat::Text,
        };
        Self {
            hub,
            home,
            variables,
            config,
        }
    }

    pub(crate) fn set(&mut self, name: &'static str, value: &str) {
        self.variables.retain(|(known, _)| *known != name);
        self.variables.push((name, value.into()));
    }

    pub(crate) async fn import(&self) -> Result<Imported, ImportError> {
        let variable = |name: &str| {
            let found = self.variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| value.clone())
        };
        let settings = HubSettings::from_environment(variable)?.with_patience(SILENCE, RETRY);
        import::run(&self.config, &settings).await
    }

    /// The error of an import that must fail.
    pub(crate) async fn refusal(&self) -> String {
        self.import().await.unwrap_err().to_string()
    }

    /// Asserts that an import fails with an error that has all words; returns the error.
    pub(crate) async fn refused(&self, words: &[&str]) -> String {
        let error = self.refusal().await;
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{words:?} in {error}"
        );
        error
    }

    /// The repository's part of the cache.
    pub(crate) fn cache(&self) -> PathBuf {
        self.home.path().join("hub/models--Salesforce--blip-tiny")
    }

    /// Paths of a file's blob in the cache: complete, and while downloading.
    pub(crate) fn blob(&self, digest: &str) -> [PathBuf; 2] {
        let blobs = self.cache().join("blobs");
        [digest, &format!("{digest}.incomplete")].map(|name| blobs.join(name))
    }
}

/// The names in a folder.
pub(crate) fn names(dir: &Path) -> Vec<String> {
    let entries = dir.read_dir().unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Waits until the condition holds.
pub(crate) async fn until(condition: impl Fn() -> bool) {
    let looking = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .expect("it came to hold");
}
