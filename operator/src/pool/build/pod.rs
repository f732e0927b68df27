//! A runner's pod.

use super::names::{self, fingerprint};
use super::proxy;
use super::quantity;
use super::restricted;
use super::volumes::{self, ACCESS_DIR};
use super::{Build, PORT, PORT_NAME, Subject};
use crate::pool::access::STORE_AUTHORITIES;
use fovea_crds::{
    Device, EnvVar, PodResourceClaim, PoolModel, RunnerPoolSpec, RunnerTemplate, SecretRef,
};
use k8s_openapi::api::core::v1::{
    self as core, Container, ContainerPort, HTTPGetAction, LocalObjectReference, PodSpec,
    PodTemplateSpec, Probe, ResourceRequirements, Toleration, TopologySpreadConstraint,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, ObjectMeta};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use std::collections::BTreeMap;

pub(super) const CONTAINER: &str = "runner";

/// Time after the drain, to close connections and exit.
const EXIT_SECONDS: i64 = 10;

/// Time without an answer of a node after which its runners are started elsewhere.
const LOST_NODE_SECONDS: i64 = 30;

/// Default device of pools with `device: cuda`.
const GPU: &str = "nvidia.com/gpu";

/// Resource requests of a runner without resources in the pool's template.
const DEFAULT_CPU: &str = "1";
const DEFAULT_MEMORY: &str = "3Gi";

/// The part of a runner's memory that decodes pictures: one in so many. The rest is for the models, the results
/// of their layers, and the pictures' files.
const DECODE_SHARE: u64 = 2;

/// Settings of a runner that follow from its pool and the operator's flags, unless the pool's template has them.
const MAX_DECODE_BYTES: &str = "FOVEA_RUNNER_MAX_DECODE_BYTES";
const MAX_PICTURE_PIXELS: &str = "FOVEA_RUNNER_MAX_PICTURE_PIXELS";

/// Fingerprint of the models' fields whose change needs new runners.
pub(crate) fn models_fingerprint(models: &[PoolModel]) -> String {
    let each = models.iter().map(|model| {
        let PoolModel {
            name,
            task,
            // The operator chooses the model before a runner gets the job.
            default: _,
            source,
            dtype,
            max_batch_size,
        } = model;
        (name, task, source, dtype, max_batch_size)
    });
    fingerprint(&each.collect::<Vec<_>>())
}

/// The template, with the fingerprint of all the rest of it in an annotation.
pub(super) fn template(subject: &Subject<'_>, build: &Build) -> PodTemplateSpec {
    let RunnerPoolSpec {
        models,
        replicas: _,
        autoscaling: _,
        device,
        template,
        external: _,
        allowed_namespaces: _,
        fairness: _,
    } = subject.spec;
    let RunnerTemplate {
        mut labels,
        mut annotations,
        image,
        image_pull_secrets,
        resources,
        resource_claims,
        scheduler_name,
        node_selector,
        tolerations,
        affinity,
        runtime_class_name,
        priority_class_name,
        cache_volume,
        env,
    } = template.clone().unwrap_or_default();
    let drain = build.config.runner_drain_seconds.get();
    let mut container = container(build, image, resources, *device);
    let directories = volumes::arguments(models, cache_volume.as_ref());
    let mut arguments = arguments(*device, directories, drain);
    if build.store_authorities {
        arguments.push(format!("--s3-ca-file={ACCESS_DIR}/{STORE_AUTHORITIES}"));
    }
    container.args = Some(arguments);
    container.env = Some(environment(env, build, container.resources.as_ref()));
    let cache_limit = &build.config.runner_cache_size_limit;
    let (volumes, mounts) = volumes::volumes(
        &subject.child,
        build.store_authorities,
        models,
        cache_volume,
        cache_limit,
    );
    container.volume_mounts = Some(mounts);
    let claims = resource_claims.into_iter().map(claim);
    let spec = PodSpec {
        containers: vec![container],
        volumes: Some(volumes),
        resource_claims: Some(claims.collect()).filter(|claims: &Vec<_>| !claims.is_empty()),
        scheduler_name,
        automount_service_account_token: Some(false),
        enable_service_links: Some(false),
        security_context: Some(restricted::pod()),
        termination_grace_period_seconds: Some(i64::from(drain) + EXIT_SECONDS),
        image_pull_secrets: pull_secrets(build, &image_pull_secrets),
        node_selector: (!node_selector.is_empty()).then_some(node_selector),
        tolerations: Some(with_default_tolerations(tolerations)),
        affinity,
        runtime_class_name,
        priority_class_name,
        topology_spread_constraints: Some(vec![TopologySpreadConstraint {
            max_skew: 1,
            topology_key: "kubernetes.io/hostname".to_owned(),
            when_unsatisfiable: "ScheduleAnyway".to_owned(),
            label_selector: Some(LabelSelector {
                match_labels: Some(subject.selector()),
                match_expressions: None,
            }),
            ..TopologySpreadConstraint::default()
        }]),
        ..PodSpec::default()
    };
    let own = [
        (names::MODELS, models_fingerprint(models)),
        (
            names::TEMPLATE,
            fingerprint(&(&labels, &annotations, &spec)),
        ),
        (
            "kubectl.kubernetes.io/default-container",
            CONTAINER.to_owned(),
        ),
    ];
    // The operator's own keys are not the user's to change, whatever the schema let through.
    labels.extend(names::labels(&subject.key.name));
    annotations.extend(own.map(|(key, value)| (key.to_owned(), value)));
    PodTemplateSpec {
        metadata: Some(ObjectMeta {
            labels: Some(labels),
            annotations: Some(annotations),
            ..ObjectMeta::default()
        }),
        spec: Some(spec),
    }
}

/// The runner's container, without its arguments and mounts.
fn container(
    build: &Build,
    image: Option<String>,
    resources: Option<ResourceRequirements>,
    device: Device,
) -> Container {
    let config = &build.config;
    let resources = resources_of(resources.unwrap_or_default(), device);
    let image = image.unwrap_or_else(|| {
        let gpu = device == Device::Cuda || (device == Device::Auto && extended(&resources));
        let image = if gpu {
            &config.runner_image_cuda
        } else {
            &config.runner_image
        };
        image.clone()
    });
    Container {
        name: CONTAINER.to_owned(),
        image: Some(image),
        image_pull_policy: config.runner_image_pull_policy.clone(),
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.to_owned()),
            container_port: i32::from(PORT),
            protocol: Some("TCP".to_owned()),
            ..ContainerPort::default()
        }]),
        resources: Some(resources),
        security_context: Some(restricted::container()),
        // Five minutes to start listening, since a large image's libraries may be read from a cold disk.
        startup_probe: Some(probe("/livez", 2, 150)),
        liveness_probe: Some(probe("/livez", 10, 6)),
        readiness_probe: Some(probe("/readyz", 2, 3)),
        termination_message_policy: Some("FallbackToLogsOnError".to_owned()),
        ..Container::default()
    }
}

/// The installation's pull Secrets, and the pool's own.
pub(super) fn pull_secrets(build: &Build, own: &[SecretRef]) -> Option<Vec<LocalObjectReference>> {
    let own = own.iter().map(|SecretRef { name }| name);
    let mut names: Vec<&String> = Vec::new();
    for name in build.config.runner_image_pull_secrets.iter().chain(own) {
        // The API server merges them by name.
        if !names.contains(&name) {
            names.push(name);
        }
    }
    let reference = |name: &String| LocalObjectReference { name: name.clone() };
    (!names.is_empty()).then(|| names.into_iter().map(reference).collect())
}

fn claim(claim: PodResourceClaim) -> core::PodResourceClaim {
    let PodResourceClaim {
        name,
        resource_claim_name,
        resource_claim_template_name,
    } = claim;
    core::PodResourceClaim {
        name,
        resource_claim_name,
        resource_claim_template_name,
    }
}

fn arguments(device: Device, directories: Vec<String>, drain_seconds: u32) -> Vec<String> {
    let mut arguments = vec![
        format!("--listen=0.0.0.0:{PORT}"),
        format!("--tls-cert={ACCESS_DIR}/tls.crt"),
        format!("--tls-key={ACCESS_DIR}/tls.key"),
        format!("--token-file={ACCESS_DIR}/tokens"),
    ];
    arguments.extend(directories);
    let device = match device {
        Device::Auto => "auto",
        Device::Cuda => "cuda",
        Device::Cpu => "cpu",
    };
    arguments.extend([
        format!("--device={device}"),
        format!("--drain-seconds={drain_seconds}"),
        "--log-format=json".to_owned(),
    ]);
    arguments
}

/// The pool's own variables, after those that it leaves to the operator.
fn environment(
    own: Vec<EnvVar>,
    build: &Build,
    resources: Option<&ResourceRequirements>,
) -> Vec<core::EnvVar> {
    let decoding = memory(resources).map(|bytes| bytes / DECODE_SHARE);
    let defaults = [
        (
            MAX_PICTURE_PIXELS,
            Some(build.config.runner_max_picture_pixels.get()),
        ),
        (MAX_DECODE_BYTES, decoding),
    ];
    let defaults = defaults
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?.to_string())))
        .chain(proxy::of_runner(build));
    let defaults = defaults.filter_map(|(name, value)| {
        // A proxy's variable has two forms.
        let is_set = |own: &EnvVar| own.name.eq_ignore_ascii_case(name);
        (!own.iter().any(is_set)).then(|| EnvVar {
            name: name.to_owned(),
            value,
        })
    });
    let defaults: Vec<_> = defaults.collect();
    defaults.into_iter().chain(own).map(variable).collect()
}

/// The memory that a runner may use, in bytes: its limit, or what is reserved for it.
fn memory(resources: Option<&ResourceRequirements>) -> Option<u64> {
    let resources = resources?;
    let mut both = [&resources.limits, &resources.requests].into_iter();
    both.find_map(|each| quantity::bytes(each.as_ref()?.get("memory")?))
}

/// Adds default requests for CPU and memory, and a GPU if `device` is `cuda` and no device is listed.
fn resources_of(mut resources: ResourceRequirements, device: Device) -> ResourceRequirements {
    if device == Device::Cuda && !extended(&resources) {
        let limits = resources.limits.get_or_insert_default();
        limits.insert(GPU.to_owned(), Quantity("1".to_owned()));
    }
    for (name, quantity) in [("cpu", DEFAULT_CPU), ("memory", DEFAULT_MEMORY)] {
        let limited = resources
            .limits
            .as_ref()
            .is_some_and(|limits| limits.contains_key(name));
        let requests = resources.requests.get_or_insert_default();
        // A limit without a request is the request.
        if !limited && !requests.contains_key(name) {
            requests.insert(name.to_owned(), Quantity(quantity.to_owned()));
        }
    }
    resources
}

/// Whether the resources contain a device: its name has a vendor's domain.
fn extended(resources: &ResourceRequirements) -> bool {
    let both = [&resources.limits, &resources.requests];
    let named = |map: &BTreeMap<String, Quantity>| map.keys().any(|name| name.contains('/'));
    resources
        .claims
        .as_ref()
        .is_some_and(|claims| !claims.is_empty())
        || both.into_iter().flatten().any(named)
}

/// Adds tolerations of unreachable nodes for [`LOST_NODE_SECONDS`], unless the pool has its own. By default
/// Kubernetes waits for five minutes, which a stateless runner does not need.
fn with_default_tolerations(mut tolerations: Vec<Toleration>) -> Vec<Toleration> {
    for key in [
        "node.kubernetes.io/not-ready",
        "node.kubernetes.io/unreachable",
    ] {
        let covered = |each: &Toleration| each.key.as_deref().is_none_or(|named| named == key);
        if !tolerations.iter().any(covered) {
            tolerations.push(Toleration {
                key: Some(key.to_owned()),
                operator: Some("Exists".to_owned()),
                effect: Some("NoExecute".to_owned()),
                toleration_seconds: Some(LOST_NODE_SECONDS),
                value: None,
            });
        }
    }
    tolerations
}

fn variable(EnvVar { name, value }: EnvVar) -> core::EnvVar {
    core::EnvVar {
        name,
        value: Some(value),
        value_from: None,
    }
}

fn probe(path: &str, period_seconds: i32, failure_threshold: i32) -> Probe {
    Probe {
        http_get: Some(HTTPGetAction {
            path: Some(path.to_owned()),
            port: IntOrString::String(PORT_NAME.to_owned()),
            scheme: Some("HTTPS".to_owned()),
            ..HTTPGetAction::default()
        }),
        period_seconds: Some(period_seconds),
        failure_threshold: Some(failure_threshold),
        timeout_seconds: Some(5),
        ..Probe::default()
    }
}
