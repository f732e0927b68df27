//! Two teams with a namespace and a token each.

use anyhow::{Context as _, Result};
use fovea_tests::Installed;
use fovea_tests::demo::first;

#[test]
fn two_tenants_see_their_own_jobs_and_nothing_of_each_other() -> Result<()> {
    Installed::shared(async |it| {
        let (red, blue) = (it.tenant("team-red").await?, it.tenant("team-blue").await?);
        let (picture, caption) = first::<String>("captions.json");
        let of_red = red.submitted_and_ended(&picture, &[]).await?;
        let of_blue = blue.submitted_and_ended(&picture, &[]).await?;
        assert_eq!(of_red["result"]["caption"], caption, "{of_red}");
        assert_eq!(of_blue["namespace"], "team-blue", "{of_blue}");

        let (red_id, blue_id) = (of_red["id"].as_str(), of_blue["id"].as_str());
        let (red_id, blue_id) = (red_id.context("an id")?, blue_id.context("an id")?);
        assert_eq!(red.job(red_id).await?.0, 200);
        assert_eq!(red.job(blue_id).await?.0, 404);
        let in_others = red.within("team-blue");
        assert_eq!(in_others.job(blue_id).await?.0, 404);
        let (status, problem) = in_others.submit(&picture, &[]).await?;
        assert_eq!(status, 403, "{problem}");

        // kubectl has the same rights; only the operator may write a status.
        let may = async |verb: &str, what: &str, namespace: &str| {
            let user = "system:serviceaccount:team-red:user";
            it.cluster
                .control_plane
                .may(user, verb, what, namespace)
                .await
        };
        assert!(may("create", "inferencejobs.fovea.dev", "team-red").await?);
        assert!(!may("create", "inferencejobs.fovea.dev", "team-blue").await?);
        assert!(!may("update", "inferencejobs.fovea.dev/status", "team-red").await?);
        assert!(!may("create", "runnerpools.fovea.dev", "team-red").await?);
        Ok(())
    })
}
