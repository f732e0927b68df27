//! What the operator may do in the cluster: what it does, and nothing else. Every other test runs it
//! with these rights as well, so that none is missing there; this one finds those that are too many.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::{Callback, InferenceJob, Phase};
use fovea_dev::{eventually, stack};
use fovea_tests::operated::{JOBS, OPERATOR, PATIENCE, RIGHTS, TEAM, apply_pool};
use fovea_tests::receiver::{Authority, Receiver};
use fovea_tests::{Operated, Options};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Api;
use kube::api::{Patch, PatchParams, PostParams};
use serde::Deserialize as _;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::Path;

/// One of the operator's rights: where, on what, and to do what.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Right {
    /// In the pools' namespace, by the Role; else everywhere, by the `ClusterRole`.
    own_namespace: bool,
    group: String,
    resource: String,
    verb: String,
    name: Option<String>,
}

/// What the manifests grant.
fn granted() -> Result<BTreeSet<Right>> {
    let read = |file| std::fs::read_to_string(stack::repository().join(file));
    let text = RIGHTS
        .into_iter()
        .map(read)
        .collect::<Result<Vec<_>, _>>()?;
    let text = text.join("---\n");
    let mut rights = BTreeSet::new();
    for document in serde_yaml::Deserializer::from_str(&text) {
        let object = Value::deserialize(document)?;
        let own_namespace = match object["kind"].as_str() {
            Some("ClusterRole") => false,
            Some("Role") => true,
            _ => continue,
        };
        let rules: Vec<PolicyRule> = serde_json::from_value(object["rules"].clone())?;
        for rule in rules {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    for verb in &rule.verbs {
                        let names = rule.resource_names.iter().flatten().cloned().map(Some);
                        let any = rule.resource_names.is_none().then_some(None);
                        rights.extend(names.chain(any).map(|name| Right {
                            own_namespace,
                            group: group.clone(),
                            resource: resource.clone(),
                            verb: verb.clone(),
                            name,
                        }));
                    }
                }
            }
        }
    }
    Ok(rights)
}

/// What the audit log says that the operator did; an error where it was forbidden to.
fn used(log: &Path, granted: &BTreeSet<Right>) -> Result<BTreeSet<Right>> {
    let (mut rights, mut forbidden) = (BTreeSet::new(), BTreeSet::new());
    for line in std::fs::read_to_string(log)?.lines() {
        // The last line may not be whole yet.
        let Ok(event) = serde_json::from_str::<Value>(line) else {
            continue;
        };
        if event["impersonatedUser"]["username"] != OPERATOR || event["objectRef"].is_null() {
            continue;
        }
        if event["responseStatus"]["code"] == 403 {
            forbidden.insert(event["responseStatus"]["message"].to_string());
            continue;
        }
        let text = |key: &str| event["objectRef"][key].as_str().unwrap_or_default();
        let resource = match text("subresource") {
            "" => text("resource").to_owned(),
            subresource => format!("{}/{subresource}", text("resource")),
        };
        let right = |own_namespace, name: Option<&str>, verb: &str| Right {
            own_namespace,
            group: text("apiGroup").to_owned(),
            resource: resource.clone(),
            verb: verb.to_owned(),
            name: name.map(str::to_owned),
        };
        let own = text("namespace") == stack::SYSTEM_NAMESPACE;
        let verb = event["verb"].as_str().unwrap_or_default();
        // A patch that makes the object is asked for both rights.
        let made = verb == "patch" && event["responseStatus"]["code"] == 201;
        for verb in [verb].into_iter().chain(made.then_some("create")) {
            // The narrowest that allows it.
            let name = Some(text("name"));
            let possible = [(own, name), (false, name), (own, None), (false, None)];
            let mut possible = possible
                .map(|(own, name)| right(own, name, verb))
                .into_iter();
            let found = possible.find(|right| granted.contains(right));
            rights.insert(found.with_context(|| format!("no right for {event}"))?);
        }
    }
    ensure!(forbidden.is_empty(), "forbidden: {forbidden:#?}");
    Ok(rights)
}

/// Does everything that has the operator ask the API server for something.
async fn tour(operated: &Operated, options: &Options, receiver: &Receiver) -> Result<()> {
    // A job, its callback by the namespace's Secret, and its end of time.
    let secret: Secret = serde_json::from_value(json!({
        "metadata": {"name": "fovea-webhook"}, "type": "fovea.dev/webhook",
        "stringData": {"secret": "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"},
    }))?;
    let secrets: Api<Secret> = Api::namespaced(operated.client.clone(), JOBS);
    secrets.create(&PostParams::default(), &secret).await?;
    let mut job = Operated::job("told", "caption x");
    let url = format!("https://localhost:{}/told/200", receiver.port);
    job.spec.callback = Some(Callback { url });
    operated.create(&job).await?;
    let delivered = |status: &fovea_crds::InferenceJobStatus| {
        (status.callback.as_ref()).is_some_and(|callback| callback.delivered)
    };
    operated
        .status_where("told", "to be told", delivered)
        .await?;
    let mut job = Operated::job("brief", "caption x");
    job.spec.ttl_seconds_after_finished = Some(0);
    operated.create(&job).await?;
    eventually("the job to be deleted", PATIENCE, async || {
        ensure!(operated.jobs.get_opt("brief").await?.is_none(), "there");
        Ok(())
    })
    .await?;
    // A write that lands on a version that is outdated is settled by a read.
    let uid = operated.submit("changed", "wait 3000 caption x").await?;
    operated.begun(&uid.metadata.uid.unwrap(), 1).await?;
    operated.patch("changed", json!({"priority": 1})).await?;
    operated.ended("changed").await?;

    // A pool that a person has to look at, by an Event and by the same one again.
    for port in 9..12 {
        let endpoint = &*format!("http://127.0.0.1:{port}");
        let token =
            json!({"external": {"endpoints": [endpoint], "tokenSecretRef": {"name": "missing"}}});
        apply_pool(&operated.client, "faulty", &[], &token).await?;
        told_of(operated, "faulty", endpoint).await?;
    }
    a_pool_s_life(operated).await?;
    // A standby, which takes over.
    let (standby, _) = operated.standby(options).await?;
    assert!(operated.operator.terminate().await?.success());
    let status = operated.submit("after", "caption x").await?;
    operated.ended(&status.metadata.name.unwrap()).await?;
    drop(standby);
    Ok(())
}

/// A pool with pods, an import among what it needs, that shrinks and then becomes an external one.
async fn a_pool_s_life(operated: &Operated) -> Result<()> {
    let pool = |spec: Value| {
        json!({
            "apiVersion": "fovea.dev/v1alpha1", "kind": "RunnerPool",
            "metadata": {"name": "pods"}, "spec": spec,
        })
    };
    let apply = async |spec: Value| {
        let params = PatchParams::apply("test").force();
        let patch = Patch::Apply(pool(spec));
        operated.pools.patch("pods", &params, &patch).await
    };
    let hub = json!({"huggingFace": {"repo": "owner/name"}});
    let models = json!([{"name": "m", "task": "image-to-text", "source": hub}]);
    apply(json!({"models": models, "replicas": 2})).await?;
    let replicas = async |wanted: i32| {
        eventually("pods", PATIENCE, async || {
            let status = operated.pools.get("pods").await?.status.unwrap_or_default();
            ensure!(status.replicas == u32::try_from(wanted)?, "{status:?}");
            Ok::<_, anyhow::Error>(())
        })
        .await
    };
    replicas(2).await?;
    apply(json!({"models": models, "replicas": 1})).await?;
    replicas(1).await?;
    let url = operated.runner.url.clone();
    let models = json!([{"name": "captions", "task": "image-to-text"}]);
    apply(json!({"models": models, "external": {"endpoints": [url]}})).await?;
    operated.pool_is_ready("pods").await
}

/// Waits until the pool's status tells of an endpoint.
async fn told_of(operated: &Operated, pool: &str, endpoint: &str) -> Result<()> {
    eventually("the pool to tell", PATIENCE, async || {
        let status = operated.pools.get(pool).await?.status.unwrap_or_default();
        let mut conditions = status.conditions.iter();
        let tells = conditions.any(|each| each.message.contains(endpoint));
        ensure!(tells, "{status:?}");
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn the_operator_has_the_rights_that_it_uses_and_no_others() -> Result<()> {
    let scratch = tempfile::tempdir()?;
    let (policy, log) = (scratch.path().join("policy"), scratch.path().join("log"));
    let rules = json!({
        "apiVersion": "audit.k8s.io/v1", "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [{"level": "Metadata"}],
    });
    std::fs::write(&policy, rules.to_string())?;
    let authority = Authority::new()?;
    let receiver = Receiver::start(&authority).await?;
    let mut options = Options::flags(["--sweep-every-seconds=1", "--sweep-grace-seconds=1800"]);
    options.flags.extend([
        format!("--callback-allow=localhost:{}", receiver.port),
        format!("--callback-ca-file={}", authority.file().display()),
    ]);
    options.api_server_flags = vec![
        format!("--audit-policy-file={}", policy.display()),
        format!("--audit-log-path={}", log.display()),
    ];
    let operated = Operated::start(options.clone()).await?;
    tour(&operated, &options, &receiver).await?;

    let granted = granted()?;
    eventually("every right to be used", PATIENCE, async || {
        let used = used(&log, &granted)?;
        let unused: Vec<_> = granted.difference(&used).collect();
        ensure!(unused.is_empty(), "never used: {unused:#?}");
        Ok(())
    })
    .await?;
    Ok(())
}

#[tokio::test]
async fn an_operator_of_one_namespace_needs_no_right_on_any_other() -> Result<()> {
    let mut options = Options::flags(["--watch-namespace=team-a", "--sweep-every-seconds=1"]);
    options.rights[1] = "manifests/install/watch-namespace/operator/rbac-jobs.yaml";
    let operated = Operated::start(options).await?;
    let team: Api<InferenceJob> = Api::namespaced(operated.client.clone(), TEAM);
    let create = PostParams::default();
    team.create(&create, &Operated::job("ours", "caption x"))
        .await?;
    operated.submit("theirs", "caption x").await?;
    let ended = eventually("the job to end", PATIENCE, async || {
        let status = team.get("ours").await?.status.unwrap_or_default();
        ensure!(status.phase == Phase::Succeeded, "{status:?}");
        Ok(())
    });
    ended.await?;
    // Whole sweeps need every list that they ask for.
    eventually("a sweep", PATIENCE, async || {
        let metrics = reqwest::get(format!("{}/metrics", operated.health_url)).await?;
        let metrics = metrics.text().await?;
        let complete = "fovea_operator_sweeps_total{outcome=\"complete\"} ";
        ensure!(
            metrics.contains(complete),
            "{}",
            operated.operator.log_tail()
        );
        Ok(())
    })
    .await?;
    let log = operated.operator.log_tail();
    assert!(!log.contains("forbidden"), "{log}");
    assert_eq!(operated.jobs.get("theirs").await?.status, None);
    Ok(())
}
