//! Kubeconfigs that contain all certificates, so that any program can use them.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{
    AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, NamedAuthInfo, NamedCluster,
    NamedContext,
};

use super::ClusterError;
use super::certificates::{Identity, Pki};

/// Name of the cluster, the user and the context.
const NAME: &str = "fovea-dev";

pub(super) fn with_certificate(server: &str, pki: &Pki, identity: &Identity) -> Kubeconfig {
    let auth = AuthInfo {
        client_certificate_data: Some(STANDARD.encode(&identity.certificate)),
        client_key_data: Some(STANDARD.encode(&identity.key).into()),
        ..AuthInfo::default()
    };
    kubeconfig(server, pki, auth)
}

/// The admin's kubeconfig, impersonating another user: RBAC then sees only that user, these groups and
/// `system:authenticated`. A certificate cannot do this: rcgen writes at most one group.
pub(super) fn acting_as(server: &str, pki: &Pki, user: &str, groups: &[&str]) -> Kubeconfig {
    let mut config = with_certificate(server, pki, &pki.admin);
    for auth in config
        .auth_infos
        .iter_mut()
        .filter_map(|named| named.auth_info.as_mut())
    {
        auth.impersonate = Some(user.to_owned());
        auth.impersonate_groups = Some(groups.iter().map(|&group| group.to_owned()).collect());
    }
    config
}

fn kubeconfig(server: &str, pki: &Pki, auth: AuthInfo) -> Kubeconfig {
    let cluster = Cluster {
        server: Some(server.to_owned()),
        certificate_authority_data: Some(STANDARD.encode(&pki.authority)),
        ..Cluster::default()
    };
    let context = Context {
        cluster: NAME.to_owned(),
        user: Some(NAME.to_owned()),
        ..Context::default()
    };
    Kubeconfig {
        api_version: Some("v1".to_owned()),
        kind: Some("Config".to_owned()),
        clusters: vec![NamedCluster {
            name: NAME.to_owned(),
            cluster: Some(cluster),
            ..NamedCluster::default()
        }],
        auth_infos: vec![NamedAuthInfo {
            name: NAME.to_owned(),
            auth_info: Some(auth),
            ..NamedAuthInfo::default()
        }],
        contexts: vec![NamedContext {
            name: NAME.to_owned(),
            context: Some(context),
            ..NamedContext::default()
        }],
        current_context: Some(NAME.to_owned()),
        ..Kubeconfig::default()
    }
}

/// Writes the kubeconfig as JSON, which is valid YAML.
pub(super) fn write(config: &Kubeconfig, path: &Path) -> Result<(), ClusterError> {
    let what = format!("writing {}", path.display());
    let json = serde_json::to_vec_pretty(config).map_err(std::io::Error::from);
    json.and_then(|json| std::fs::write(path, json))
        .map_err(ClusterError::io(what))
}

pub(super) async fn client_config(config: Kubeconfig) -> Result<kube::Config, ClusterError> {
    crate::tls::use_ring();
    let options = KubeConfigOptions::default();
    let mut config = kube::Config::from_custom_kubeconfig(config, &options).await?;
    // The control plane is on this machine, where a developer's proxy does not lead.
    config.proxy_url = None;
    Ok(config)
}
