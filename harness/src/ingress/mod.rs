//! An ingress for a cluster with nodes: Contour reads Ingresses and `HTTPRoutes`, and configures Envoy. Both
//! run on the machine, not on a node, so that browsers and curl reach them and they reach pods.
//!
//! Envoy is 1.40, newer than the 1.38 that this version of Contour supports officially.
//! `harness/tests/node/ingress.rs` tests them together (Ingress and `HTTPRoute`, each with TLS).

mod flags;
mod objects;

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::cluster::{Authority, ClusterError};
use crate::guard::Guardian;
use crate::node::{Cluster, command};
use crate::ports;
use crate::process::{Process, Program};
use flags::Ports;
use fovea_setup::cache::Cache;
use fovea_setup::{envoy, go::CONTOUR, ingress_crds};

/// Class of the Ingresses and Gateways that this ingress serves.
pub const CLASS: &str = "contour";
pub const NAMESPACE: &str = "projectcontour";
/// Name of the Gateway. An `HTTPRoute` names it, with [`NAMESPACE`], as its parent.
pub const GATEWAY: &str = "contour";
/// The Gateway's certificate is valid for names below this domain. An Ingress has its own certificate.
pub const DOMAIN: &str = "gateway.example.com";

/// Contour's default port, used if it is free.
const HTTP: u16 = 8080;
const HTTPS: u16 = 8443;

/// Takes some seconds on an idle machine with two cores.
const READY: Duration = Duration::from_mins(2);

/// A running ingress. It ends with its cluster.
#[derive(Debug)]
pub struct Ingress {
    http: SocketAddr,
    https: SocketAddr,
    authority: String,
    contour: Process,
    envoy: Process,
}

impl Ingress {
    /// Starts an ingress, and waits until its Gateway accepts routes.
    pub(crate) async fn start(cluster: &Cluster) -> Result<Self, ClusterError> {
        let guardian = cluster.guardian();
        let plane = &cluster.control_plane;
        let authority = Authority::new("fovea-dev-ingress")?;
        let files = Files::write(&authority, &guardian.scratch().join("ingress"))?;
        let http = free_at(cluster.gateway(), HTTP)?;
        let https = free_at(cluster.gateway(), HTTPS)?;
        let crds = ingress_crds::folder(&Cache::from_env()?)?;
        objects::apply(plane, &authority, [http, https], &crds).await?;

        let kubeconfig = plane.kubeconfig_of("contour", "contour", Some("system:masters"))?;
        let (contour, envoy) = ports::retrying(ports::free, async |ports| {
            let ports = Ports::from(ports);
            let contour = start_contour(guardian, &files, &kubeconfig, ports, http.ip()).await?;
            let envoy = start_envoy(guardian, &files, ports).await?;
            Ok((contour, envoy))
        })
        .await?;
        objects::wait_for_gateway(plane).await?;
        Ok(Self {
            http: http.into(),
            https: https.into(),
            authority: authority.certificate,
            contour,
            envoy,
        })
    }

    /// Address for HTTP. Host names do not resolve: use `curl --connect-to`, or reqwest's `resolve`.
    pub fn http(&self) -> SocketAddr {
        self.http
    }

    pub fn https(&self) -> SocketAddr {
        self.https
    }

    /// The certificate authority of the certificate for [`DOMAIN`], as PEM.
    pub fn authority(&self) -> &str {
        &self.authority
    }

    /// Contour's process, for fault tests.
    pub fn contour(&mut self) -> &mut Process {
        &mut self.contour
    }

    /// Envoy's process, for fault tests; its log has a line for each request.
    pub fn envoy(&mut self) -> &mut Process {
        &mut self.envoy
    }
}

/// Certificates by which Contour and Envoy trust each other.
struct Files {
    folder: PathBuf,
}

impl Files {
    fn write(authority: &Authority, folder: &Path) -> Result<Self, ClusterError> {
        std::fs::create_dir_all(folder).map_err(ClusterError::io("the ingress' folder"))?;
        let files = Self {
            folder: folder.to_path_buf(),
        };
        // The name that `contour bootstrap` expects.
        let contour = authority.server("contour", None, vec!["contour".to_owned()])?;
        let envoy = authority.client("envoy", None)?;
        for (name, pem) in [
            ("ca.crt", &authority.certificate),
            ("contour.crt", &contour.certificate),
            ("contour.key", &contour.key),
            ("envoy.crt", &envoy.certificate),
            ("envoy.key", &envoy.key),
        ] {
            // Only the owner can read the scratch folder.
            files.put(name, pem)?;
        }
        Ok(files)
    }

    fn put(&self, name: &str, text: &str) -> Result<(), ClusterError> {
        std::fs::write(self.folder.join(name), text)
            .map_err(ClusterError::io(format!("writing {name}")))
    }

    fn path(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

async fn start_contour(
    guardian: &Guardian,
    files: &Files,
    kubeconfig: &Path,
    ports: Ports,
    address: &Ipv4Addr,
) -> Result<Process, ClusterError> {
    files.put("contour.json", &flags::config(ports))?;
    let program = Program::new("contour", CONTOUR.built(&Cache::from_env()?, "contour")?)
        .args(flags::contour(files, kubeconfig, ports, *address))
        .grace(Duration::ZERO);
    let contour = Process::start_in(guardian, program).await?;
    let health = format!("http://127.0.0.1:{}/healthz", ports.health);
    contour.wait_ready_http(&health, READY).await?;
    Ok(contour)
}

async fn start_envoy(
    guardian: &Guardian,
    files: &Files,
    ports: Ports,
) -> Result<Process, ClusterError> {
    let cache = Cache::from_env()?;
    let contour = CONTOUR.built(&cache, "contour")?.display().to_string();
    let bootstrap = flags::bootstrap(files, ports);
    let words: Vec<&str> = std::iter::once(contour.as_str())
        .chain(bootstrap.iter().map(String::as_str))
        .collect();
    command::run(&words).await?;
    let program = Program::new("envoy", envoy::built(&cache)?)
        .args(flags::envoy(files))
        .grace(Duration::ZERO);
    let envoy = Process::start_in(guardian, program).await?;
    let ready = format!("http://127.0.0.1:{}/ready", ports.stats);
    envoy.wait_ready_http(&ready, READY).await?;
    Ok(envoy)
}

/// `port` of `address` if it is free, else another free port: another process may listen on all addresses
/// of the machine.
fn free_at(address: Ipv4Addr, port: u16) -> Result<SocketAddrV4, ClusterError> {
    if TcpListener::bind((address, port)).is_ok() {
        return Ok(SocketAddrV4::new(address, port));
    }
    let [port] = ports::free()?;
    Ok(SocketAddrV4::new(address, port))
}

impl Cluster {
    /// Starts an ingress for this cluster, at most one. It serves Ingresses of the class [`CLASS`] and
    /// `HTTPRoutes` of the Gateway [`GATEWAY`] in [`NAMESPACE`].
    ///
    /// Fails if `fovea-setup --only ingress` has not run.
    pub async fn start_ingress(&self) -> Result<Ingress, ClusterError> {
        Ingress::start(self).await
    }
}
