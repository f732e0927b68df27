//! `fovea-operator apply-pools`: applies the RunnerPools of a Helm release, deletes those that the
//! release no longer has, and waits for the rest. Helm cannot do this itself, since their CRD is part of the
//! same release.
//!
//! The release's ConfigMap owns each pool, so that uninstalling deletes them.

mod manifests;
mod replicas;
mod tries;
mod waiting;

use crate::pool::applier::server_message;
use fovea_crds::RunnerPool;
use fovea_telemetry::LogFormat;
use k8s_openapi::api::core::v1::ConfigMap;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions};
use kube::{Api, Client, ResourceExt as _};
use manifests::{Manifest, ManifestError};
use replicas::Replicas;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;
use tries::Tries;

/// The manager of the fields that a release sets.
const MANAGER: &str = "fovea-chart";

/// Upper bound of `--wait-seconds`: a day.
const MAX_WAIT_SECONDS: i64 = 86_400;

/// Applies the RunnerPools of a Helm release, and deletes those of the release that the file no
/// longer contains. The chart runs it as a Job after an install or upgrade.
#[derive(Clone, Debug, clap::Parser)]
#[command(version)]
pub struct ApplyPoolsConfig {
    /// File with the RunnerPools to apply, as YAML documents.
    #[arg(long)]
    pub file: PathBuf,

    /// ConfigMap that becomes the owner of the pools: they are deleted with it. Pools that it owns
    /// and --file does not contain are deleted.
    #[arg(long)]
    pub owner_config_map: String,

    /// Namespace of the ConfigMap and the RunnerPools.
    #[arg(long)]
    pub namespace: String,

    /// Longest wait for the pools to be Ready, in seconds. A pool that is stalled ends it at once.
    /// 0: no wait.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=MAX_WAIT_SECONDS))]
    pub wait_seconds: u32,

    /// Format of the log on standard error. Its level is set by the environment variable `RUST_LOG`,
    /// such as `debug` (default: `info`).
    #[arg(long, env = "FOVEA_OPERATOR_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Why applying the pools failed.
#[derive(Debug, thiserror::Error)]
pub enum ApplyPoolsError {
    /// The file cannot be read.
    #[error("--file {path}: {error}")]
    Read {
        path: PathBuf,
        error: std::io::Error,
    },
    #[error("--file {path}: {error}")]
    Manifests {
        path: PathBuf,
        /// The invalid document, and the cause.
        error: ManifestError,
    },
    /// The ConfigMap cannot be read.
    #[error("ConfigMap {name} of --owner-config-map: {why}")]
    Owner { name: String, why: String },
    /// Some pools were refused; each is logged.
    #[error("applying {refused} of {all} RunnerPools failed; none was deleted")]
    Refused {
        refused: usize,
        /// Number of pools in the file.
        all: usize,
    },
    /// Listing or deleting the pools that the file lacks failed.
    #[error("deleting RunnerPools that the file lacks failed: {0}")]
    Delete(String),
    #[error("RunnerPool {name} is stalled: {why}")]
    Stalled { name: String, why: String },
    #[error("RunnerPool {name} is not Ready after {seconds} s: {why}")]
    NotReady {
        name: String,
        /// That it was waited for.
        seconds: u64,
        why: String,
    },
}

impl ApplyPoolsError {
    /// Whether the pools are applied, and trying again would only wait again.
    pub fn is_of_a_pool(&self) -> bool {
        matches!(self, Self::Stalled { .. } | Self::NotReady { .. })
    }
}

/// Applies every pool of the file and deletes the rest; prints a line for each. Temporary errors, such as
/// a CRD that is not served yet, are retried for a minute.
pub async fn run(config: &ApplyPoolsConfig, client: Client) -> Result<(), ApplyPoolsError> {
    let path = || config.file.clone();
    let text = tokio::fs::read_to_string(&config.file)
        .await
        .map_err(|error| ApplyPoolsError::Read {
            path: path(),
            error,
        })?;
    let manifests = manifests::read(&text, &config.namespace).map_err(|error| {
        let path = path();
        ApplyPoolsError::Manifests { path, error }
    })?;
    let tries = Tries::begin();
    let owner = owner(config, &client, &tries).await?;
    let pools: Api<RunnerPool> = Api::namespaced(client, &config.namespace);
    let mut refused = 0;
    for manifest in &manifests {
        match apply(&pools, manifest, &owner, &tries).await {
            Ok(()) => println!("RunnerPool {} applied", manifest.name),
            Err(error) => {
                refused += 1;
                tracing::error!("RunnerPool {}: {}", manifest.name, server_message(&error));
            }
        }
    }
    if refused > 0 {
        let all = manifests.len();
        return Err(ApplyPoolsError::Refused { refused, all });
    }
    let names: Vec<&str> = manifests.iter().map(|each| each.name.as_str()).collect();
    let kept = names.iter().copied().collect();
    delete_others(&pools, &kept, &owner, &tries)
        .await
        .map_err(|error| ApplyPoolsError::Delete(server_message(&error)))?;
    match Duration::from_secs(config.wait_seconds.into()) {
        Duration::ZERO => Ok(()),
        limit => waiting::until_ready(&pools, &names, limit).await,
    }
}

async fn owner(
    config: &ApplyPoolsConfig,
    client: &Client,
    tries: &Tries,
) -> Result<OwnerReference, ApplyPoolsError> {
    let name = &config.owner_config_map;
    let failed = |why| ApplyPoolsError::Owner {
        name: name.clone(),
        why,
    };
    let config_maps: Api<ConfigMap> = Api::namespaced(client.clone(), &config.namespace);
    let found = tries.run("its owner", || config_maps.get(name)).await;
    let uid = found.map_err(|error| failed(server_message(&error)))?.uid();
    Ok(OwnerReference {
        api_version: "v1".to_owned(),
        kind: "ConfigMap".to_owned(),
        name: name.clone(),
        uid: uid.ok_or_else(|| failed("it has no uid".to_owned()))?,
        // The ConfigMap does not manage the pools; they are only deleted with it.
        controller: None,
        block_owner_deletion: None,
    })
}

async fn apply(
    pools: &Api<RunnerPool>,
    manifest: &Manifest,
    owner: &OwnerReference,
    tries: &Tries,
) -> kube::Result<()> {
    let name = &manifest.name;
    if manifest.replicas() == Replicas::Kept {
        let found = tries.run(name, || live(pools, name)).await?;
        if let Some(spec) = found.as_ref().and_then(replicas::handed_over) {
            let params = PatchParams::apply(replicas::LEFT).force();
            let patch = Patch::Apply(manifest.with_spec(&spec));
            let handed = tries.run(name, || pools.patch_metadata(name, &params, &patch));
            handed.await?;
        }
    }
    let params = PatchParams::apply(MANAGER).force();
    let patch = Patch::Apply(manifest.owned_by(owner));
    let applied = tries.run(name, || pools.patch_metadata(name, &params, &patch));
    applied.await.map(drop)
}

/// The pool as it is; by a list, because the release's account may only list.
async fn live(pools: &Api<RunnerPool>, name: &str) -> kube::Result<Option<RunnerPool>> {
    let named = ListParams::default().fields(&format!("metadata.name={name}"));
    Ok(pools.list(&named).await?.items.pop())
}

/// Deletes the pools that the owner has and that are not among `kept`.
async fn delete_others(
    pools: &Api<RunnerPool>,
    kept: &BTreeSet<&str>,
    owner: &OwnerReference,
    tries: &Tries,
) -> kube::Result<()> {
    let every = ListParams::default();
    let found = tries.run("pools", || pools.list_metadata(&every)).await?;
    let ours = found.items.into_iter().filter(|pool| {
        let is_owner = |each: &OwnerReference| each.uid == owner.uid;
        pool.owner_references().iter().any(is_owner) && !kept.contains(pool.name_any().as_str())
    });
    for pool in ours {
        let name = pool.name_any();
        let params = DeleteParams::background().preconditions(Preconditions {
            uid: pool.uid(),
            resource_version: None,
        });
        match tries.run(&name, || pools.delete(&name, &params)).await {
            Ok(_) => println!("RunnerPool {name} deleted"),
            // Deleted meanwhile, or recreated.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
