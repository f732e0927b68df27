//! Values that are refused, each with its path or with what to write instead.

use crate::{output_of, tools};
use anyhow::{Result, ensure};

/// A store, which the others need to get so far.
const STORE: [&str; 2] = [
    "objectStore.endpoint=https://s3.example.com",
    "objectStore.cidrs={203.0.113.0/24}",
];

/// Whether `--set` of these, beside a store, is refused with all these words.
fn refused(sets: &[&str], words: &[&str]) -> Result<()> {
    let mut all = STORE.to_vec();
    all.extend(sets);
    refused_alone(&all, words)
}

fn refused_alone(sets: &[&str], words: &[&str]) -> Result<()> {
    let mut template = tools()?.template();
    for set in sets {
        // What begins like JSON is.
        let json = ["=[", "={\"", "=null"]
            .iter()
            .any(|start| set.contains(start));
        template.args([if json { "--set-json" } else { "--set" }, set]);
    }
    let output = template.output()?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(!output.status.success(), "{sets:?} are taken");
    for word in words {
        ensure!(said.contains(word), "{sets:?}: {word:?} is not in\n{said}");
    }
    Ok(())
}

#[test]
fn a_value_that_does_not_exist_is_refused_with_its_path() -> Result<()> {
    refused(&["replicaCount=2"], &["'replicaCount' not allowed"])?;
    refused(&["api.replica=2"], &["at '/api'", "'replica' not allowed"])?;
    refused(
        &["api.ingress.host=a.example.com"],
        &["at '/api/ingress'", "'host' not allowed"],
    )?;
    refused(
        &["operator.resources.limit.memory=1Gi"],
        &["at '/operator/resources'", "'limit' not allowed"],
    )?;
    refused(
        &["api.tolerations=[{\"keys\":\"a\"}]"],
        &["at '/api/tolerations/0'", "'keys' not allowed"],
    )?;
    refused(
        &["operator.affinity={\"nodeAffinty\":{}}"],
        &["at '/operator/affinity'", "'nodeAffinty' not allowed"],
    )
}

#[test]
fn a_value_of_another_type_is_refused_with_its_path() -> Result<()> {
    for (set, path) in [
        ("api.replicas=two", "/api/replicas"),
        ("auth=basic", "/auth"),
        ("image.pullPolicy=always", "/image/pullPolicy"),
        (
            "networkPolicy.kubernetesApi.cidrs={10.0.0.1}",
            "/networkPolicy/kubernetesApi/cidrs/0",
        ),
        (
            "networkPolicy.kubernetesApi.ports={0}",
            "/networkPolicy/kubernetesApi/ports/0",
        ),
        ("operator.replicas=0", "/operator/replicas"),
        (
            "operator.sweep.graceSeconds=60",
            "/operator/sweep/graceSeconds",
        ),
        ("api.extraArgs={max-downloads}", "/api/extraArgs/0"),
        ("api.service.annotations.a=1", "/api/service/annotations/a"),
        (
            "objectStore.publicEndpoint=s3.example.com",
            "/objectStore/publicEndpoint",
        ),
        ("commonLabels.a=true", "/commonLabels/a"),
        ("watchNamespace=Team", "/watchNamespace"),
        (
            "metrics.prometheusRule.alerts.QueueOld.for=soon",
            "/metrics/prometheusRule/alerts/QueueOld/for",
        ),
    ] {
        refused(&[set], &[&format!("at '{path}'")])?;
    }
    Ok(())
}

#[test]
fn a_pool_is_held_against_its_definition() -> Result<()> {
    refused(
        &["pools.default.replica=2"],
        &["at '/pools/default'", "'replica' not allowed"],
    )?;
    refused(
        &["pools.default.replicas=two"],
        &["at '/pools/default/replicas'"],
    )?;
    refused(
        &["pools.default.device=gpu"],
        &["at '/pools/default/device'"],
    )?;
    refused(
        &["pools.other.enabled=true"],
        &["at '/pools/other'", "missing property 'models'"],
    )?;
    refused(
        &["pools.default.models=[{\"name\":\"a\",\"task\":\"text-to-image\"}]"],
        &["at '/pools/default/models/0/task'"],
    )?;
    refused(
        &["pools.default.template.hostNetwork=true"],
        &["at '/pools/default/template'", "'hostNetwork' not allowed"],
    )?;
    refused(&["pools.a_b.enabled=false"], &["'a_b'"])
}

#[test]
fn open_access_must_be_explicit() -> Result<()> {
    let words = ["auth: none", "acknowledgeUnauthenticated: true"];
    for open in [
        &[
            "api.ingress.enabled=true",
            "api.ingress.hosts={a.example.com}",
        ][..],
        &[
            "api.httpRoute.enabled=true",
            "api.httpRoute.parentRefs=[{\"name\":\"a\"}]",
        ],
        &["api.service.type=LoadBalancer"],
    ] {
        refused(&[&["auth=none"], open].concat(), &words)?;
        let mut template = tools()?.template();
        for set in STORE.iter().chain(open).filter(|set| !set.contains("=[")) {
            template.args(["--set", set]);
        }
        template.args(["--set-json", "api.httpRoute.parentRefs=[{\"name\":\"a\"}]"]);
        template.args(["--set", "auth=none,acknowledgeUnauthenticated=true"]);
        output_of(&mut template)?;
    }
    Ok(())
}

#[test]
fn a_store_is_one_store_and_all_of_it() -> Result<()> {
    refused_alone(
        &[],
        &["objectStore.endpoint is missing", "minio.enabled: true"],
    )?;
    refused(&["minio.enabled=true"], &["two stores"])?;
    refused(&["objectStore.bucket="], &["objectStore.bucket is missing"])?;
    refused_alone(
        &["objectStore.endpoint=https://s3.example.com"],
        &[
            "objectStore.cidrs is missing",
            "https://s3.example.com",
            "objectStore.inCluster",
        ],
    )?;
    refused(
        &["objectStore.inCluster.namespace=store"],
        &["objectStore.inCluster.labels is missing"],
    )?;
    refused_alone(
        &["minio.enabled=true", "objectStore.existingSecret=a"],
        &["minio.existingSecret"],
    )
}

#[test]
fn values_that_contradict_each_other_are_refused_with_what_to_write() -> Result<()> {
    for (sets, words) in [
        (
            &["api.replicas=3", "api.autoscaling.enabled=true"][..],
            &["api.replicas", "api.autoscaling.minReplicas"][..],
        ),
        (
            &[
                "api.autoscaling.enabled=true",
                "api.autoscaling.minReplicas=20",
            ],
            &["greater than maxReplicas"],
        ),
        (
            &["api.ingress.enabled=true"],
            &["api.ingress.hosts is empty"],
        ),
        (
            &["api.httpRoute.enabled=true"],
            &["api.httpRoute.parentRefs is empty"],
        ),
        (
            &[
                "api.ingress.hosts={a.example.com}",
                "api.ingress.tls=[{\"secretName\":\"a\",\"hosts\":[\"b.example.com\"]}]",
            ],
            &["b.example.com, which is not among api.ingress.hosts"],
        ),
        (
            &["api.service.nodePort=30080"],
            &["api.service.type: NodePort"],
        ),
        (
            &["api.serviceAccount.create=false"],
            &["api.serviceAccount.name is missing"],
        ),
        (
            &["operator.leaderElection.retryPeriodMs=20000"],
            &["retryPeriodMs < renewDeadlineMs"],
        ),
        (
            &["watchNamespace=team-a", "api.namespace=team-b"],
            &[
                "api.namespace: team-b is not watchNamespace",
                "write team-a",
            ],
        ),
        (
            &[
                "pools.default.enabled=true",
                "pools.default.replicas=1",
                "pools.default.autoscaling.max=2",
            ],
            &["pools.default: replicas and autoscaling"],
        ),
        (
            &[
                "pools.default.enabled=true",
                "pools.default.external.endpoints={https://a.example.com}",
            ],
            &[
                "pools.default: the runners of an external pool",
                "remove the source of blip-base",
            ],
        ),
        (
            &[
                "pools.other={\"enabled\":true,\"models\":[{\"name\":\"a\",\"task\":\"image-to-text\"}]}",
            ],
            &["pools.other: the model a has no source"],
        ),
    ] {
        refused(sets, words)?;
    }
    Ok(())
}

#[test]
fn a_proxy_needs_a_place_in_the_policies_and_its_password_a_secret() -> Result<()> {
    refused(
        &["proxy.httpsProxy=http://proxy.example.com:3128"],
        &["proxy.cidrs is missing"],
    )?;
    refused(
        &["proxy.existingSecret=egress", "proxy.cidrs={10.9.0.1/32}"],
        &["proxy.ports is missing"],
    )?;
    refused(
        &[
            "proxy.existingSecret=egress",
            "proxy.httpProxy=http://10.9.0.1:3128",
        ],
        &["proxy.existingSecret has the URLs"],
    )?;
    refused(
        &[
            "proxy.httpsProxy=http://proxy.egress:3128",
            "proxy.inCluster.namespace=egress",
        ],
        &["proxy.inCluster.labels is missing"],
    )?;
    for url in [
        "socks5://10.9.0.1:1080",
        "http://user:password@10.9.0.1:3128",
    ] {
        for path in ["proxy.httpsProxy", "operator.callbacks.proxy"] {
            let at = format!("at '/{}'", path.replace('.', "/"));
            refused(&[&format!("{path}={url}")], &[&at])?;
        }
    }
    Ok(())
}
