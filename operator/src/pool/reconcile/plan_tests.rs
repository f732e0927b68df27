use super::super::observe::{Folder, ObservedModel};
use super::super::observe_fixtures::{observed, pool, up};
use super::*;
use crate::pool::build::deployment::{deployment, replicas_of, template_of};
use crate::pool::config::PoolsConfig;
use crate::pool::load::Load;
use crate::pool::rollout::Strategy;
use crate::pool::weights::{WeightsError, locate};
use clap::Parser;
use fovea_crds::RunnerPool;
use fovea_store::StoreConfig;
use serde_json::{Value, json};
use std::sync::Arc;

#[derive(Parser)]
struct Flags {
    #[command(flatten)]
    pools: PoolsConfig,
}

fn build() -> Build {
    let store = StoreConfig::at("http://127.0.0.1:9000".parse().unwrap(), "b");
    let pools = Flags::parse_from(["fovea"]).pools;
    Build::new(pools, "ns", &store, fovea_proxy::Proxies::default())
}

fn planned(observed: &Observed<'_>) -> Plan {
    let material = |_: &str, _: Timestamp, _: Duration| {
        Ok::<_, String>(Material {
            certificate: "c".into(),
            key: "k".into(),
            authority: "a".into(),
            token: "t".into(),
        })
    };
    plan(observed, &mut Memory::default(), &build(), material)
}

fn prepared(observed: &Observed<'_>) -> Prepared {
    match planned(observed) {
        Plan::Delete => panic!("it has pods"),
        Plan::Apply(prepared) => *prepared,
    }
}

/// Model `m` of the pool, with its folder.
fn model(pool: &RunnerPool, folder: Folder) -> ObservedModel<'_> {
    let model = &pool.spec.models[0];
    ObservedModel {
        model,
        source: None,
        commit: None,
        location: locate(&pool.spec.models, model, None).unwrap(),
        import: None,
        folder,
    }
}

fn live(pool: &RunnerPool, replicas: u32) -> Deployment {
    deployment(&observed(pool).subject, &build(), replicas, Strategy::Surge)
}

fn missing() -> Folder {
    Folder::Unusable(WeightsError::NoManifest("models/x/".into()))
}

#[test]
fn an_external_pool_s_objects_are_deleted() {
    let pool = pool(&json!({"external": {"endpoints": ["https://a"]}}));
    assert!(matches!(planned(&observed(&pool)), Plan::Delete));
}

#[test]
fn a_refused_spec_changes_no_object_and_is_a_fault() {
    let template = json!({"priorityClassName": "system-node-critical"});
    let pool = pool(&json!({"template": template}));
    let prepared = prepared(&observed(&pool));
    assert!(prepared.objects.is_none() && prepared.runners.is_none());
    assert_eq!(prepared.outlook.faults[0].reason, "SpecRefused");
}

#[test]
fn a_new_pool_gets_its_objects_and_as_many_runners_as_its_spec_says() {
    let pool = pool(&json!({"replicas": 2}));
    let mut observed = observed(&pool);
    observed.models = vec![model(&pool, Folder::Complete)];
    let Prepared {
        objects,
        imports,
        runners,
        outlook,
        kept: _,
    } = prepared(&observed);
    let (_, access) = objects.unwrap().secret.unwrap();
    assert_eq!(access.unwrap().token, "t");
    assert!(imports.is_empty());
    let Change::Replace(deployment) = runners.unwrap().change else {
        panic!("there is no Deployment yet")
    };
    assert_eq!(replicas_of(&deployment), Some(2));
    assert_eq!(outlook.pods.desired, 2);
    assert!(outlook.weights.contains_key("m"));
    assert_eq!(outlook.faults, []);
    assert_eq!(outlook.progressing.unwrap().reason, "RunnersStarting");
}

#[test]
fn runners_keep_their_template_until_the_weights_of_the_next_are_available() {
    let before = pool(&json!({"models": []}));
    let pool = pool(&json!({"replicas": 3}));
    let mut observed = observed(&pool);
    observed.children.deployment = Some(Arc::new(live(&before, 1)));
    observed.models = vec![model(&pool, missing())];
    let waiting = prepared(&observed);
    let change = waiting.runners.unwrap().change;
    assert!(matches!(change, Change::Scale(3)), "{change:?}");
    assert_eq!(waiting.outlook.faults[0].reason, "WeightsMissing");
    let reason = waiting.outlook.progressing.unwrap().reason;
    assert_eq!(reason, "WaitingForWeights");

    observed.models = vec![model(&pool, Folder::Complete)];
    let Change::Replace(deployment) = prepared(&observed).runners.unwrap().change else {
        panic!("the weights are there")
    };
    assert_eq!(template_of(&deployment), template_of(&live(&pool, 3)));
}

#[test]
fn weights_that_the_store_cannot_confirm_now_stay_available() {
    let pool = pool(&json!({}));
    let mut observed = observed(&pool);
    observed.models = vec![model(&pool, Folder::Unconfirmed)];
    let outlook = prepared(&observed).outlook;
    assert!(outlook.weights.contains_key("m"));
    assert_eq!(outlook.faults, []);
}

#[test]
fn the_runner_with_the_fewest_jobs_is_marked_for_removal() {
    let pool = pool(&json!({"replicas": 1}));
    let mut observed = observed(&pool);
    observed.children.deployment = Some(Arc::new(live(&pool, 2)));
    let pod = |name: &str| {
        let conditions = json!([{"type": "Ready", "status": "True"}]);
        let status = json!({"phase": "Running", "podIP": "10.0.0.1", "conditions": conditions});
        let pod: Value = json!({"metadata": {"name": name}, "status": status});
        Arc::new(serde_json::from_value(pod).unwrap())
    };
    observed.children.pods = vec![pod("busy"), pod("idle")];
    let mut busy = up(None);
    busy.running = 1;
    let runners = [("busy", busy), ("idle", up(None))];
    let runners =
        runners.map(|(name, load)| (format!("https://{name}.p-runner.ns.svc:9400/"), load));
    observed.load = Some(Load {
        connected: true,
        runners: runners.into(),
        ..Load::default()
    });
    let prepared = prepared(&observed);
    // As long as the pool's network policy cannot be applied, no runner is taken out of service.
    let kept = &prepared.kept;
    assert_eq!((kept.pods.desired, prepared.outlook.pods.desired), (2, 1));
    assert!(kept.runners.iter().all(|runner| !runner.leaving));
    let expected = Mark {
        pod: "idle".into(),
        leaving: true,
    };
    assert_eq!(prepared.runners.unwrap().marks, [expected]);
    let leaving = prepared.outlook.runners.iter();
    let leaving: Vec<_> = leaving
        .filter(|runner| runner.leaving)
        .map(|runner| runner.name.as_str())
        .collect();
    assert_eq!(leaving, ["idle"]);
}
