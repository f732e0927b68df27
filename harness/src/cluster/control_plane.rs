//! etcd, kube-apiserver and kube-controller-manager on free ports, on loopback or on an address that nodes
//! can reach.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use k8s_openapi::api::core::v1::ServiceAccount;
use kube::{Api, Client};
use tokio::sync::OnceCell;

use super::certificates::{Identity, Pki};
use super::flags::{self, Ports};
use super::{ClusterError, Network, kubeconfig};
use crate::guard::Guardian;
use crate::ports;
use crate::process::{Process, Program};
use fovea_setup::cache::Cache;
use fovea_setup::go::{ETCD, KUBERNETES, KUBERNETES_CONTROLLERS};

/// Takes 4 s on an idle machine with two cores.
const READY: Duration = Duration::from_secs(90);

/// etcd's folder below the scratch folder.
pub(super) const ETCD_DATA: &str = "etcd";

/// Path of the audit log below the scratch folder.
const AUDIT_LOG: &str = "audit.jsonl";

#[derive(Clone, Debug)]
pub struct ControlPlaneOptions {
    /// Whether to run kube-controller-manager, which does garbage collection and handles deleted namespaces,
    /// service accounts and Deployments. Without it the start is faster.
    pub controller_manager: bool,
    /// Whether kube-apiserver writes a line for each request to [`ControlPlane::audit_log`].
    pub audit: bool,
    /// Additional flags of kube-apiserver; of several with one name the last one counts.
    pub api_server_flags: Vec<String>,
    pub controller_manager_flags: Vec<String>,
    pub network: Network,
}

impl Default for ControlPlaneOptions {
    fn default() -> Self {
        Self {
            controller_manager: true,
            audit: false,
            api_server_flags: Vec::new(),
            controller_manager_flags: Vec::new(),
            network: Network::default(),
        }
    }
}

/// A kubelet's credentials and authorities; removed with the control plane.
#[derive(Debug)]
pub(crate) struct KubeletFiles {
    pub(crate) kubeconfig: PathBuf,
    pub(crate) certificate: PathBuf,
    pub(crate) key: PathBuf,
    pub(crate) authority: PathBuf,
}

/// A running control plane. It ends when this is dropped; [`ControlPlane::stop`] also waits for it.
#[derive(Debug)]
pub struct ControlPlane {
    pub(super) guardian: Guardian,
    pub(super) etcd: Process,
    pub(super) api_server: Process,
    pub(super) controller_manager: Option<Process>,
    pki: Pki,
    server: String,
    kubeconfig: PathBuf,
    pub(super) kubectl: PathBuf,
}

impl ControlPlane {
    /// Starts a control plane and waits until it is ready: the API server answers and, with the controller
    /// manager, the namespace `default` has its service account.
    pub async fn start(options: ControlPlaneOptions) -> Result<Self, ClusterError> {
        ports::retrying(ports::free, async |ports| {
            Self::start_on(ports.into(), &options).await
        })
        .await
    }

    /// The audit log: one JSON object per line.
    pub fn audit_log(&self) -> PathBuf {
        self.guardian.scratch().join(AUDIT_LOG)
    }

    /// One control plane for all tests of this process, started at the first call. Tests use separate
    /// [`crate::TempNamespace`]s, and each makes its own client.
    pub async fn shared() -> Result<&'static Self, ClusterError> {
        static SHARED: OnceCell<ControlPlane> = OnceCell::const_new();
        SHARED
            .get_or_try_init(|| {
                Self::start(ControlPlaneOptions {
                    audit: true,
                    ..ControlPlaneOptions::default()
                })
            })
            .await
    }

    async fn start_on(ports: Ports, options: &ControlPlaneOptions) -> Result<Self, ClusterError> {
        let cache = Cache::from_env()?;
        let kubectl = KUBERNETES.built(&cache, "kubectl")?;
        let guardian = Guardian::start().await?;
        let scratch = guardian.scratch();
        let network = &options.network;
        let pki = Pki::create(&scratch.join("pki"), network)?;
        let server = format!("https://{}:{}", network.address, ports.api_server);
        let kubeconfig = scratch.join("kubeconfig");
        kubeconfig::write(
            &kubeconfig::with_certificate(&server, &pki, &pki.admin),
            &kubeconfig,
        )?;

        let etcd = throwaway("etcd", ETCD.built(&cache, "etcd")?).args(flags::etcd(
            ports,
            &pki,
            &scratch.join(ETCD_DATA),
        ));
        let api_server = KUBERNETES.built(&cache, "kube-apiserver")?;
        let mut more = options.api_server_flags.clone();
        if options.audit {
            let policy = scratch.join("audit-policy.json");
            std::fs::write(&policy, flags::AUDIT_POLICY)
                .map_err(ClusterError::io("writing the audit policy"))?;
            more.extend(flags::audit(&policy, &scratch.join(AUDIT_LOG)));
        }
        let api_server = throwaway("kube-apiserver", api_server)
            .args(flags::api_server(ports, network, &pki, &more));
        let mut cluster = Self {
            etcd: Process::start_in(&guardian, etcd).await?,
            api_server: Process::start_in(&guardian, api_server).await?,
            controller_manager: None,
            guardian,
            pki,
            server,
            kubeconfig,
            kubectl,
        };
        cluster.wait_for_api_server().await?;
        if options.controller_manager {
            // Started after the API server: it ends if no API server answers for some seconds.
            let program = KUBERNETES_CONTROLLERS.built(&cache, "kube-controller-manager")?;
            let flags = &options.controller_manager_flags;
            cluster
                .start_controller_manager(program, ports, flags)
                .await?;
        }
        Ok(cluster)
    }

    pub(super) async fn wait_for_api_server(&self) -> Result<(), ClusterError> {
        let client = self.client().await?;
        let ready = self.api_server.wait_ready("/readyz", READY, || async {
            let request = http::Request::get("/readyz").body(Vec::new());
            client
                .request_text(request.map_err(kube::Error::HttpError)?)
                .await
        });
        tokio::select! {
            ready = ready => { ready?; }
            ended = self.etcd.ended_early() => return Err(ended.into()),
        }
        Ok(())
    }

    async fn start_controller_manager(
        &mut self,
        program: PathBuf,
        ports: Ports,
        extra: &[String],
    ) -> Result<(), ClusterError> {
        let path = self
            .guardian
            .scratch()
            .join("controller-manager.kubeconfig");
        let identity = &self.pki.controller_manager;
        kubeconfig::write(
            &kubeconfig::with_certificate(&self.server, &self.pki, identity),
            &path,
        )?;
        let program = throwaway("kube-controller-manager", program)
            .args(flags::controller_manager(ports, &self.pki, &path, extra));
        let process = Process::start_in(&self.guardian, program).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, "default");
        let what = "the service account of the namespace `default`";
        process
            .wait_ready(what, READY, || accounts.get("default"))
            .await?;
        self.controller_manager = Some(process);
        Ok(())
    }

    /// The admin's kubeconfig, with certificates inline; removed with the control plane.
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    pub fn kubectl_path(&self) -> &Path {
        &self.kubectl
    }

    pub fn server(&self) -> &str {
        &self.server
    }

    pub async fn config(&self) -> Result<kube::Config, ClusterError> {
        let admin = kubeconfig::with_certificate(&self.server, &self.pki, &self.pki.admin);
        kubeconfig::client_config(admin).await
    }

    /// A new client with the admin's rights. It works only in the async runtime that it was made in.
    pub async fn client(&self) -> Result<Client, ClusterError> {
        Ok(Client::try_from(self.config().await?)?)
    }

    /// A client that RBAC knows as `user` in `groups` (and in `system:authenticated`). A service
    /// account is the user `system:serviceaccount:<namespace>:<name>` in the groups
    /// `system:serviceaccounts` and `system:serviceaccounts:<namespace>`.
    pub async fn client_for(&self, user: &str, groups: &[&str]) -> Result<Client, ClusterError> {
        let config = kubeconfig::acting_as(&self.server, &self.pki, user, groups);
        Ok(Client::try_from(kubeconfig::client_config(config).await?)?)
    }

    /// A kubeconfig for this user; removed with the control plane.
    pub fn kubeconfig_for(&self, user: &str, groups: &[&str]) -> Result<PathBuf, ClusterError> {
        let name = format!("{}.kubeconfig", uuid::Uuid::new_v4());
        let path = self.guardian.scratch().join(name);
        let config = kubeconfig::acting_as(&self.server, &self.pki, user, groups);
        kubeconfig::write(&config, &path)?;
        Ok(path)
    }

    /// Writes the kubeconfig file `name`, with a new certificate for `user` in `group`.
    pub(crate) fn kubeconfig_of(
        &self,
        name: &str,
        user: &str,
        group: Option<&str>,
    ) -> Result<PathBuf, ClusterError> {
        self.write_kubeconfig(name, &self.pki.client(user, group)?)
    }

    pub(crate) fn kubelet_files(
        &self,
        node: &str,
        address: Ipv4Addr,
    ) -> Result<KubeletFiles, ClusterError> {
        let identity = self.pki.kubelet(node, address)?;
        let write = |kind: &str, pem: &str| {
            let path = self.guardian.scratch().join(format!("pki/{node}.{kind}"));
            std::fs::write(&path, pem)
                .map_err(ClusterError::io("writing a kubelet's certificate"))?;
            Ok::<_, ClusterError>(path)
        };
        Ok(KubeletFiles {
            kubeconfig: self.write_kubeconfig(node, &identity)?,
            certificate: write("crt", &identity.certificate)?,
            key: write("key", &identity.key)?,
            authority: self.pki.path("ca.crt").into(),
        })
    }

    fn write_kubeconfig(&self, name: &str, identity: &Identity) -> Result<PathBuf, ClusterError> {
        let path = self.guardian.scratch().join(format!("{name}.kubeconfig"));
        let config = kubeconfig::with_certificate(&self.server, &self.pki, identity);
        kubeconfig::write(&config, &path)?;
        Ok(path)
    }

    /// The API server's process, for fault tests that pause, kill or restart it.
    pub fn api_server(&mut self) -> &mut Process {
        &mut self.api_server
    }

    /// Process id of the API server, to measure it.
    pub fn api_server_pid(&self) -> u32 {
        self.api_server.pid()
    }

    /// etcd's process, to measure it.
    pub fn etcd(&self) -> &Process {
        &self.etcd
    }

    /// The guardian, to start programs that must end before the control plane.
    pub fn guardian(&self) -> &Guardian {
        &self.guardian
    }

    /// Stops the control plane; returns when its processes and files are removed.
    pub async fn stop(self) -> Result<(), ClusterError> {
        Ok(self.guardian.stop().await?)
    }
}

/// A program that is killed at once at the end, because its data is discarded.
fn throwaway(name: &str, path: PathBuf) -> Program {
    Program::new(name, path).grace(Duration::ZERO)
}
