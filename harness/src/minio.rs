//! MinIO on a free port, by default on loopback, with one drive in the scratch folder; by https with an authority of
//! its own where a test wants that.

use std::io;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::StatusCode;

use crate::cluster::{Authority, ClusterError};
use crate::guard::Guardian;
use crate::ports::{self, PORT_TAKEN};
use crate::process::{Process, Program};
use fovea_setup::cache::Cache;
use fovea_setup::go::MINIO;

/// Takes less than a second on an idle machine.
const READY: Duration = Duration::from_mins(1);

/// A running MinIO. It ends when this is dropped; [`Minio::stop`] also waits for it.
#[derive(Debug)]
pub struct Minio {
    guardian: Guardian,
    process: Process,
    endpoint: String,
    access_key: String,
    secret_key: String,
    data: PathBuf,
    ca_file: Option<PathBuf>,
}

impl Minio {
    pub async fn start() -> Result<Self, ClusterError> {
        Self::start_at(Ipv4Addr::LOCALHOST).await
    }

    /// As [`Minio::start`], with more of its environment variables, such as `MINIO_SITE_REGION`.
    pub async fn start_with(env: &[(&str, &str)]) -> Result<Self, ClusterError> {
        ports::retrying(ports::free, async |ports| {
            Self::start_on(Ipv4Addr::LOCALHOST, ports, false, env).await
        })
        .await
    }

    /// Starts MinIO on an address that pods can reach, such as [`crate::Cluster::gateway`].
    pub async fn start_at(address: Ipv4Addr) -> Result<Self, ClusterError> {
        ports::retrying(ports::free, async |ports| {
            Self::start_on(address, ports, false, &[]).await
        })
        .await
    }

    /// The same by https, with a certificate of an authority that nobody else knows: see [`Minio::ca_file`].
    pub async fn start_private_at(address: Ipv4Addr) -> Result<Self, ClusterError> {
        ports::retrying(ports::free, async |ports| {
            Self::start_on(address, ports, true, &[]).await
        })
        .await
    }

    async fn start_on(
        address: Ipv4Addr,
        [port, console]: [u16; 2],
        private: bool,
        env: &[(&str, &str)],
    ) -> Result<Self, ClusterError> {
        let path = MINIO.built(&Cache::from_env()?, "minio")?;
        let guardian = Guardian::start().await?;
        let data = guardian.scratch().join("data");
        std::fs::create_dir(&data).map_err(ClusterError::io("creating MinIO's folder"))?;
        let certificates = guardian.scratch().join("certificates");
        std::fs::create_dir(&certificates).map_err(ClusterError::io(
            "creating the folder of MinIO's certificates",
        ))?;
        let ca_file = private.then(|| guardian.scratch().join("ca.crt"));
        if let Some(ca_file) = &ca_file {
            let authority = Authority::new("fovea-dev-minio")?;
            let served = authority.server("minio", None, vec![address.to_string()])?;
            for (path, text) in [
                (certificates.join("public.crt"), served.certificate),
                (certificates.join("private.key"), served.key),
                (ca_file.clone(), authority.certificate),
            ] {
                std::fs::write(path, text)
                    .map_err(ClusterError::io("writing MinIO's certificate"))?;
            }
        }
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let (access_key, secret_key) = (random(), random());
        let program = Program::new("minio", path)
            .arg("server")
            .arg(format!("--certs-dir={}", certificates.display()))
            .arg(format!("--address={address}:{port}"))
            .arg(format!("--console-address=127.0.0.1:{console}"))
            .arg(data.display().to_string())
            .env("MINIO_ROOT_USER", &access_key)
            .env("MINIO_ROOT_PASSWORD", &secret_key)
            .env("MINIO_BROWSER", "off")
            // Disables the check for newer versions.
            .env("MINIO_UPDATE", "off")
            .grace(Duration::ZERO);
        let more = env.iter();
        let program = more.fold(program, |program, (name, value)| program.env(*name, *value));
        let process = Process::start_in(&guardian, program).await?;
        let scheme = if private { "https" } else { "http" };
        let endpoint = format!("{scheme}://{address}:{port}");
        wait_ready(&process, &endpoint, ca_file.as_deref()).await?;
        Ok(Self {
            guardian,
            process,
            endpoint,
            access_key,
            secret_key,
            data,
            ca_file,
        })
    }

    /// Base URL, such as `http://127.0.0.1:40123`. The region is `us-east-1`; a bucket is the first part of
    /// the path.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    pub fn access_key(&self) -> &str {
        &self.access_key
    }

    pub fn secret_key(&self) -> &str {
        &self.secret_key
    }

    /// PEM file with the authority of its certificate; `None` if it serves plain http.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Creates an empty bucket.
    ///
    /// On a single drive a bucket is a folder, so users of this crate need no S3 client.
    pub fn create_bucket(&self, name: &str) -> Result<(), ClusterError> {
        let what = format!("creating the bucket {name}");
        std::fs::create_dir(self.data.join(name)).map_err(ClusterError::io(what))
    }

    /// Removes a bucket and everything in it.
    pub fn delete_bucket(&self, name: &str) -> Result<(), ClusterError> {
        let what = format!("deleting the bucket {name}");
        std::fs::remove_dir_all(self.data.join(name)).map_err(ClusterError::io(what))
    }

    /// MinIO's process, for fault tests.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Stops MinIO; returns when its process and files are removed.
    pub async fn stop(self) -> Result<(), ClusterError> {
        Ok(self.guardian.stop().await?)
    }
}

/// Works around MinIO's health check, which reports ready while S3 still answers 503
/// `XMinioServerNotInitialized`; an anonymous request gets 403 only after that. Also, MinIO may keep running
/// when its port is taken, with a line in its log.
async fn wait_ready(
    process: &Process,
    endpoint: &str,
    ca_file: Option<&Path>,
) -> Result<(), ClusterError> {
    crate::tls::use_ring();
    let client = client(ca_file)?;
    let listening = process.wait_ready("S3 to be served", READY, || async {
        if process.log_tail().contains(PORT_TAKEN) {
            return Ok(false);
        }
        match client.get(endpoint).send().await {
            Ok(answer) if answer.status() == StatusCode::FORBIDDEN => Ok(true),
            Ok(answer) => Err(format!("GET / answers {}", answer.status())),
            Err(error) => Err(error.to_string()),
        }
    });
    if listening.await? {
        Ok(())
    } else {
        Err(ClusterError::PortTaken {
            log: process.log_tail(),
        })
    }
}

fn client(ca_file: Option<&Path>) -> Result<reqwest::Client, ClusterError> {
    let mut builder = reqwest::Client::builder();
    if let Some(path) = ca_file {
        let pem = std::fs::read(path).map_err(ClusterError::io("reading MinIO's authority"))?;
        let authority = reqwest::Certificate::from_pem(&pem);
        let authority = authority.map_err(io::Error::other);
        let authority = authority.map_err(ClusterError::io("MinIO's authority"))?;
        builder = builder.tls_certs_only([authority]);
    }
    let client = builder.build().map_err(io::Error::other);
    client.map_err(ClusterError::io("a client of MinIO"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[tokio::test]
    async fn a_taken_port_is_replaced_by_another() {
        let somebody = TcpListener::bind("127.0.0.1:0").unwrap();
        let taken = somebody.local_addr().unwrap().port();
        let mut choices = vec![[taken, ports::free::<1>().unwrap()[0]]].into_iter();
        let choose = || choices.next().map_or_else(ports::free, Ok);
        let minio = ports::retrying(choose, async |ports| {
            Minio::start_on(Ipv4Addr::LOCALHOST, ports, false, &[]).await
        })
        .await
        .unwrap();
        assert!(
            !minio.endpoint().ends_with(&format!(":{taken}")),
            "{}",
            minio.endpoint()
        );
    }
}
