//! Batches that are held, suspended, cancelled, applied again, or that fail; and two beside one another.

use super::*;

#[tokio::test]
async fn a_batch_without_parallelism_is_held_and_goes_on_with_more() -> Result<()> {
    let name = unique("parallelism");
    let key = one_picture(&name).await?;
    let mut job = labels(&name, many(&name, &key, 30).await?);
    job.spec.parallelism = Some(0);
    create(&job).await?;
    let planned = |status: &InferenceJobStatus| counts(status)[0] == 30;
    let held = status_where(&name, "to be planned", planned).await?;
    assert_eq!(
        (held.phase.is_terminal(), counts(&held)),
        (false, [30, 0, 0, 0]),
        "{held:?}"
    );
    patch(&name, json!({"parallelism": 2})).await?;
    let status = ended(&name).await?;
    assert_eq!(
        (status.phase, counts(&status)),
        (Phase::Succeeded, [30, 30, 0, 0]),
        "{status:?}"
    );
    Ok(())
}

#[tokio::test]
async fn a_suspended_batch_goes_on_where_it_was_once_it_is_resumed() -> Result<()> {
    let name = unique("suspended");
    let key = one_picture(&name).await?;
    let mut job = labels(&name, many(&name, &key, 8_000).await?);
    job.spec.parallelism = Some(1);
    create(&job).await?;
    let begun = |status: &InferenceJobStatus| counts(status)[1] > 0;
    status_where(&name, "to have done some", begun).await?;
    patch(&name, json!({"suspend": true})).await?;
    let suspended = |status: &InferenceJobStatus| {
        let found = conditions::get_true(&status.conditions, conditions::SUSPENDED);
        status.phase.is_terminal() || found.is_some()
    };
    status_where(&name, "to be suspended", suspended).await?;
    patch(&name, json!({"suspend": false})).await?;
    let status = ended(&name).await?;
    assert_eq!(
        (status.phase, counts(&status)),
        (Phase::Succeeded, [8_000, 8_000, 0, 0]),
        "{status:?}"
    );
    each_once(
        &written(&status).await?.rows()?,
        (0..8_000).map(|id| id.to_string()),
    )
}

#[tokio::test]
async fn a_cancelled_batch_keeps_the_parts_that_are_done_and_has_no_success() -> Result<()> {
    let name = unique("cancelled");
    let key = one_picture(&name).await?;
    let mut job = labels(&name, many(&name, &key, 100_000).await?);
    job.spec.parallelism = Some(1);
    create(&job).await?;
    // One shard at a time has at most a thousand: with more one is done.
    let begun = |status: &InferenceJobStatus| counts(status)[1] > 1_000;
    status_where(&name, "to have done a shard", begun).await?;
    patch(&name, json!({"cancel": true})).await?;
    let status = ended(&name).await?;
    assert_eq!(status.phase, Phase::Cancelled, "{status:?}");
    let written = written(&status).await?;
    ensure!(written.success.is_none(), "{:?}", written.success);
    let rows = written.rows()?;
    let ids: std::collections::BTreeSet<_> = rows.iter().map(|row| &row.id).collect();
    assert!(
        !rows.is_empty() && ids.len() == rows.len(),
        "{} rows",
        rows.len()
    );
    assert_eq!(counts(&status)[1], rows.len() as u64, "{status:?}");
    Ok(())
}

#[tokio::test]
async fn the_same_manifest_applied_again_runs_nothing_again() -> Result<()> {
    let name = unique("again");
    put(
        &store().await?,
        NAMESPACE,
        &format!("{name}/1.bmp"),
        picture(1),
    )
    .await?;
    let job = labels(&name, prefix(&name));
    let yaml = serde_json::to_string(&job)?;
    let control_plane = &stack().await.control_plane;
    control_plane.kubectl_apply("", &yaml).await?;
    control_plane.kubectl_apply("", &yaml).await?;
    let status = ended(&name).await?;
    assert_eq!(
        (status.phase, counts(&status)),
        (Phase::Succeeded, [1, 1, 0, 0]),
        "{status:?}"
    );
    let uid = jobs().await.get(&name).await?.uid();
    control_plane.kubectl_apply("", &yaml).await?;
    let after = jobs().await.get(&name).await?;
    assert_eq!((after.uid(), after.status), (uid, Some(status)));
    Ok(())
}

#[tokio::test]
async fn a_batch_without_a_picture_fails_and_says_so() -> Result<()> {
    let name = unique("empty");
    put(
        &store().await?,
        NAMESPACE,
        &format!("{name}/notes.txt"),
        "no picture",
    )
    .await?;
    create(&labels(&name, prefix(&name))).await?;
    let status = ended(&name).await?;
    let failure = status
        .failure
        .clone()
        .with_context(|| format!("{status:?}"))?;
    assert_eq!(
        (status.phase, failure.reason.as_str()),
        (Phase::Failed, "NoPictures")
    );
    Ok(())
}

#[tokio::test]
async fn too_many_failed_pictures_end_a_batch_early() -> Result<()> {
    let name = unique("failing");
    let mut job = labels(&name, many(&name, "nowhere.jpg", 20_000).await?);
    job.spec.parallelism = Some(1);
    job.spec.max_failed_permille = Some(10);
    create(&job).await?;
    let status = ended(&name).await?;
    let failure = status
        .failure
        .clone()
        .with_context(|| format!("{status:?}"))?;
    assert_eq!(
        (status.phase, failure.reason.as_str()),
        (Phase::Failed, "TooManyFailed")
    );
    let [total, succeeded, failed, _] = counts(&status);
    assert_eq!((total, succeeded), (20_000, 0), "{status:?}");
    assert!((201..20_000).contains(&failed), "{status:?}");
    Ok(())
}

#[tokio::test]
async fn a_small_batch_of_another_namespace_does_not_wait_for_a_large_one() -> Result<()> {
    let (large, small) = (unique("large"), unique("small"));
    let client = stack().await.control_plane.client().await?;
    create_namespace(&client, &small).await?;
    let key = one_picture(&large).await?;
    create(&labels(&large, many(&large, &key, 100_000).await?)).await?;
    let begun = |status: &InferenceJobStatus| counts(status)[1] > 0;
    status_where(&large, "to have done some", begun).await?;
    put(&store().await?, &small, "in/1.bmp", picture(1)).await?;
    let theirs: Api<InferenceJob> = Api::namespaced(client, &small);
    theirs
        .create(&PostParams::default(), &labels(&small, prefix("in")))
        .await?;
    let status = fovea_tests::jobs::ended(&theirs, &small).await?;
    assert_eq!(
        (status.phase, counts(&status)),
        (Phase::Succeeded, [1, 1, 0, 0]),
        "{status:?}"
    );
    let status = jobs().await.get(&large).await?.status.unwrap_or_default();
    assert!(!status.phase.is_terminal(), "{status:?}");
    patch(&large, json!({"cancel": true})).await?;
    ended(&large).await?;
    Ok(())
}
