//! What differs between the instances that tests start.

use super::RIGHTS;
use std::path::PathBuf;

#[derive(Clone, Debug)]
pub struct Options {
    pub flags: Vec<String>,
    pub env: Vec<(String, String)>,
    /// Concurrent requests of the runner.
    pub slots: u32,
    /// MinIO serves https with an authority of its own.
    pub private_store: bool,
    /// `None` for the program beside this one.
    pub program: Option<PathBuf>,
    pub api_server_flags: Vec<String>,
    /// A folder with another build's definitions as `*.yaml`; `None` for this build's.
    pub definitions: Option<PathBuf>,
    /// The operator's roles: manifests below the checkout.
    pub rights: [&'static str; 2],
}

impl Default for Options {
    fn default() -> Self {
        Self {
            flags: Vec::new(),
            env: Vec::new(),
            slots: 8,
            private_store: false,
            program: None,
            api_server_flags: Vec::new(),
            definitions: None,
            rights: RIGHTS,
        }
    }
}

impl Options {
    pub fn flags<const N: usize>(flags: [&str; N]) -> Self {
        Self {
            flags: flags.map(str::to_owned).to_vec(),
            ..Self::default()
        }
    }

    /// A lease that a test can wait out.
    #[must_use]
    pub fn short_lease(mut self) -> Self {
        let flags = [
            "--lease-duration-ms=6000",
            "--lease-renew-deadline-ms=5000",
            "--lease-retry-period-ms=500",
        ];
        self.flags.extend(flags.map(str::to_owned));
        self
    }
}
