//! The cluster, the store and the programs that are timed.

use crate::Arguments;
use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use fovea_harness::{ControlPlane, ControlPlaneOptions, Minio, Process, Program, ports};
use fovea_tests::{measure, operated};
use secrecy::ExposeSecret;
use std::path::{Path, PathBuf};
use std::time::Duration;

const BUCKET: &str = "fovea";
const READY: Duration = Duration::from_mins(1);
/// An upload's size, in bytes.
const PICTURE_BYTES: usize = 91 * 1024;
const BOUNDARY: &str = "fovea-bench";

/// A cluster, a store and the API; all end when this is dropped.
pub(crate) struct Setting {
    pub(crate) control_plane: ControlPlane,
    pub(crate) minio: Minio,
    pub(crate) api: Service,
    pub(crate) peer: Service,
    pub(crate) scratch: tempfile::TempDir,
    pub(crate) http: reqwest::Client,
    program: PathBuf,
}

pub(crate) struct Service {
    pub(crate) process: Process,
    pub(crate) url: String,
}

impl Setting {
    pub(crate) async fn start(arguments: &Arguments) -> anyhow::Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        eprintln!(
            "starting etcd, kube-apiserver, kube-controller-manager, MinIO, the api and its peer"
        );
        let (control_plane, minio) = tokio::try_join!(
            ControlPlane::start(ControlPlaneOptions::default()),
            Minio::start()
        )?;
        minio.create_bucket(BUCKET)?;
        operated::install(&control_plane.client().await?).await?;
        let api = api(&arguments.api, &control_plane, &minio, "default").await?;
        let peer = peer(&arguments.python, &minio).await?;
        let setting = Self {
            control_plane,
            minio,
            api,
            peer,
            scratch: tempfile::tempdir()?,
            http: reqwest::Client::builder().no_proxy().build()?,
            program: arguments.api.clone(),
        };
        setting.write_bodies()?;
        Ok(setting)
    }

    /// Another api, for the jobs of `namespace`.
    pub(crate) async fn another_api(&self, namespace: &str) -> anyhow::Result<Service> {
        api(&self.program, &self.control_plane, &self.minio, namespace).await
    }

    /// The api of another build.
    pub(crate) async fn another_build(&self, program: &Path) -> anyhow::Result<Service> {
        api(program, &self.control_plane, &self.minio, "default").await
    }

    /// A file with a picture, as it is.
    pub(crate) fn raw_body(&self) -> PathBuf {
        self.scratch.path().join("picture.jpg")
    }

    /// The same as a form's field `file`, and another field.
    pub(crate) fn form_body(&self) -> PathBuf {
        self.scratch.path().join("form")
    }

    pub(crate) fn form_type() -> String {
        format!("multipart/form-data; boundary={BOUNDARY}")
    }

    /// A file with the certificate and the key of the cluster's administrator.
    pub(crate) async fn identity(&self) -> anyhow::Result<PathBuf> {
        let config = self.control_plane.config().await?;
        let mut pem = Vec::new();
        let auth = &config.auth_info;
        let key = auth.client_key_data.as_ref();
        let parts = [
            auth.client_certificate_data.as_deref(),
            key.map(ExposeSecret::expose_secret),
        ];
        for part in parts {
            pem.extend(BASE64_STANDARD.decode(part.context("the kubeconfig names no key")?)?);
        }
        let path = self.scratch.path().join("identity.pem");
        std::fs::write(&path, pem)?;
        Ok(path)
    }

    fn write_bodies(&self) -> anyhow::Result<()> {
        let pictures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/demo/pictures");
        let mut picture = std::fs::read(pictures.join("black-heart.jpg"))?;
        // Decoders ignore what follows a JPEG's end.
        picture.resize(PICTURE_BYTES, 0);
        std::fs::write(self.raw_body(), &picture)?;
        let mut form = format!(
            "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.jpg\"\r\nContent-Type: image/jpeg\r\n\r\n"
        )
        .into_bytes();
        form.extend_from_slice(&picture);
        form.extend_from_slice(format!("\r\n--{BOUNDARY}--\r\n").as_bytes());
        Ok(std::fs::write(self.form_body(), form)?)
    }
}

impl Service {
    /// Starts one, and waits until it answers a request for `path`.
    async fn start(program: Program, port: u16, path: &str) -> anyhow::Result<Self> {
        let process = Process::start(program).await?;
        let url = format!("http://127.0.0.1:{port}");
        let ready = format!("{url}/{path}");
        process.wait_ready_http(&ready, READY).await?;
        Ok(Self { process, url })
    }

    pub(crate) fn memory_bytes(&self) -> anyhow::Result<u64> {
        measure::memory_bytes(self.process.pid())
    }

    /// Processor time so far, its workers' included, in milliseconds.
    pub(crate) fn processor_ms(&self) -> anyhow::Result<f64> {
        measure::processor_ms(self.process.pid())
    }
}

async fn api(
    program: &Path,
    control_plane: &ControlPlane,
    minio: &Minio,
    namespace: &str,
) -> anyhow::Result<Service> {
    let [port] = ports::free()?;
    let kubeconfig = control_plane.kubeconfig();
    let program = Program::new("fovea-api", program)
        .arg(format!("--listen=127.0.0.1:{port}"))
        .arg(format!("--namespace={namespace}"))
        .env("KUBECONFIG", kubeconfig.display().to_string())
        .env("FOVEA_S3_ENDPOINT", minio.endpoint())
        .env("FOVEA_S3_BUCKET", BUCKET)
        .env("AWS_ACCESS_KEY_ID", minio.access_key())
        .env("AWS_SECRET_ACCESS_KEY", minio.secret_key());
    Service::start(program, port, "readyz").await
}

async fn peer(python: &Path, minio: &Minio) -> anyhow::Result<Service> {
    let [port] = ports::free()?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("bench/api");
    let workers = std::thread::available_parallelism()?;
    let program = Program::new("peer", python)
        .args(["-m", "uvicorn", "peer:app", "--no-access-log"])
        .arg("--log-level=warning")
        .arg(format!("--app-dir={}", folder.display()))
        .arg(format!("--port={port}"))
        .arg(format!("--workers={workers}"))
        .env("S3_ENDPOINT", minio.endpoint())
        .env("S3_BUCKET", BUCKET)
        .env("AWS_ACCESS_KEY_ID", minio.access_key())
        .env("AWS_SECRET_ACCESS_KEY", minio.secret_key());
    Service::start(program, port, "presigned").await
}
