//! Batches on real parts, from the objects in the bucket to the rows.

use crate::support::{answers, create, ended, jobs, patch, stack, status_where, unique};
use anyhow::{Context as _, Result, ensure};
use fovea_crds::{InferenceJob, InferenceJobStatus, Input, OutputFormat, Phase, Task, conditions};
use fovea_harness::stack::JOB_NAMESPACE as NAMESPACE;
use fovea_protocol::{InferResult, Row};
use fovea_store::Store;
use fovea_tests::batches::{Written, batch, each_once, picture, prefix, put, put_all, tar};
use fovea_tests::operated::create_namespace;
use fovea_tests::pods;
use kube::api::PostParams;
use kube::{Api, ResourceExt as _};
use serde_json::json;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

async fn store() -> Result<Store> {
    pods::store(&stack().await.minio).await
}

/// A classification with the smallest of the demo's models.
fn labels(name: &str, input: Input) -> InferenceJob {
    batch(
        name,
        Task::ImageClassification,
        input,
        &format!("out/{name}"),
    )
}

/// Many pictures for one object in the bucket: the lines of a manifest differ in their ids.
async fn many(name: &str, key: &str, count: u32) -> Result<Input> {
    let lines = (0..count).map(|id| json!({"key": key, "id": id.to_string()}).to_string() + "\n");
    let manifest = format!("manifests/{name}.jsonl");
    put(
        &store().await?,
        NAMESPACE,
        &manifest,
        lines.collect::<String>(),
    )
    .await?;
    Ok(Input::Manifest { key: manifest })
}

async fn one_picture(name: &str) -> Result<String> {
    let key = format!("{name}.bmp");
    put(&store().await?, NAMESPACE, &key, picture(7)).await?;
    Ok(key)
}

fn counts(status: &InferenceJobStatus) -> [u64; 4] {
    let counts = status.counts.unwrap_or_default();
    [
        counts.total,
        counts.succeeded,
        counts.failed,
        counts.skipped,
    ]
}

async fn written(status: &InferenceJobStatus) -> Result<Written> {
    let output = status
        .output
        .as_ref()
        .with_context(|| format!("no output: {status:?}"))?;
    Written::read(&store().await?, NAMESPACE, output).await
}

fn label(row: &Row) -> Option<&str> {
    match &row.result {
        Some(InferResult::Predictions(predictions)) => Some(&predictions.first()?.label),
        _ => None,
    }
}

#[tokio::test]
async fn a_prefix_becomes_rows_in_its_order_and_a_bad_picture_is_a_row() -> Result<()> {
    let (name, store) = (unique("prefix"), store().await?);
    let known = answers::<String>("labels.json");
    let file = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    let mut objects = vec![
        (format!("{name}/in/bad.jpg"), b"no picture".to_vec()),
        (
            format!("{name}/in/notes.txt"),
            b"no picture either".to_vec(),
        ),
        (format!("{name}/in/sub/zz.bmp"), picture(1)),
        (format!("{name}/in/left/out.bmp"), picture(2)),
        (format!("{name}/in-another/picture.bmp"), picture(3)),
    ];
    for path in known.keys() {
        objects.push((format!("{name}/in/{}", file(path)), std::fs::read(path)?));
    }
    put_all(&store, NAMESPACE, objects).await?;
    let input = Input::Prefix {
        prefix: format!("{name}/in"),
        include: Vec::new(),
        exclude: vec!["left/**".to_owned()],
    };
    create(&labels(&name, input)).await?;
    let status = ended(&name).await?;
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    let good = known.len() as u64 + 1;
    let [total, succeeded, failed, skipped] = counts(&status);
    assert_eq!(
        [total, succeeded, failed],
        [good + 1, good, 1],
        "{status:?}"
    );
    assert!(skipped >= 1, "{status:?}");
    assert_eq!(status.progress_permille, Some(1000));
    let summary = format!("{total}/{total}, 1 failed");
    assert_eq!(status.summary, Some(summary));

    let rows = written(&status).await?.rows()?;
    let keys: Vec<_> = rows.iter().map(|row| row.key.as_str()).collect();
    assert!(keys.is_sorted(), "{keys:?}");
    assert_eq!(rows.len() as u64, total, "{keys:?}");
    for row in &rows {
        let key = row
            .key
            .strip_prefix(&format!("{name}/in/"))
            .context("another key")?;
        assert_eq!(row.id, row.key);
        if key == "bad.jpg" {
            let error = row.error.as_ref().context("no error")?;
            assert_eq!(error.reason, "InvalidPicture", "{row:?}");
            continue;
        }
        assert!(
            row.sha256.is_some() && row.width > Some(0) && row.height > Some(0),
            "{row:?}"
        );
        assert_eq!(
            row.model.as_ref().map(|model| model.name.as_str()),
            Some("vit-demo")
        );
        if let Some((_, answer)) = known.iter().find(|(path, _)| file(path) == key) {
            assert_eq!(label(row), Some(answer.as_str()), "{row:?}");
        }
    }
    Ok(())
}

fn gzip(text: &str) -> Result<Vec<u8>> {
    let mut gzip = Command::new("gzip")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    gzip.stdin
        .take()
        .context("no stdin")?
        .write_all(text.as_bytes())?;
    Ok(gzip.wait_with_output()?.stdout)
}

#[tokio::test]
async fn a_compressed_csv_names_pictures_ids_and_parameters_and_a_bad_line_is_a_row() -> Result<()>
{
    let (name, store) = (unique("manifest"), store().await?);
    let key = one_picture(&name).await?;
    let csv = format!(
        "key,id,topK\n{key},first,\n{key},\"second, with a comma\",2\n../other/x.jpg,third,\n{name}-nowhere.jpg,fourth,\n"
    );
    put(&store, NAMESPACE, &format!("{name}.csv.gz"), gzip(&csv)?).await?;
    let mut job = labels(
        &name,
        Input::Manifest {
            key: format!("{name}.csv.gz"),
        },
    );
    job.spec.parameters.top_k = Some(1);
    create(&job).await?;
    let status = ended(&name).await?;
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    assert_eq!(counts(&status), [4, 2, 2, 0], "{status:?}");
    let rows = written(&status).await?.rows()?;
    let ids: Vec<_> = rows.iter().map(|row| row.id.as_str()).collect();
    assert_eq!(ids[..2], ["first", "second, with a comma"], "{rows:?}");
    let predictions = |row: &Row| match &row.result {
        Some(InferResult::Predictions(predictions)) => predictions.len(),
        _ => 0,
    };
    assert_eq!([predictions(&rows[0]), predictions(&rows[1])], [1, 2]);
    let error = |row: &Row| row.error.clone().map(|error| (error.reason, error.message));
    let (reason, message) = error(&rows[2]).context("no error")?;
    assert_eq!(reason, "InvalidKey");
    assert!(message.contains("line 4"), "{message}");
    assert_eq!(error(&rows[3]).context("no error")?.0, "PictureNotFound");
    Ok(())
}

#[tokio::test]
async fn archives_become_parts_and_what_lies_beside_a_picture_is_carried_through() -> Result<()> {
    let (name, store) = (unique("archives"), store().await?);
    let pictures: Vec<Vec<u8>> = (0..20).map(picture).collect();
    for archive in 0..2 {
        let names: Vec<_> = (0..10).map(|at| format!("{archive}/{at:04}.bmp")).collect();
        let mut members = Vec::new();
        for (at, member) in names.iter().enumerate() {
            members.push((member.as_str(), pictures[archive * 10 + at].as_slice()));
        }
        let (text, data) = (
            format!("{archive}/0009.txt"),
            format!("{archive}/0009.json"),
        );
        members.push((&text, b"the last one"));
        members.push((&data, br#"{"split": "train"}"#));
        put(
            &store,
            NAMESPACE,
            &format!("{name}/{archive}.tar"),
            tar(members),
        )
        .await?;
    }
    put(
        &store,
        NAMESPACE,
        &format!("{name}/notes.txt"),
        "no archive",
    )
    .await?;
    create(&labels(
        &name,
        Input::Archives {
            prefix: name.clone(),
        },
    ))
    .await?;
    let status = ended(&name).await?;
    assert_eq!(status.phase, Phase::Succeeded, "{status:?}");
    assert_eq!(counts(&status)[..3], [20, 20, 0], "{status:?}");
    let rows = written(&status).await?.rows()?;
    let expected = (0..20).map(|at| format!("{}/{:04}.bmp", at / 10, at % 10));
    each_once(&rows, expected)?;
    for row in &rows {
        let (archive, _) = row.id.split_once('/').context("another id")?;
        assert_eq!(row.key, format!("{name}/{archive}.tar/{}", row.id));
        let meta = if row.key.ends_with("0009.bmp") {
            json!({"txt": "the last one", "json": {"split": "train"}})
        } else {
            json!({})
        };
        assert_eq!(json!(row.meta), meta, "{row:?}");
    }
    Ok(())
}

#[tokio::test]
async fn parquet_and_csv_have_as_many_files_as_there_are_parts() -> Result<()> {
    let (name, store) = (unique("formats"), store().await?);
    let pictures = (0..5).map(|number| (format!("{name}/{number}.bmp"), picture(number)));
    put_all(&store, NAMESPACE, pictures).await?;
    for (format, begin) in [
        (OutputFormat::Parquet, "PAR1"),
        (OutputFormat::Csv, "id,key,"),
    ] {
        let name_of = format!("{name}-{}", format.as_str());
        let mut job = labels(&name_of, prefix(&name));
        job.spec.output.as_mut().context("an output")?.format = format;
        create(&job).await?;
        let status = ended(&name_of).await?;
        assert_eq!(counts(&status), [5, 5, 0, 0], "{status:?}");
        for (file, body) in written(&status).await?.objects {
            assert!(file.ends_with(format.as_str()), "{file}");
            assert!(body.starts_with(begin.as_bytes()), "{file}: {body:?}");
        }
    }
    Ok(())
}

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
        let found = conditions::get(&status.conditions, conditions::SUSPENDED);
        status.phase.is_terminal() || found.is_some_and(|found| found.status == "True")
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
