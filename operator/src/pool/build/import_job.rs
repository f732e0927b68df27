//! The Job that copies a model from the hub into the bucket, and the Secret with its upload form and the
//! certificate authorities of store and hub. Its pod
//! is the only one with a hub's token, and has no other credentials.

use super::pod::pull_secrets;
use super::proxy;
use super::restricted::{self, SECRET_MODE, directory, mount, tmp};
use super::{Build, Subject, names};
use crate::pool::access::STORE_AUTHORITIES;
use crate::pool::authorities::Trusted;
use fovea_store::PostForm;
use k8s_openapi::ByteString;
use k8s_openapi::api::batch::v1::{Job, JobSpec};
use k8s_openapi::api::core::v1::{
    Container, EnvVar, EnvVarSource, PodSpec, PodTemplateSpec, ResourceRequirements, Secret,
    SecretKeySelector, SecretVolumeSource, Volume,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use std::collections::BTreeMap;

pub(super) const CONTAINER: &str = "import";
const FORM_TYPE: &str = "fovea.dev/import-form";
const FORM_DIR: &str = "/etc/fovea/form";
const FORM_FILE: &str = "form.json";
/// Key of the hub's certificate authorities in the Secret.
const HUB_AUTHORITIES: &str = "hub-ca.crt";
const HOME_DIR: &str = "/var/cache/fovea";
/// Further pods that are tried before the Job fails.
const RETRIES: i32 = 3;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Import {
    /// `owner/name`.
    pub repo: String,
    /// A commit, tag or branch.
    pub revision: String,
    pub token_secret: Option<String>,
}

impl Import {
    pub(crate) fn name(&self) -> String {
        names::import(&self.repo, &self.revision, self.token_secret.as_deref())
    }
}

pub(crate) fn metadata(namespace: &str, import: &Import) -> ObjectMeta {
    let name = import.name();
    ObjectMeta {
        namespace: Some(namespace.to_owned()),
        labels: Some(names::import_labels(&name)),
        name: Some(name),
        ..ObjectMeta::default()
    }
}

/// The Job. It is deleted with the pool that created it; another pool that needs it creates it again.
pub(crate) fn import_job(subject: &Subject<'_>, import: &Import, build: &Build) -> Job {
    let config = &build.config;
    let name = import.name();
    let plain = |name: &str, value: String| EnvVar {
        name: name.to_owned(),
        value: Some(value),
        value_from: None,
    };
    let mut env = vec![plain("HF_HOME", HOME_DIR.to_owned())];
    env.extend(
        (config.hub_endpoint.as_ref()).map(|url| plain("HF_ENDPOINT", url.as_url().to_string())),
    );
    env.extend(proxy::of_import(build, &name));
    env.extend(import.token_secret.as_ref().map(|secret| EnvVar {
        name: "HF_TOKEN".to_owned(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(SecretKeySelector {
                name: secret.clone(),
                key: "token".to_owned(),
                optional: None,
            }),
            ..EnvVarSource::default()
        }),
    }));
    let container = Container {
        name: CONTAINER.to_owned(),
        image: Some(config.runner_image.clone()),
        image_pull_policy: config.runner_image_pull_policy.clone(),
        args: Some(arguments(import, build)),
        env: Some(env),
        resources: Some(ResourceRequirements {
            requests: Some(quantities([("cpu", "250m"), ("memory", "256Mi")])),
            limits: Some(quantities([("cpu", "2"), ("memory", "1Gi")])),
            claims: None,
        }),
        security_context: Some(restricted::container()),
        // The error of a failed import is the end of its log.
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        volume_mounts: Some(vec![
            mount("form", FORM_DIR, true),
            mount("cache", HOME_DIR, false),
            mount("tmp", "/tmp", false),
        ]),
        ..Container::default()
    };
    let form = Volume {
        name: "form".to_owned(),
        secret: Some(SecretVolumeSource {
            secret_name: Some(name.clone()),
            default_mode: Some(SECRET_MODE),
            ..SecretVolumeSource::default()
        }),
        ..Volume::default()
    };
    let cache = directory("cache", config.runner_cache_size_limit.clone());
    let spec = PodSpec {
        containers: vec![container],
        volumes: Some(vec![form, cache, tmp()]),
        restart_policy: Some("Never".to_owned()),
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(restricted::pod()),
        image_pull_secrets: pull_secrets(build, &[]),
        ..PodSpec::default()
    };
    Job {
        metadata: ObjectMeta {
            owner_references: Some(vec![subject.owner(true)]),
            ..metadata(&subject.key.namespace, import)
        },
        spec: Some(JobSpec {
            backoff_limit: Some(RETRIES),
            active_deadline_seconds: Some(i64::from(config.import_deadline_seconds)),
            ttl_seconds_after_finished: i32::try_from(config.import_retry_seconds).ok(),
            template: PodTemplateSpec {
                metadata: Some(ObjectMeta {
                    labels: Some(names::import_labels(&name)),
                    ..ObjectMeta::default()
                }),
                spec: Some(spec),
            },
            ..JobSpec::default()
        }),
        status: None,
    }
}

fn arguments(import: &Import, build: &Build) -> Vec<String> {
    let Import {
        repo,
        revision,
        token_secret: _,
    } = import;
    let mut args = vec![
        "fetch".to_owned(),
        repo.clone(),
        format!("--revision={revision}"),
        format!("--upload={FORM_DIR}/{FORM_FILE}"),
        "--commit-file=/dev/termination-log".to_owned(),
    ];
    if build.store_authorities {
        args.push(format!("--s3-ca-file={FORM_DIR}/{STORE_AUTHORITIES}"));
    }
    if build.config.hub_ca_file.is_some() {
        args.push(format!("--hub-ca-file={FORM_DIR}/{HUB_AUTHORITIES}"));
    }
    args
}

/// The Secret with the form, the authorities, and the proxies that have a password; `owner`: the Job.
pub(crate) fn form_secret(
    metadata: ObjectMeta,
    owner: OwnerReference,
    form: &PostForm,
    trusted: &Trusted,
    build: &Build,
) -> Secret {
    // Serialising a form does not fail.
    let text = serde_json::to_vec(form).unwrap_or_default();
    let authorities = [
        (STORE_AUTHORITIES, &trusted.store),
        (HUB_AUTHORITIES, &trusted.hub),
    ];
    let authorities = authorities.into_iter().filter_map(|(key, bundle)| {
        let pem = bundle.as_ref()?.pem();
        Some((key.to_owned(), ByteString(pem.into())))
    });
    let mut data = proxy::secret_data(build);
    data.extend(authorities);
    data.insert(FORM_FILE.to_owned(), ByteString(text));
    Secret {
        metadata: ObjectMeta {
            owner_references: Some(vec![owner]),
            ..metadata
        },
        type_: Some(FORM_TYPE.to_owned()),
        data: Some(data),
        ..Secret::default()
    }
}

fn quantities(each: [(&str, &str); 2]) -> BTreeMap<String, Quantity> {
    each.map(|(name, quantity)| (name.to_owned(), Quantity(quantity.to_owned())))
        .into()
}
