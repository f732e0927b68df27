//! Responses of both families while the store or the cluster is down.

use super::super::harness::{Service, Surroundings, cluster, own_minio, send};
use super::super::pictures::jpeg;
use super::{Field, form, is_detail};
use fovea_tests::proxy::kubeconfig;
use std::net::TcpListener;

const ID: &str = "550e8400-e29b-41d4-a716-446655440000";

/// Uploads by both families, and the status that each answers.
async fn uploads(api: &Service) -> anyhow::Result<()> {
    let picture = jpeg(80);
    let fields = [
        Field::File("file", "a.jpg", &picture),
        Field::Text("analysis_type", "classification"),
    ];
    for (path, status) in [("/upload-image", 500), ("/api/v1/upload", 503)] {
        let answer = send(form(api, path, &fields)).await?;
        assert!(is_detail(&answer, status), "{path}: {answer:?}");
        assert!(answer.header("retry-after").is_some(), "{path}: {answer:?}");
    }
    Ok(())
}

#[tokio::test]
async fn without_the_cluster_one_family_answers_500_and_the_other_503() -> anyhow::Result<()> {
    let scratch = tempfile::tempdir()?;
    let closed = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let path = scratch.path().join("kubeconfig");
    std::fs::write(&path, kubeconfig(&format!("http://{closed}"), None))?;
    cluster().await?;
    let surroundings = Surroundings {
        kubeconfig: path,
        ..Surroundings::shared().await?
    };
    let api = Service::start_in(surroundings, &[]).await?;
    uploads(&api).await?;
    let answer = api.get(&format!("/job-status/{ID}")).await?;
    assert!(is_detail(&answer, 500), "{answer:?}");
    let answer = api.get(&format!("/api/v1/status/{ID}")).await?;
    assert!(is_detail(&answer, 503), "{answer:?}");
    assert_eq!(api.get("/api/v1/health").await?.status, 503);
    Ok(())
}

#[tokio::test]
async fn without_the_object_store_both_families_answer_errors_and_create_no_job()
-> anyhow::Result<()> {
    let mut minio = own_minio().await?;
    let surroundings = Surroundings::with(&minio).await?;
    let api = Service::start_in(surroundings, &["--s3-max-attempts", "1"]).await?;
    minio.process().kill().await?;
    uploads(&api).await?;
    assert_eq!(api.names().await?, Vec::<String>::new());
    Ok(())
}
