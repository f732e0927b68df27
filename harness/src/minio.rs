//! MinIO on a free port, by default on loopback, with one drive in the scratch folder.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;

use crate::cluster::ClusterError;
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
    pub(crate) guardian: Guardian,
    pub(crate) process: Process,
    pub(crate) endpoint: String,
    pub(crate) access_key: String,
    pub(crate) secret_key: String,
    pub(crate) data: PathBuf,
}

impl Minio {
    pub async fn start() -> Result<Self, ClusterError> {
        Self::start_at(Ipv4Addr::LOCALHOST).await
    }

    /// Starts MinIO on an address that pods can reach, such as [`crate::Cluster::gateway`].
    pub async fn start_at(address: Ipv4Addr) -> Result<Self, ClusterError> {
        ports::retrying(ports::free, async |ports| {
            Self::start_on(address, ports).await
        })
        .await
    }

    async fn start_on(address: Ipv4Addr, [port, console]: [u16; 2]) -> Result<Self, ClusterError> {
        let path = MINIO.built(&Cache::from_env()?, "minio")?;
        let guardian = Guardian::start().await?;
        let data = guardian.scratch().join("data");
        std::fs::create_dir(&data).map_err(ClusterError::io("creating MinIO's folder"))?;
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let (access_key, secret_key) = (random(), random());
        let program = Program::new("minio", path)
            .arg("server")
            .arg(format!("--address={address}:{port}"))
            .arg(format!("--console-address=127.0.0.1:{console}"))
            .arg(data.display().to_string())
            .env("MINIO_ROOT_USER", &access_key)
            .env("MINIO_ROOT_PASSWORD", &secret_key)
            .env("MINIO_BROWSER", "off")
            // Disables the check for newer versions.
            .env("MINIO_UPDATE", "off")
            .grace(Duration::ZERO);
        let process = Process::start_in(&guardian, program).await?;
        let endpoint = format!("http://{address}:{port}");
        wait_ready(&process, &endpoint).await?;
        Ok(Self {
            guardian,
            process,
            endpoint,
            access_key,
            secret_key,
            data,
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
async fn wait_ready(process: &Process, endpoint: &str) -> Result<(), ClusterError> {
    crate::tls::use_ring();
    let client = reqwest::Client::new();
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
            Minio::start_on(Ipv4Addr::LOCALHOST, ports).await
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
