//! Certificates of one control plane: an authority for the API server and its clients, and another one for
//! etcd.

use std::fs;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::{ClusterError, Network};

/// Names of the API server in its certificate: those that we use, and those of its service.
const SERVER_NAMES: [&str; 5] = [
    "localhost",
    "127.0.0.1",
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
];

/// A certificate and its key, as PEM.
#[derive(Clone, Debug)]
pub(crate) struct Identity {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

/// Certificates: those in files for [`super::flags`], and those for kubeconfigs.
#[derive(Clone, Debug)]
pub(super) struct Pki {
    dir: PathBuf,
    cluster: Arc<Authority>,
    pub(super) authority: String,
    pub(super) admin: Identity,
    pub(super) controller_manager: Identity,
}

impl Pki {
    /// Makes all certificates and writes into `dir` those that the programs read.
    pub(super) fn create(dir: &Path, network: &Network) -> Result<Self, ClusterError> {
        fs::create_dir_all(dir).map_err(ClusterError::io("creating the certificates' folder"))?;
        let cluster = Authority::new("fovea-dev")?;
        // etcd accepts every certificate of its authority. It has its own one, so that it rejects users of the
        // API server.
        let store = Authority::new("fovea-dev-etcd")?;
        let service_accounts = KeyPair::generate()?;
        let pki = Self {
            dir: dir.to_path_buf(),
            authority: cluster.certificate.clone(),
            admin: cluster.client("admin", Some("system:masters"))?,
            controller_manager: cluster.client("system:kube-controller-manager", None)?,
            cluster: Arc::new(cluster),
        };
        let cluster = &pki.cluster;
        let mut names = SERVER_NAMES.map(str::to_owned).to_vec();
        names.extend([network.address, network.first_service].map(|address| address.to_string()));
        let server = cluster.server("kube-apiserver", None, names)?;
        let kubelet_client = cluster.client("kube-apiserver", Some("system:masters"))?;
        let etcd = store.server("etcd", None, SERVER_NAMES.map(str::to_owned).to_vec())?;
        let store_client = store.client("kube-apiserver", None)?;
        pki.write(&[
            ("ca.crt", &cluster.certificate),
            ("ca.key", &cluster.issuer.key().serialize_pem()),
            ("apiserver.crt", &server.certificate),
            ("apiserver.key", &server.key),
            ("kubelet-client.crt", &kubelet_client.certificate),
            ("kubelet-client.key", &kubelet_client.key),
            ("etcd-ca.crt", &store.certificate),
            ("etcd.crt", &etcd.certificate),
            ("etcd.key", &etcd.key),
            ("etcd-client.crt", &store_client.certificate),
            ("etcd-client.key", &store_client.key),
            ("service-accounts.pub", &service_accounts.public_key_pem()),
            ("service-accounts.key", &service_accounts.serialize_pem()),
        ])?;
        Ok(pki)
    }

    /// A client certificate for a user and group.
    pub(super) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, ClusterError> {
        Ok(self.cluster.client(user, group)?)
    }

    /// The identity of a node's kubelet, which is a client of the API server and a server.
    pub(super) fn kubelet(&self, node: &str, address: Ipv4Addr) -> Result<Identity, ClusterError> {
        let names = vec![node.to_owned(), address.to_string()];
        let user = format!("system:node:{node}");
        Ok(self.cluster.server(&user, Some("system:nodes"), names)?)
    }

    pub(super) fn path(&self, name: &str) -> String {
        self.dir.join(name).display().to_string()
    }

    fn write(&self, files: &[(&str, &str)]) -> Result<(), ClusterError> {
        for (name, pem) in files {
            // Only the owner can read the scratch folder.
            fs::write(self.dir.join(name), pem)
                .map_err(ClusterError::io(format!("writing {name}")))?;
        }
        Ok(())
    }
}

#[derive(Debug)]
pub(crate) struct Authority {
    pub(crate) certificate: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Result<Self, rcgen::Error> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![
            KeyUsagePurpose::KeyCertSign,
            KeyUsagePurpose::DigitalSignature,
        ];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?.pem();
        Ok(Self {
            certificate,
            issuer: Issuer::new(params, key),
        })
    }

    /// A certificate for a user with a group: Kubernetes reads both from the subject.
    pub(crate) fn client(&self, user: &str, group: Option<&str>) -> Result<Identity, rcgen::Error> {
        let params = CertificateParams::new(Vec::new())?;
        self.sign(params, user, group, &[ExtendedKeyUsagePurpose::ClientAuth])
    }

    /// A certificate for a server that is also a client: etcd of itself, or a kubelet of the API server.
    pub(crate) fn server(
        &self,
        user: &str,
        group: Option<&str>,
        names: Vec<String>,
    ) -> Result<Identity, rcgen::Error> {
        let usages = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        self.sign(CertificateParams::new(names)?, user, group, &usages)
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        group: Option<&str>,
        usages: &[ExtendedKeyUsagePurpose],
    ) -> Result<Identity, rcgen::Error> {
        if let Some(group) = group {
            params
                .distinguished_name
                .push(DnType::OrganizationName, group);
        }
        params.distinguished_name.push(DnType::CommonName, name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Identity {
            certificate,
            key: key.serialize_pem(),
        })
    }
}
