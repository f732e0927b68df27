//! Batches on real parts, from the objects in the bucket to the rows.

mod life;
mod reuse;

use crate::support::{answers, create, ended, http, jobs, patch, stack, status_where, unique};
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
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

async fn store() -> Result<Store> {
    pods::store(&stack().await.store).await
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
        "key,id,topK\n{key},first,\n{key},\"second, with a comma\",2\n../other/x.jpg,third,\n{name}-nowhere.jpg,fourth,2\n"
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

    // A retry does the failed lines again, with their own parameters.
    put(
        &store,
        NAMESPACE,
        &format!("{name}-nowhere.jpg"),
        picture(8),
    )
    .await?;
    let url = format!("{}/v1/batches/{name}/retry", stack().await.api_url());
    let answer = http().post(url).send().await?.error_for_status()?;
    let again: Value = answer.json().await?;
    let again = again["id"].as_str().context("no id")?;
    let status = ended(again).await?;
    assert_eq!(counts(&status), [2, 1, 1, 0], "{status:?}");
    let rows = written(&status).await?.rows()?;
    assert_eq!(rows[1].id, "fourth");
    assert_eq!(predictions(&rows[1]), 2, "{rows:?}");
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
