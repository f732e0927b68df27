//! A runner's volumes, where they are mounted, and where the models on them are.
//!
//! A runner loads models by their path below `--models-dir`: the claim, or, in a pool with models from
//! images, a directory with a mount for each image and one for the claim.

use super::restricted::{SECRET_MODE, directory, mount, tmp};
use crate::pool::access::STORE_AUTHORITIES;
use fovea_crds::{CacheVolume, ModelSource, PoolModel, PullPolicy};
use k8s_openapi::api::core::v1::{
    ImageVolumeSource, KeyToPath, PersistentVolumeClaimVolumeSource, SecretVolumeSource, Volume,
    VolumeMount,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;

pub(super) const ACCESS_DIR: &str = "/etc/fovea/runner";
const CACHE_DIR: &str = "/var/cache/fovea";
/// Directory for fetched files on a claim, apart from its owner's models.
const FETCHED_DIR: &str = "/var/cache/fovea/.fetched";
const TMP_DIR: &str = "/tmp";
/// Directory of the mounts of a pool with models from images.
const MODELS_DIR: &str = "/var/lib/fovea/models";
/// The claim below [`MODELS_DIR`].
const CLAIM: &str = "volume";
/// The images below [`MODELS_DIR`], each by its model's name.
const IMAGES: &str = "images";

/// A model's path below a runner's `--models-dir`; `None` if it is not on a volume. `models`: the pool's.
pub(crate) fn path(models: &[PoolModel], model: &PoolModel) -> Option<String> {
    match model.source.as_ref()? {
        ModelSource::Volume { path } if has_images(models) => Some(format!("{CLAIM}/{path}")),
        ModelSource::Volume { path } => Some(path.clone()),
        ModelSource::Image { path, .. } => {
            let mounted = format!("{IMAGES}/{}", model.name);
            Some(match path {
                Some(path) => format!("{mounted}/{path}"),
                None => mounted,
            })
        }
        ModelSource::HuggingFace { .. } | ModelSource::Object { .. } => None,
    }
}

/// The runner's arguments about its directories.
pub(super) fn arguments(models: &[PoolModel], cache: Option<&CacheVolume>) -> Vec<String> {
    let has_claim = matches!(cache, Some(CacheVolume::PersistentVolumeClaim { .. }));
    let models_dir = if has_images(models) {
        Some(MODELS_DIR)
    } else {
        has_claim.then_some(CACHE_DIR)
    };
    let cache_dir = if has_claim { FETCHED_DIR } else { CACHE_DIR };
    let models_dir = models_dir.map(|dir| format!("--models-dir={dir}"));
    let cache_dir = format!("--cache-dir={cache_dir}");
    models_dir.into_iter().chain([cache_dir]).collect()
}

/// The volumes and their mounts. `secret`: the runners' certificate and token, and the store's authorities if it
/// has its own.
pub(super) fn volumes(
    secret: &str,
    store_authorities: bool,
    models: &[PoolModel],
    cache_volume: Option<CacheVolume>,
    cache_limit: &Quantity,
) -> (Vec<Volume>, Vec<VolumeMount>) {
    let mut mounts = vec![
        mount("access", ACCESS_DIR, true),
        mount("cache", CACHE_DIR, false),
        mount("tmp", TMP_DIR, false),
    ];
    let is_on_claim = |model: &PoolModel| matches!(model.source, Some(ModelSource::Volume { .. }));
    if has_images(models) && models.iter().any(is_on_claim) {
        mounts.push(mount("cache", &format!("{MODELS_DIR}/{CLAIM}"), true));
    }
    let mut volumes = vec![
        access(secret, store_authorities),
        cache(cache_volume, cache_limit),
        tmp(),
    ];
    for (number, model) in models.iter().enumerate() {
        let Some(ModelSource::Image {
            reference,
            pull_policy,
            path: _,
        }) = &model.source
        else {
            continue;
        };
        // A model's name may be as long as a volume's.
        let name = format!("image-{number}");
        let mounted = format!("{MODELS_DIR}/{IMAGES}/{}", model.name);
        mounts.push(mount(&name, &mounted, true));
        volumes.push(Volume {
            name,
            image: Some(ImageVolumeSource {
                reference: Some(reference.clone()),
                pull_policy: pull_policy.map(policy),
            }),
            ..Volume::default()
        });
    }
    (volumes, mounts)
}

fn has_images(models: &[PoolModel]) -> bool {
    let is_image = |model: &PoolModel| matches!(model.source, Some(ModelSource::Image { .. }));
    models.iter().any(is_image)
}

fn policy(policy: PullPolicy) -> String {
    let word = match policy {
        PullPolicy::Always => "Always",
        PullPolicy::IfNotPresent => "IfNotPresent",
        PullPolicy::Never => "Never",
    };
    word.to_owned()
}

/// The keys of the Secret that a runner needs.
fn access(secret: &str, store_authorities: bool) -> Volume {
    let keys = ["tls.crt", "tls.key", "tokens"];
    let keys = keys
        .into_iter()
        .chain(store_authorities.then_some(STORE_AUTHORITIES));
    let item = |key: &str| KeyToPath {
        key: key.to_owned(),
        path: key.to_owned(),
        mode: None,
    };
    Volume {
        name: "access".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(secret.to_owned()),
            default_mode: Some(SECRET_MODE),
            items: Some(keys.map(item).collect()),
            optional: None,
        }),
        ..Volume::default()
    }
}

fn cache(volume: Option<CacheVolume>, default_limit: &Quantity) -> Volume {
    let own = |limit: Option<Quantity>| {
        directory("cache", limit.unwrap_or_else(|| default_limit.clone()))
    };
    match volume {
        None => own(None),
        Some(CacheVolume::EmptyDir { size_limit }) => own(size_limit),
        Some(CacheVolume::PersistentVolumeClaim { claim_name }) => Volume {
            name: "cache".to_owned(),
            persistent_volume_claim: Some(PersistentVolumeClaimVolumeSource {
                claim_name,
                read_only: None,
            }),
            ..Volume::default()
        },
    }
}
