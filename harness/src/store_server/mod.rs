//! The object stores that Fovea is tested on, each a plain process on loopback (Ceph: three), with its data in the
//! scratch folder.

mod ceph;
mod programs;

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::ClusterError;
use crate::guard::Guardian;
use crate::minio::Minio;
use crate::ports::{self, PORT_TAKEN};
use crate::process::{Process, Program};
use fovea_setup::cache::Cache;
pub use fovea_setup::stores::ObjectStore;

/// Java takes some seconds, Ceph half a minute, on a busy machine more.
const READY: Duration = Duration::from_mins(3);
/// Ports that a server may use beside its first, which serves S3: SeaweedFS has most.
const PORTS: usize = 8;

/// What Fovea's programs need to know about a store.
pub trait ServesS3: Send + Sync {
    /// Base URL, such as `http://127.0.0.1:40123`; a bucket is the first part of the path, the region `us-east-1`.
    fn endpoint(&self) -> &str;
    fn access_key(&self) -> &str;
    fn secret_key(&self) -> &str;
    /// Stops it; returns when its processes and files are removed.
    fn stop(self) -> impl Future<Output = Result<(), ClusterError>> + Send;
}

/// A running store. It ends when this is dropped.
#[derive(Debug)]
pub struct StoreServer {
    store: ObjectStore,
    guardian: Guardian,
    /// Answers requests.
    serving: Process,
    /// What the serving one needs.
    behind: Vec<Process>,
    endpoint: String,
    access_key: String,
    secret_key: String,
    data: PathBuf,
}

/// What a program of a store is started with.
struct Place {
    cache: Cache,
    /// An empty folder for its objects.
    data: PathBuf,
    /// An empty folder for everything else.
    config: PathBuf,
    ports: [u16; PORTS],
    access_key: String,
    secret_key: String,
}

impl Place {
    fn port(&self) -> u16 {
        self.ports[0]
    }

    fn write(&self, name: &str, text: &str) -> Result<PathBuf, ClusterError> {
        let path = self.config.join(name);
        std::fs::write(&path, text).map_err(ClusterError::io(format!("writing {name}")))?;
        Ok(path)
    }
}

impl StoreServer {
    /// Starts a store without buckets, and waits until it answers.
    pub async fn start(store: ObjectStore) -> Result<Self, ClusterError> {
        if store == ObjectStore::Minio {
            return Minio::start().await.map(Self::from);
        }
        ports::retrying(ports::free, async |ports| {
            Box::pin(Self::start_on(store, ports)).await
        })
        .await
    }

    async fn start_on(store: ObjectStore, ports: [u16; PORTS]) -> Result<Self, ClusterError> {
        let guardian = Guardian::start().await?;
        let folder = |name: &str| {
            let path = guardian.scratch().join(name);
            let made = std::fs::create_dir(&path);
            made.map_err(ClusterError::io(format!("creating {}", path.display())))?;
            Ok::<_, ClusterError>(path)
        };
        let random = || uuid::Uuid::new_v4().simple().to_string();
        let place = Place {
            cache: Cache::from_env()?,
            data: folder("data")?,
            config: folder("config")?,
            ports,
            access_key: random(),
            secret_key: random(),
        };
        let (serving, behind) = if store == ObjectStore::CephRgw {
            ceph::start(&guardian, &place).await?
        } else {
            let program = programs::program(store, &place)?.grace(Duration::ZERO);
            (Process::start_in(&guardian, program).await?, Vec::new())
        };
        let endpoint = format!("http://{}:{}", Ipv4Addr::LOCALHOST, place.port());
        let server = Self {
            store,
            guardian,
            serving,
            behind,
            endpoint,
            access_key: place.access_key,
            secret_key: place.secret_key,
            data: place.data,
        };
        server.wait_ready().await?;
        Ok(server)
    }

    /// Any answer but a server's error will do: most refuse an anonymous request.
    async fn wait_ready(&self) -> Result<(), ClusterError> {
        crate::tls::use_ring();
        let client = reqwest::Client::new();
        let process = &self.serving;
        let listening = process.wait_ready("S3 to be served", READY, || async {
            if process.log_tail().contains(PORT_TAKEN) {
                return Ok(false);
            }
            match client.get(&self.endpoint).send().await {
                Ok(answer) if answer.status().is_server_error() => {
                    Err(format!("GET / answers {}", answer.status()))
                }
                Ok(_) => Ok(true),
                Err(error) => Err(error.to_string()),
            }
        });
        if listening.await? {
            return Ok(());
        }
        let log = process.log_tail();
        Err(ClusterError::PortTaken { log })
    }

    pub fn store(&self) -> ObjectStore {
        self.store
    }

    /// The folder that holds its objects.
    pub fn data(&self) -> &Path {
        &self.data
    }

    /// The process that answers requests, for fault tests.
    pub fn serving(&self) -> &Process {
        &self.serving
    }

    /// Every process of it.
    pub fn processes(&self) -> impl Iterator<Item = &Process> {
        self.behind.iter().chain([&self.serving])
    }
}

impl From<Minio> for StoreServer {
    fn from(minio: Minio) -> Self {
        let Minio {
            guardian,
            process,
            endpoint,
            access_key,
            secret_key,
            data,
        } = minio;
        Self {
            store: ObjectStore::Minio,
            guardian,
            serving: process,
            behind: Vec::new(),
            endpoint,
            access_key,
            secret_key,
            data,
        }
    }
}

impl ServesS3 for StoreServer {
    fn endpoint(&self) -> &str {
        &self.endpoint
    }

    fn access_key(&self) -> &str {
        &self.access_key
    }

    fn secret_key(&self) -> &str {
        &self.secret_key
    }

    async fn stop(self) -> Result<(), ClusterError> {
        Ok(self.guardian.stop().await?)
    }
}

impl ServesS3 for Minio {
    fn endpoint(&self) -> &str {
        Self::endpoint(self)
    }

    fn access_key(&self) -> &str {
        Self::access_key(self)
    }

    fn secret_key(&self) -> &str {
        Self::secret_key(self)
    }

    async fn stop(self) -> Result<(), ClusterError> {
        Self::stop(self).await
    }
}

/// A class of a store's jars.
fn java(place: &Place, store: ObjectStore, class: &str) -> Program {
    let jars = store.jars(&place.cache).unwrap_or_default();
    Program::new(store.name(), "java").args(["-cp", &jars.join("*").display().to_string(), class])
}
