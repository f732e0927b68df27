//! How many pods there are, and by which template.

use super::*;

#[test]
fn a_change_of_the_template_rolls_and_swaps_where_no_node_has_room_for_one_more() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        pool(client, "rolling", &json!({})).await?;
        let name = "rolling-runner";
        let first = pods(operated, "rolling", 1).await?.remove(0).name_any();
        ready(client, &first).await?;
        pool(
            client,
            "rolling",
            &json!({"template": {"env": [{"name": "RUST_LOG", "value": "debug"}]}}),
        )
        .await?;
        let both = pods(operated, "rolling", 2).await?;
        let second = both
            .into_iter()
            .find(|pod| pod.name_any() != first)
            .context("a second")?;
        let long_ago = "2026-01-01T00:00:00Z";
        report(client, &second.name_any(), json!({"conditions": [{"type": "PodScheduled", "status": "False",
            "reason": "Unschedulable", "message": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu.",
            "lastTransitionTime": long_ago}]}))
        .await?;
        let surge = |each: &Deployment| {
            let json = serde_json::to_value(each).unwrap_or_default();
            json["spec"]["strategy"]["rollingUpdate"]["maxSurge"].clone()
        };
        found::<Deployment>(operated, name, |each| surge(each) == json!(0)).await?;
        // No node has the old one, so that it goes at once.
        let alone = pods(operated, "rolling", 1).await?.remove(0).name_any();
        assert_eq!(alone, second.name_any());
        ready(client, &alone).await?;
        found::<Deployment>(operated, name, |each| surge(each) == json!(1)).await?;
        Ok(())
    })
}

#[test]
fn who_goes_when_there_are_to_be_fewer_is_marked_first() -> Result<()> {
    Operated::shared(async |operated| {
        let client = &operated.client;
        pool(client, "shrinking", &json!({"replicas": 3})).await?;
        for pod in pods(operated, "shrinking", 3).await? {
            ready(client, &pod.name_any()).await?;
        }
        let params = PatchParams::default();
        let scale = Patch::Merge(json!({"spec": {"replicas": 1}}));
        api::<RunnerPool>(client)
            .patch_scale("shrinking", &params, &scale)
            .await?;
        let cost = "controller.kubernetes.io/pod-deletion-cost";
        let labels = ListParams::default().labels("fovea.dev/pool=shrinking");
        let stays = eventually("two marked pods", PATIENCE, || async {
            let pods = api::<Pod>(client).list(&labels).await?.items;
            let is_marked = |pod: &&Pod| pod.annotations().contains_key(cost);
            let (marked, others): (Vec<_>, Vec<_>) = pods.iter().partition(is_marked);
            ensure!(pods.len() == 3 && marked.len() == 2, "{pods:?}");
            Ok(others[0].name_any())
        })
        .await?;
        let remaining = pods(operated, "shrinking", 1).await?.remove(0);
        assert_eq!(remaining.name_any(), stays);
        Ok(())
    })
}
