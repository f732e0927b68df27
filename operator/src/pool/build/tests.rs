//! The objects of some pools, as they are applied: `golden/*.yaml`. `FOVEA_WRITE_GOLDEN=1` rewrites the
//! files; review the diff.

mod proxy;

use super::import_job::{Import, form_secret, import_job, metadata};
use super::*;
use crate::pool::access::Contents;
use crate::pool::authorities::Trusted;
use crate::pool::rollout::Strategy;
use clap::Parser as _;
use fovea_store::PostForm;
use fovea_trust::Bundle;
use k8s_openapi::api::apps::v1::Deployment;
use serde::Serialize;
use serde_json::{Value, json};
use std::path::Path;

#[derive(clap::Parser)]
struct Flags {
    #[command(flatten)]
    config: PoolsConfig,
}

fn build(flags: &[&str]) -> Build {
    build_behind(Proxies::default(), flags)
}

/// With these proxies in the operator's environment.
fn build_behind(proxies: Proxies, flags: &[&str]) -> Build {
    let flags = [&["test"], flags].concat();
    let config = Flags::try_parse_from(flags).unwrap().config;
    let ca_file = config.hub_ca_file.clone();
    let store = StoreConfig {
        ca_file,
        ..StoreConfig::at("http://minio.storage.svc:9000".parse().unwrap(), "fovea")
    };
    let config = PoolsConfig {
        // Independent of the version, so that a release changes no golden file.
        runner_image: "fovea-runner:test".into(),
        runner_image_cuda: "fovea-runner:test-cuda".into(),
        ..config
    };
    Build::new(config, "fovea-system", &store, proxies)
}

fn pool(name: &str, spec: &Value) -> RunnerPool {
    let pool = json!({
        "apiVersion": "fovea.dev/v1alpha1", "kind": "RunnerPool",
        "metadata": {"name": name, "namespace": "fovea-system", "uid": "0b9b0d1e-5f5c-4d2c-9b57-6d8a3f1c2e4d"},
        "spec": spec,
    });
    serde_json::from_value(pool).unwrap()
}

fn minimal() -> RunnerPool {
    let source = json!({"huggingFace": {"repo": "microsoft/resnet-50"}});
    let model = json!({"name": "resnet", "task": "image-classification", "source": source});
    pool("default", &json!({"models": [model], "device": "cpu"}))
}

fn gpu() -> RunnerPool {
    let sample = include_str!("../../../../manifests/samples/runnerpool-gpu.yaml");
    // Through JSON, since serde_yaml writes enums in another form than Kubernetes.
    let sample: Value = fovea_crds::yaml::parse(sample).unwrap();
    let mut pool: RunnerPool = serde_json::from_value(sample).unwrap();
    pool.metadata.name = Some("team.gpu".into());
    pool.metadata.namespace = Some("fovea-system".into());
    pool.metadata.uid = Some("uid".into());
    let template = pool.spec.template.as_mut().unwrap();
    template.image = Some("example/runner:mine".into());
    template.priority_class_name = Some("inference".into());
    template.node_selector.insert("gpu".into(), "h200".into());
    template.cache_volume =
        serde_json::from_value(json!({"emptyDir": {"sizeLimit": "20Gi"}})).unwrap();
    pool.spec.models.retain(|model| model.name != "detr");
    assert_eq!(crate::pool::validate::refusals(&pool.spec), []);
    pool
}

fn volume() -> RunnerPool {
    let model = json!({"name": "blip", "task": "image-to-text", "source": {"volume": {"path": "blip-base"}}});
    pool(
        "volume",
        &json!({
            "models": [model], "replicas": 2, "device": "cuda",
            "template": {"cacheVolume": {"persistentVolumeClaim": {"claimName": "models"}}},
        }),
    )
}

/// A pool whose pods wait in a queue, claim devices and mount models from images.
fn queued() -> RunnerPool {
    let sample = include_str!("../../../../manifests/samples/runnerpool-image.yaml");
    let sample: Value = fovea_crds::yaml::parse(sample).unwrap();
    let mut pool = pool("queued", &sample["spec"]);
    let on_claim =
        json!({"name": "kept", "task": "object-detection", "source": {"volume": {"path": "detr"}}});
    pool.spec
        .models
        .push(serde_json::from_value(on_claim).unwrap());
    let template = pool.spec.template.as_mut().unwrap();
    template.cache_volume =
        serde_json::from_value(json!({"persistentVolumeClaim": {"claimName": "models"}})).unwrap();
    pool
}

/// A certificate that is always the same, so that the golden files are.
const AUTHORITY: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/src/pool/build/golden/authority.crt"
);

/// Trusts [`AUTHORITY`] for store and hub, if there is a flag for it.
fn trusted(build: &Build) -> Trusted {
    let bundle = build.config.hub_ca_file.as_deref().map(Bundle::read);
    let bundle = bundle.map(Result::unwrap);
    Trusted {
        store: bundle.clone(),
        hub: bundle,
        faults: Vec::new(),
    }
}

fn yaml(objects: &[String]) -> String {
    objects.join("---\n")
}

fn one(object: &impl Serialize) -> String {
    fovea_crds::yaml::print(object).unwrap()
}

fn objects(pool: &RunnerPool, build: &Build, strategy: Strategy) -> String {
    let subject = Subject::of(pool);
    let contents = Contents {
        data: [("token".to_owned(), "t".to_owned())].into(),
        annotations: [("fovea.dev/rotation".to_owned(), "settled".to_owned())].into(),
    };
    yaml(&[
        one(&deployment::deployment(
            &subject,
            build,
            pool.spec.replicas,
            strategy,
        )),
        one(&service::service(&subject)),
        one(&secret::secret(
            &subject,
            &contents,
            trusted(build).store.as_ref(),
        )),
        one(&network_policy::runners(&subject, build)),
        one(&disruption_budget::disruption_budget(&subject)),
    ])
}

fn import(pool: &RunnerPool, build: &Build) -> String {
    let import = Import {
        repo: "o/gated".into(),
        revision: "v1".into(),
        token_secret: Some("hub".into()),
    };
    let form = PostForm {
        url: "http://minio.storage.svc:9000/fovea".into(),
        fields: [("key".to_owned(), "models/o/gated/${filename}".to_owned())].into(),
    };
    let owner = OwnerReference {
        name: "the-job".into(),
        ..OwnerReference::default()
    };
    let metadata = metadata("fovea-system", &import);
    yaml(&[
        one(&import_job(&Subject::of(pool), &import, build)),
        one(&network_policy::imports(
            metadata.clone(),
            &import.name(),
            build,
        )),
        one(&form_secret(metadata, owner, &form, &trusted(build), build)),
    ])
}

fn all() -> [(&'static str, String); 6] {
    let plain = build(&[]);
    let private = build(&[&format!("--hub-ca-file={AUTHORITY}")]);
    let full = build(&[
        "--store-cidr=10.20.0.0/16,2001:db8::/64",
        "--store-port=9000,9443",
        "--store-namespace=storage",
        "--store-label=app.kubernetes.io/name=minio",
        "--scraper-namespace=monitoring",
        "--scraper-label=app.kubernetes.io/name=prometheus",
        "--hub-cidr=192.0.2.0/24",
        "--hub-endpoint=https://mirror.example:8443",
        "--dns-cidr=169.254.20.10/32",
        "--runner-image-pull-policy=Always",
        "--runner-image-pull-secret=registry",
        "--runner-drain-seconds=60",
    ]);
    [
        ("minimal", objects(&minimal(), &plain, Strategy::Surge)),
        ("gpu", objects(&gpu(), &full, Strategy::Swap)),
        ("volume", objects(&volume(), &plain, Strategy::Surge)),
        ("queued", objects(&queued(), &full, Strategy::Surge)),
        (
            "private",
            yaml(&[
                objects(&minimal(), &private, Strategy::Surge),
                import(&minimal(), &private),
            ]),
        ),
        (
            "import",
            yaml(&[import(&minimal(), &plain), import(&gpu(), &full)]),
        ),
    ]
}

#[test]
fn objects_match_the_golden_files() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/pool/build/golden");
    for (name, made) in all() {
        let path = folder.join(format!("{name}.yaml"));
        if std::env::var_os("FOVEA_WRITE_GOLDEN").is_some() {
            std::fs::write(&path, &made).unwrap();
        }
        let known = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(
            known == made,
            "{} differs; FOVEA_WRITE_GOLDEN=1 rewrites it",
            path.display()
        );
    }
}

#[test]
fn peers_are_selected_by_namespace_labels_or_both_and_none_without_either() {
    let peers = |flags: &[&str]| {
        let pool = minimal();
        let policy = network_policy::runners(&Subject::of(&pool), &build(flags));
        let json = serde_json::to_value(policy).unwrap();
        let spec = &json["spec"];
        (
            spec["ingress"][0]["from"][1].clone(),
            spec["egress"][1]["to"][0].clone(),
        )
    };
    assert_eq!(peers(&[]), (Value::Null, Value::Null));
    let flags = ["--scraper-namespace=monitoring", "--store-label=a=b"];
    let named = json!({"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}});
    let labelled = json!({"matchLabels": {"a": "b"}});
    assert_eq!(
        peers(&flags),
        (
            json!({"namespaceSelector": named}),
            json!({"podSelector": labelled})
        )
    );
}

#[test]
fn a_network_of_the_store_includes_metadata_services_only_if_it_is_theirs() {
    let block = |cidr: &str| {
        let flag = format!("--store-cidr={cidr}");
        let pool = minimal();
        let policy = network_policy::runners(&Subject::of(&pool), &build(&[&flag]));
        let json = serde_json::to_value(policy).unwrap();
        json["spec"]["egress"][1]["to"][0]["ipBlock"].clone()
    };
    let v4 = json!([
        "100.100.100.200/32",
        "168.63.129.16/32",
        "169.254.0.0/16",
        "192.0.0.192/32"
    ]);
    let v6 = json!(["fd00:ec2::254/128", "fd20:ce::254/128", "fe80::/10"]);
    for (cidr, except) in [
        ("0.0.0.0/0", v4),
        ("::/0", v6),
        ("169.0.0.0/8", json!(["169.254.0.0/16"])),
        ("10.0.0.0/8", Value::Null),
        ("169.254.0.0/16", Value::Null),
        ("169.254.1.0/24", Value::Null),
    ] {
        assert_eq!(block(cidr)["except"], except, "{cidr}");
    }
}

#[test]
fn no_pod_has_a_service_account_a_host_s_path_or_a_privilege() {
    for (name, made) in all() {
        for word in [
            "serviceAccount:",
            "serviceAccountName",
            "hostPath",
            "hostNetwork",
            "hostPID",
            "privileged: true",
        ] {
            assert!(!made.contains(word), "{name}: {word}");
        }
    }
}

#[test]
fn a_cuda_pool_gets_one_gpu_and_the_cuda_image_unless_its_template_has_a_device() {
    let container = |spec: &Value| {
        let models =
            json!([{"name": "m", "task": "image-to-text", "source": {"object": {"prefix": "x"}}}]);
        let mut spec = spec.clone();
        spec["models"] = models;
        let pool = pool("p", &spec);
        let made = deployment::deployment(&Subject::of(&pool), &build(&[]), 1, Strategy::Surge);
        let json = serde_json::to_value(made).unwrap();
        json["spec"]["template"]["spec"]["containers"][0].clone()
    };
    let cuda = container(&json!({"device": "cuda"}));
    assert_eq!(cuda["resources"]["limits"], json!({"nvidia.com/gpu": "1"}));
    assert_eq!(cuda["image"], "fovea-runner:test-cuda");
    let slice = json!({"resources": {"limits": {"nvidia.com/mig-1g.5gb": "1"}}});
    let sliced = container(&json!({"device": "cuda", "template": slice}));
    assert_eq!(
        sliced["resources"]["limits"],
        json!({"nvidia.com/mig-1g.5gb": "1"})
    );
    assert_eq!(
        container(&json!({"template": slice}))["image"],
        "fovea-runner:test-cuda"
    );
    assert_eq!(container(&json!({}))["image"], "fovea-runner:test");
    let limited = json!({"resources": {"limits": {"cpu": "4"}}});
    let requests = container(&json!({"template": limited}))["resources"]["requests"].clone();
    assert_eq!(
        requests,
        json!({"memory": "3Gi"}),
        "a limit alone is the request"
    );
}

#[test]
fn half_of_a_runner_s_memory_decodes_pictures_and_the_pool_s_own_settings_count() {
    let environment = |template: Value| {
        let mut pool = minimal();
        pool.spec.template = Some(serde_json::from_value(template).unwrap());
        let made = deployment::deployment(&Subject::of(&pool), &build(&[]), 1, Strategy::Surge);
        let json = serde_json::to_value(made).unwrap();
        json["spec"]["template"]["spec"]["containers"][0]["env"].clone()
    };
    let env = |pixels: &str, bytes: &str| {
        json!([
            {"name": "FOVEA_RUNNER_MAX_PICTURE_PIXELS", "value": pixels},
            {"name": "FOVEA_RUNNER_MAX_DECODE_BYTES", "value": bytes},
        ])
    };
    let resources = |resources: Value| json!({"resources": resources});
    let bound = "89478485";
    assert_eq!(environment(json!({})), env(bound, "1610612736"));
    let reserved = resources(json!({"requests": {"memory": "8Gi"}}));
    assert_eq!(environment(reserved), env(bound, "4294967296"));
    let limited = resources(json!({"requests": {"memory": "8Gi"}, "limits": {"memory": "16Gi"}}));
    assert_eq!(environment(limited), env(bound, "8589934592"));
    let own = env("1000", "2000");
    assert_eq!(environment(json!({"env": own.clone()})), own);
    let named = json!({"name": "RUST_LOG", "value": "debug"});
    let all = environment(json!({"env": [named.clone()]}));
    assert_eq!(all[2], named);
}

#[test]
fn changes_that_need_no_restart_do_not_change_the_template() {
    let template = |change: &dyn Fn(&mut RunnerPoolSpec)| {
        let mut pool = minimal();
        change(&mut pool.spec);
        let made = deployment::deployment(&Subject::of(&pool), &build(&[]), 1, Strategy::Surge);
        deployment::template_of(&made).unwrap().to_owned() + deployment::models_of(&made).unwrap()
    };
    let same = template(&|_| {});
    assert_eq!(same, template(&|spec| spec.models[0].default = true));
    assert_eq!(same, template(&|spec| spec.replicas = 7));
    assert_ne!(same, template(&|spec| spec.models[0].name = "other".into()));
    assert_ne!(same, template(&|spec| spec.models[0].max_batch_size = 2));
    assert_ne!(
        same,
        template(&|spec| spec.device = fovea_crds::Device::Auto)
    );
    for field in ["labels", "annotations"] {
        let changed = template(&|spec| {
            spec.template = serde_json::from_value(json!({field: {"team": "a"}})).unwrap();
        });
        assert_ne!(same, changed, "{field}");
    }
}

#[test]
fn labels_and_annotations_of_a_template_never_replace_the_operator_s() {
    let mut pool = minimal();
    let own = json!({
        "labels": {"team": "a", names::POOL: "other", "app.kubernetes.io/name": "other"},
        "annotations": {"team": "a", names::MODELS: "other", names::TEMPLATE: "other"},
    });
    let plain = deployment::deployment(&Subject::of(&pool), &build(&[]), 1, Strategy::Surge);
    pool.spec.template = Some(serde_json::from_value(own).unwrap());
    let made = deployment::deployment(&Subject::of(&pool), &build(&[]), 1, Strategy::Surge);
    let metadata = |made: Deployment| made.spec.unwrap().template.metadata.unwrap();
    assert_eq!(deployment::models_of(&made), deployment::models_of(&plain));
    assert_ne!(deployment::template_of(&made), Some("other"));
    let (made, plain) = (metadata(made), metadata(plain));
    let mut labels = plain.labels.unwrap();
    labels.insert("team".to_owned(), "a".to_owned());
    assert_eq!(made.labels, Some(labels));
    assert_eq!(made.annotations.unwrap()["team"], "a");
}

#[test]
fn paths_of_models_follow_from_the_mounts_of_their_pool() {
    let paths = |pool: &RunnerPool| {
        let models = &pool.spec.models;
        let each = models
            .iter()
            .filter_map(|model| volumes::path(models, model));
        each.collect::<Vec<_>>()
    };
    assert_eq!(paths(&volume()), ["blip-base"]);
    assert_eq!(paths(&queued()), ["images/blip-base/models", "volume/detr"]);
    assert_eq!(paths(&minimal()), [""; 0]);
}
