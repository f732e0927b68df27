//! Clients of async-vision-api.

use super::super::harness::{Service, send, until};
use super::super::pictures::{jpeg, picture, png_header, png_of_length};
use super::{Field, curl, form, is_detail, job_id, missing, write, write_large};
use fovea_crds::labels;
use fovea_crds::{Parameters, Task};
use image::ImageFormat;
use kube::ResourceExt as _;
use kube::api::ListParams;
use serde_json::json;

const UPLOAD: &str = "/api/v1/upload";
const LIMIT: usize = 5 * 1024 * 1024;

#[tokio::test]
async fn the_readme_s_curl_lines_upload_a_picture_and_poll_for_its_caption() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let answer = send(form(
        &api,
        UPLOAD,
        &[Field::File("file", "cat.jpg", &jpeg(40))],
    ))
    .await?;
    assert_eq!(answer.status, 200, "{answer:?}");
    let id = job_id(&answer)?;
    let submitted_at = answer.body["submitted_at"].as_str().unwrap_or_default();
    assert_eq!(submitted_at.len(), "2026-06-17T10:32:00+00:00".len());
    assert!(submitted_at.ends_with("+00:00"), "{submitted_at}");
    assert_eq!(
        answer.body,
        json!({"job_id": id, "status": "PENDING", "submitted_at": submitted_at})
    );

    let job = api.jobs.get(&id).await?;
    assert_eq!(job.spec.task, Task::ImageToText);
    assert_eq!(
        (&job.spec.model, &job.spec.parameters),
        (&None, &Parameters::default())
    );
    assert_eq!(job.spec.ttl_seconds_after_finished, Some(24 * 60 * 60));
    assert_eq!(job.labels()[labels::CLIENT], "async-vision");
    assert_eq!(job.labels()[labels::CREATED_BY], labels::API);

    for (status, shown, caption) in [
        (json!({"phase": "Pending"}), "PENDING", None),
        (json!({"phase": "Running"}), "STARTED", None),
        (json!({"phase": "Pending", "attempts": 1}), "RETRY", None),
        (
            json!({"phase": "Succeeded", "result": {"caption": "a cat"}}),
            "SUCCESS",
            Some("a cat"),
        ),
    ] {
        write(&api, &id, status).await?;
        let answer = api.get(&format!("/api/v1/status/{id}")).await?;
        let result = caption.map(|caption| json!({ "caption": caption }));
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(
            answer.body,
            json!({"job_id": id, "status": shown, "result": result})
        );
    }
    Ok(())
}

#[tokio::test]
async fn curl_works() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let scratch = tempfile::tempdir()?;
    let path = scratch.path().join("cat.jpg");
    std::fs::write(&path, jpeg(41))?;
    let file = format!("file=@{}", path.display());
    let upload = format!("{}{UPLOAD}", api.base);
    let Some(answer) = curl(&["-X", "POST", &upload, "-F", &file]).await? else {
        eprintln!("this machine has no curl: the other tests send the same bytes");
        return Ok(());
    };
    let id = answer["job_id"].as_str().unwrap_or_default();
    let status = curl(&[&format!("{}/api/v1/status/{id}", api.base)]).await?;
    assert_eq!(
        status,
        Some(json!({"job_id": id, "status": "PENDING", "result": null}))
    );
    // A file over a megabyte, for which curl sends `Expect: 100-continue`.
    std::fs::write(&path, png_of_length(LIMIT))?;
    let answer = curl(&["-X", "POST", &upload, "-F", &file]).await?;
    assert_eq!(
        answer.map(|answer| answer["status"].clone()),
        Some(json!("PENDING"))
    );
    Ok(())
}

#[tokio::test]
async fn jobs_that_failed_or_were_cancelled_are_failures_without_a_result() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    for phase in ["Failed", "Cancelled"] {
        let fields = [Field::File("file", "cat.jpg", &jpeg(42))];
        let id = job_id(&send(form(&api, UPLOAD, &fields)).await?)?;
        let failure = json!({"reason": "InvalidPicture", "message": "no", "retryable": false});
        write(&api, &id, json!({"phase": phase, "failure": failure})).await?;
        let answer = api.get(&format!("/api/v1/status/{id}")).await?;
        assert_eq!(
            answer.body,
            json!({"job_id": id, "status": "FAILURE", "result": null})
        );
    }
    Ok(())
}

#[tokio::test]
async fn a_long_caption_is_returned_whole() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let fields = [Field::File("file", "cat.jpg", &jpeg(43))];
    let id = job_id(&send(form(&api, UPLOAD, &fields)).await?)?;
    let caption = "a cat and ".repeat(2000);
    let head = json!({"caption": &caption[..4000]});
    write_large(&api, &id, &json!({ "caption": caption }), head).await?;
    let answer = api.get(&format!("/api/v1/status/{id}")).await?;
    assert_eq!(answer.body["result"], json!({ "caption": caption }));
    Ok(())
}

#[tokio::test]
async fn every_extension_and_format_of_the_service_is_accepted_up_to_the_size_limit()
-> anyhow::Result<()> {
    let api = Service::start(&["--compat-captioning-model", "blip-large"]).await?;
    for (name, format) in [
        ("a.jpg", ImageFormat::Jpeg),
        ("a.JPEG", ImageFormat::Jpeg),
        ("a.png", ImageFormat::Png),
        ("a.gif", ImageFormat::Gif),
        ("a.bmp", ImageFormat::Bmp),
        ("a.tiff", ImageFormat::Tiff),
        ("a.ico", ImageFormat::Ico),
        // The extension and the bytes have different formats.
        ("a.png", ImageFormat::Gif),
    ] {
        let bytes = picture(format);
        let answer = send(form(&api, UPLOAD, &[Field::File("file", name, &bytes)])).await?;
        assert_eq!(answer.status, 200, "{name} {format:?} {answer:?}");
    }
    let largest = png_of_length(LIMIT);
    let answer = send(form(
        &api,
        UPLOAD,
        &[Field::File("file", "a.png", &largest)],
    ))
    .await?;
    let job = api.jobs.get(&job_id(&answer)?).await?;
    assert_eq!(job.spec.model.as_deref(), Some("blip-large"));
    Ok(())
}

#[tokio::test]
async fn of_two_files_the_last_counts_and_unknown_fields_are_skipped() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let last = jpeg(45);
    let fields = [
        Field::File("file", "notes.txt", b"hello"),
        Field::Text("colour", "red"),
        Field::File("file", "cat.jpg", &last),
    ];
    let id = job_id(&send(form(&api, UPLOAD, &fields)).await?)?;
    let fovea_crds::Input::Upload { sha256 } = api.jobs.get(&id).await?.spec.input else {
        anyhow::bail!("no upload");
    };
    assert_eq!(sha256, fovea_store::Sha256::of(&last).to_string());
    Ok(())
}

#[tokio::test]
async fn every_error_has_fastapi_s_format_and_creates_no_job() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let file =
        |name: &'static str, bytes: &[u8]| form(&api, UPLOAD, &[Field::File("file", name, bytes)]);
    let url = format!("{}{UPLOAD}", api.base);
    let raw = |content_type: &str| api.http.post(&url).header("content-type", content_type);
    let mut wrong = Vec::new();
    for (name, request, status) in [
        ("another extension", file("cat.webp", &jpeg(46)), 415),
        ("no extension", file("cat", &jpeg(46)), 415),
        ("no name", file("", &jpeg(46)), 415),
        ("bytes of another kind", file("cat.jpg", b"hello"), 415),
        (
            "another format",
            file("cat.jpg", &picture(ImageFormat::WebP)),
            415,
        ),
        (
            "a header that breaks off",
            file("cat.jpg", &jpeg(46)[..20]),
            415,
        ),
        ("an empty file", file("cat.jpg", b""), 415),
        (
            "one byte over",
            file("cat.png", &png_of_length(LIMIT + 1)),
            413,
        ),
        ("far over", file("cat.png", &png_of_length(2 * LIMIT)), 413),
        (
            "too many pixels",
            file("cat.png", &png_header(16_384, 10_923)),
            413,
        ),
        ("no boundary", raw("multipart/form-data").body("x"), 400),
        (
            "no form",
            raw("multipart/form-data; boundary=X").body("x"),
            400,
        ),
    ] {
        let answer = send(request).await?;
        if !is_detail(&answer, status) {
            wrong.push(format!("{name}: wanted {status}, got {answer:?}"));
        }
    }
    for (name, request) in [
        ("no field", form(&api, UPLOAD, &[])),
        (
            "another field",
            form(&api, UPLOAD, &[Field::File("image", "cat.jpg", b"x")]),
        ),
        ("JSON", raw("application/json").body("{}")),
        ("nothing", api.http.post(&url)),
    ] {
        let answer = send(request).await?;
        if answer.status != 422 || answer.body != missing(&["file"]) {
            wrong.push(format!("{name}: {answer:?}"));
        }
    }
    let answer = send(form(&api, UPLOAD, &[Field::Text("file", "cat.jpg")])).await?;
    assert_eq!(answer.status, 422, "{answer:?}");
    assert_eq!(answer.body["detail"][0]["type"], "value_error");
    assert_eq!(answer.body["detail"][0]["input"], "cat.jpg");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(api.names().await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn only_ids_of_its_own_jobs_are_found() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let own = send(api.post(jpeg(47))).await?.id()?;
    let picture = jpeg(48);
    let fields = [
        Field::File("file", "a.jpg", &picture),
        Field::Text("analysis_type", "classification"),
    ];
    let theirs = job_id(&send(form(&api, "/upload-image", &fields)).await?)?;
    for id in [
        own.as_str(),
        theirs.as_str(),
        "550e8400-e29b-41d4-a716-446655440000",
        "no-uuid",
        "..%2f..%2fsecrets",
        "%ff",
        "UPPER",
    ] {
        let answer = api.get(&format!("/api/v1/status/{id}")).await?;
        assert!(is_detail(&answer, 404), "{id}: {answer:?}");
        assert_eq!(answer.body["detail"], "Job not found");
    }
    assert_eq!(api.jobs.list(&ListParams::default()).await?.items.len(), 2);
    Ok(())
}

#[tokio::test]
async fn other_paths_and_methods_are_answered_as_starlette_does() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    for path in ["/api/v1", "/api/v1/", "/api/v1/nowhere", "/api/v1/status/"] {
        let answer = api.get(path).await?;
        assert_eq!(
            (answer.status, answer.body),
            (404, json!({"detail": "Not Found"})),
            "{path}"
        );
    }
    let answer = api.get(UPLOAD).await?;
    assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")));
    assert_eq!(answer.body, json!({"detail": "Method Not Allowed"}));
    // On a busy machine a check may time out.
    let healthy = async || {
        let health = api.get("/api/v1/health").await?;
        anyhow::ensure!(
            health.status == 200 && health.body["status"] == "ok",
            "{health:?}"
        );
        Ok(())
    };
    until("good health", healthy).await
}
