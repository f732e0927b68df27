//! Objects of a pool: created, restored, not touched, deleted.

use super::*;

#[test]
fn a_pool_s_objects_are_made_are_put_back_where_changed_and_go_with_it() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        enforce_restricted(client).await?;
        let made = pool(client, "whole", &json!({"replicas": 2})).await?;
        let uid = made.uid().context("a uid")?;
        let name = "whole-runner";
        let deployment = found::<Deployment>(operated, name, |_| true).await?;
        let secret = found::<Secret>(operated, name, |_| true).await?;
        found::<Service>(operated, name, |_| true).await?;
        found::<NetworkPolicy>(operated, name, |_| true).await?;
        found::<PodDisruptionBudget>(operated, name, |_| true).await?;
        assert_eq!(deployment.owner_references()[0].uid, uid);
        assert_eq!(secret.type_.as_deref(), Some("fovea.dev/runner-token"));
        let keys: Vec<_> = secret
            .data
            .iter()
            .flatten()
            .map(|(key, _)| key.as_str())
            .collect();
        assert_eq!(
            keys,
            ["ca.crt", "hosts", "tls.crt", "tls.key", "token", "tokens"]
        );
        pods(operated, "whole", 2).await?;

        let params = PatchParams::default();
        let containers = json!([
            {"name": "runner", "image": "evil", "env": [{"name": "ADDED", "value": "x"}]},
            {"name": "sidecar", "image": "evil"},
        ]);
        let edit =
            json!({"spec": {"replicas": 5, "template": {"spec": {"containers": containers}}}});
        api::<Deployment>(client)
            .patch(name, &params, &Patch::Strategic(edit))
            .await?;
        let pod = |each: &Deployment| serde_json::to_value(&each.spec.as_ref()?.template.spec).ok();
        found::<Deployment>(operated, name, |each| {
            replicas(each) == Some(2) && pod(each) == pod(&deployment)
        })
        .await?;
        api::<NetworkPolicy>(client)
            .delete(name, &DeleteParams::default())
            .await?;
        found::<NetworkPolicy>(operated, name, |_| true).await?;
        let edit = json!({"spec": {"egress": [{}]}});
        api::<NetworkPolicy>(client)
            .patch(name, &params, &Patch::Merge(edit))
            .await?;
        let closed = |policy: &NetworkPolicy| {
            let egress = policy.spec.as_ref().and_then(|spec| spec.egress.as_ref());
            egress.is_some_and(|rules| rules.iter().all(|rule| rule.to.is_some()))
        };
        found::<NetworkPolicy>(operated, name, closed).await?;

        // `kubectl scale`, and what an HPA does.
        let scale = Patch::Merge(json!({"spec": {"replicas": 3}}));
        api::<RunnerPool>(client)
            .patch_scale("whole", &params, &scale)
            .await?;
        pods(operated, "whole", 3).await?;

        api::<RunnerPool>(client)
            .delete("whole", &DeleteParams::default())
            .await?;
        eventually("the pool's objects to go", PATIENCE, || async {
            is_gone::<Deployment>(client, name).await?;
            is_gone::<Secret>(client, name).await?;
            is_gone::<Service>(client, name).await
        })
        .await?;
        Ok(())
    })
}

#[test]
fn a_pool_that_stands_still_costs_no_write() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        pool(client, "still", &json!({})).await?;
        let pod = pods(operated, "still", 1).await?.remove(0).name_any();
        let name = "still-runner";
        let generation = async || -> Result<_> {
            let deployment = api::<Deployment>(client).get(name).await?;
            let secret = api::<Secret>(client).get(name).await?;
            Ok((deployment.metadata.generation, secret.resource_version()))
        };
        let count = async || -> Result<usize> {
            let log = tokio::fs::read_to_string(operated.operator.log_path()).await?;
            Ok(log
                .lines()
                .filter(|line| line.contains("applied") && line.contains(name))
                .count())
        };
        let (before, writes) = (generation().await?, count().await?);
        // Each of these causes a reconcile of the pool.
        report(
            client,
            &pod,
            json!({"phase": "Pending", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}]}),
        )
        .await?;
        let waiting = json!({"name": "runner", "image": "nowhere/runner:1", "imageID": "", "ready": false, "restartCount": 0,
            "state": {"waiting": {"reason": "ImagePullBackOff", "message": "Back-off pulling image"}}});
        report(
            client,
            &pod,
            json!({"phase": "Pending", "containerStatuses": [waiting]}),
        )
        .await?;
        logged(operated, &["ImagePullBackOff", &pod, "nowhere/runner:1"]).await?;
        assert_eq!(generation().await?, before);
        assert_eq!(count().await?, writes);
        Ok(())
    })
}

#[test]
fn a_pool_that_becomes_external_has_no_pods_any_more() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        pool(client, "leaving", &json!({})).await?;
        let name = "leaving-runner";
        found::<Deployment>(operated, name, |_| true).await?;
        found::<PodDisruptionBudget>(operated, name, |_| true).await?;
        pool(
            client,
            "leaving",
            &json!({"external": {"endpoints": ["http://127.0.0.1:9"]}}),
        )
        .await?;
        eventually("its objects to go", PATIENCE, || async {
            is_gone::<Deployment>(client, name).await?;
            is_gone::<Service>(client, name).await?;
            is_gone::<Secret>(client, name).await?;
            is_gone::<NetworkPolicy>(client, name).await?;
            is_gone::<PodDisruptionBudget>(client, name).await
        })
        .await?;
        pods(operated, "leaving", 0).await?;
        Ok(())
    })
}

#[test]
fn a_foreign_object_is_not_touched_and_the_pool_reports_it() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        let foreign =
            json!({"metadata": {"name": "taken-runner"}, "spec": {"ports": [{"port": 1}]}});
        let services = api::<Service>(client);
        let made = services
            .create(&PostParams::default(), &serde_json::from_value(foreign)?)
            .await?;
        pool(client, "taken", &json!({})).await?;
        logged(operated, &["NameTaken", "Service taken-runner"]).await?;
        let kept = services.get("taken-runner").await?;
        assert_eq!(kept.resource_version(), made.resource_version());
        services
            .delete("taken-runner", &DeleteParams::default())
            .await?;
        found::<Service>(operated, "taken-runner", |service| {
            !service.owner_references().is_empty()
        })
        .await?;
        Ok(())
    })
}
