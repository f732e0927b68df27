//! The stack that both tenants share, and receivers of their callbacks.

use super::kind::Size;
use super::submitted::create_secret;
use super::tenant::Tenant;
use crate::receiver::{Authority, Receiver};
use anyhow::{Context as _, Result};
use fovea_harness::{Stack, StackOptions};
use kube::Client;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A port on which nobody listens.
const CLOSED_PORT: u16 = 9;
/// Largest picture that the API accepts by default.
pub(super) const MAX_UPLOAD_BYTES: usize = 10 << 20;

pub struct Setting {
    pub stack: Stack,
    pub(super) quiet: Tenant,
    pub(super) size: Size,
    pub(super) client: Client,
    /// Receives the quiet tenant's callbacks.
    pub(super) receiver: Receiver,
    /// Receives the hostile ones, and never answers.
    pub(super) hanging: Receiver,
    address: SocketAddr,
    _authority: Authority,
    hostiles: AtomicUsize,
}

impl Setting {
    /// Starts everything. `programs`: folder of another build's programs.
    pub async fn start(size: Size, programs: Option<PathBuf>) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let authority = Authority::new()?;
        let receiver = Receiver::start(&authority).await?;
        let hanging = Receiver::start(&authority).await?;
        let allow =
            [receiver.port, hanging.port, CLOSED_PORT].map(|port| format!("localhost:{port}"));
        let mut operator_flags = vec![
            format!("--callback-allow={}", allow.join(",")),
            format!("--callback-ca-file={}", authority.file().display()),
        ];
        let mut api_flags = vec!["--auth=kubernetes".to_owned()];
        let flags = |flags: &[&str]| {
            flags
                .iter()
                .map(|&flag| flag.to_owned())
                .collect::<Vec<_>>()
        };
        match size {
            Size::Small => {
                operator_flags.extend(flags(&[
                    "--max-finished-jobs=200",
                    "--max-finished-jobs-per-namespace=100",
                ]));
                api_flags.extend(flags(&[
                    "--memory-bytes=50331648",
                    "--upload-memory-bytes=25165824",
                    "--max-downloads=16",
                    "--max-waiters=64",
                ]));
            }
            Size::Full => operator_flags.extend(flags(&[
                "--max-finished-jobs=2500",
                "--max-finished-jobs-per-namespace=2000",
            ])),
        }
        let options = StackOptions {
            operator_flags,
            api_flags,
            env: vec![("RUST_LOG".to_owned(), "warn".to_owned())],
            // The usual soft limit, which a program can raise.
            soft_open_files: Some(1024),
            programs,
            ..StackOptions::default()
        };
        let stack = Stack::start(options, |line| eprintln!("{line}")).await?;
        let client = stack.control_plane.client().await?;
        let address = stack
            .api_url()
            .strip_prefix("http://")
            .context("a URL")?
            .parse()?;
        let quiet = Tenant::create(&client, address, "quiet").await?;
        create_secret(&quiet).await?;
        Ok(Self {
            stack,
            quiet,
            size,
            client,
            receiver,
            hanging,
            address,
            _authority: authority,
            hostiles: AtomicUsize::new(0),
        })
    }

    /// A new hostile tenant.
    pub(super) async fn hostile(&self) -> Result<Tenant> {
        let number = self.hostiles.fetch_add(1, Ordering::SeqCst);
        let tenant =
            Tenant::create(&self.client, self.address, &format!("hostile-{number}")).await?;
        create_secret(&tenant).await?;
        Ok(tenant)
    }

    /// Size of a hostile upload: a few are as many bytes as all uploads may have.
    pub(super) fn upload_bytes(&self) -> usize {
        match self.size {
            Size::Small => 4 << 20,
            Size::Full => MAX_UPLOAD_BYTES,
        }
    }

    pub(super) fn hanging_url(&self) -> String {
        format!("https://localhost:{}/hostile/hang", self.hanging.port)
    }

    pub(super) fn closed_url() -> String {
        format!("https://localhost:{CLOSED_PORT}/hostile")
    }
}
