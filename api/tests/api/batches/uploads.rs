//! Batches from what is uploaded.

use super::super::harness::{Service, listed, send, stored};
use super::super::pictures::{jpeg, png_of_length};
use anyhow::Context as _;
use flate2::Compression;
use flate2::write::{DeflateEncoder, GzEncoder};
use fovea_crds::{Input, OutputFormat};
use rawzip::path::EntryPath;
use rawzip::{CompressionMethod, ZipArchiveWriter};
use reqwest::multipart::{Form, Part};
use std::io::{Cursor, Read as _, Write as _};

const MANIFEST: &[u8] = b"{\"key\":\"a.jpg\",\"id\":\"1\"}\n";

pub(super) fn tar_of(members: &[(&str, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (name, content) in members {
        let mut header = tar::Header::new_gnu();
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_entry_type(tar::EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_cksum();
        tar.append(&header, content.as_slice())?;
    }
    Ok(tar.into_inner()?)
}

fn gzip(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn zip_of(members: &[(&str, Vec<u8>)]) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut zip = ZipArchiveWriter::new(&mut out);
    for (name, content) in members {
        let file = zip
            .new_file(EntryPath::verbatim(name.as_bytes()))
            .compression_method(CompressionMethod::DEFLATE);
        let (mut entry, config) = file.start()?;
        let mut writer = config.wrap(DeflateEncoder::new(&mut entry, Compression::fast()));
        writer.write_all(content)?;
        let (encoder, descriptor) = writer.finish()?;
        encoder.finish()?;
        entry.finish(descriptor)?;
    }
    zip.finish()?;
    Ok(out)
}

/// The members of the tar that a batch reads.
pub(super) async fn members(api: &Service, id: &str) -> anyhow::Result<Vec<(String, Vec<u8>)>> {
    let Input::Archives { prefix } = api.jobs.get(id).await?.spec.input else {
        anyhow::bail!("no archives");
    };
    let key = format!("data/{}/{prefix}/pictures.tar", api.namespace.name());
    let (tar, content_type) = stored(&key).await?;
    anyhow::ensure!(content_type == "application/x-tar");
    let mut archive = tar::Archive::new(Cursor::new(tar));
    let mut found = Vec::new();
    for entry in archive.entries()? {
        let mut entry = entry?;
        let name = String::from_utf8(entry.path_bytes().into_owned())?;
        let mut content = Vec::new();
        entry.read_to_end(&mut content)?;
        found.push((name, content));
    }
    Ok(found)
}

#[tokio::test]
async fn an_archive_becomes_one_plain_tar_of_its_pictures_and_texts() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    // More than one part of a multipart upload.
    let large = png_of_length(9_000_000);
    let all = [
        ("cats/a.jpg", jpeg(1)),
        ("cats/a.json", b"{\"a\":1}".to_vec()),
        ("large.png", large),
        ("notes.md", b"left out".to_vec()),
        ("inner.tar", tar_of(&[("b.jpg", jpeg(2))])?),
    ];
    let kept: Vec<_> = all[..3]
        .iter()
        .map(|(name, content)| ((*name).to_owned(), content.clone()))
        .collect();
    let tar = tar_of(&all)?;
    for (what, body) in [
        ("tar", tar.clone()),
        ("tar.gz", gzip(&tar)?),
        ("zip", zip_of(&all)?),
    ] {
        let query = [
            ("outputPrefix", "found"),
            ("outputFormat", "csv"),
            ("parallelism", "2"),
            ("task", "object-detection"),
        ];
        let id = send(api.upload_batch(body).query(&query)).await?.id()?;
        let spec = api.jobs.get(&id).await?.spec;
        let output = spec.output.context("no output")?;
        assert_eq!(
            (output.prefix.as_str(), output.format),
            ("found", OutputFormat::Csv),
            "{what}"
        );
        assert_eq!(
            (spec.parallelism, spec.task.as_str()),
            (Some(2), "object-detection"),
            "{what}"
        );
        assert!(members(&api, &id).await? == kept, "{what}");
    }
    Ok(())
}

#[tokio::test]
async fn a_manifest_is_stored_as_it_is_in_every_form() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let csv = b"id,key\n1,a.jpg\n";
    for (body, extension) in [
        (MANIFEST.to_vec(), "jsonl"),
        (gzip(MANIFEST)?, "jsonl.gz"),
        (csv.to_vec(), "csv"),
        (gzip(csv)?, "csv.gz"),
    ] {
        let part = Part::bytes(body.clone()).file_name("../../any.thing");
        let form = Form::new()
            .part("file", part)
            .text("maxFailedPermille", "5");
        let multipart = api
            .http
            .post(format!("{}/v1/batches", api.base))
            .multipart(form);
        for request in [api.upload_batch(body.clone()), multipart] {
            let id = send(request).await?.id()?;
            let Input::Manifest { key } = api.jobs.get(&id).await?.spec.input else {
                anyhow::bail!("no manifest");
            };
            assert!(key.starts_with("fovea-batches/"), "{key}");
            assert!(key.ends_with(&format!("/manifest.{extension}")), "{key}");
            let key = format!("data/{}/{key}", api.namespace.name());
            assert_eq!(stored(&key).await?.0, body, "{extension}");
        }
    }
    Ok(())
}

#[tokio::test]
#[expect(clippy::too_many_lines, reason = "a table")]
async fn bad_uploads_are_refused_by_name_and_leave_nothing() -> anyhow::Result<()> {
    let limits = [
        "--max-archive-bytes",
        "20000",
        "--max-upload-bytes",
        "30000",
    ];
    let api = Service::start(&limits).await?;
    let one = |name: &'static str| tar_of(&[(name, jpeg(1))]);
    let mut link = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Symlink);
    header.set_size(0);
    link.append_link(&mut header, "a.jpg", "/etc/passwd")?;
    let zeros = |count| vec![0; count];
    let bomb: Vec<_> = ["a.jpg", "b.jpg", "c.jpg"]
        .map(|name| (name, zeros(29_000)))
        .into();
    let tar = one("a.jpg")?;
    for (what, body, status, problem, part) in [
        (
            "traversal",
            one("../a.jpg")?,
            422,
            "invalid-archive",
            "../a.jpg",
        ),
        ("absolute", one("/a.jpg")?, 422, "invalid-archive", "/a.jpg"),
        (
            "traversal in a zip",
            zip_of(&[("x/../../a.jpg", jpeg(1))])?,
            422,
            "invalid-archive",
            "a.jpg",
        ),
        (
            "a link",
            link.into_inner()?,
            422,
            "invalid-archive",
            "a link",
        ),
        (
            "a double",
            tar_of(&[("a.jpg", jpeg(1)), ("a.jpg", jpeg(2))])?,
            422,
            "invalid-archive",
            "twice",
        ),
        (
            "cut",
            tar[..700].to_vec(),
            422,
            "invalid-archive",
            "cut short",
        ),
        (
            "cut zip",
            zip_of(&[("a.jpg", jpeg(1))])?[..200].to_vec(),
            422,
            "invalid-archive",
            "cut short",
        ),
        (
            "no picture",
            one("inner.zip")?,
            422,
            "invalid-archive",
            "no picture",
        ),
        (
            "a bomb",
            gzip(&tar_of(&bomb)?)?,
            413,
            "too-large",
            "80000 bytes",
        ),
        (
            "a bomb in a zip",
            zip_of(&bomb)?,
            413,
            "too-large",
            "80000 bytes",
        ),
        (
            "a large member",
            gzip(&tar_of(&[("a.jpg", zeros(30_001))])?)?,
            413,
            "too-large",
            "30000 bytes",
        ),
        ("too large", zeros(20_001), 413, "too-large", "20000"),
        ("a picture", jpeg(1), 415, "not-a-batch", "manifest"),
        ("nothing", Vec::new(), 415, "not-a-batch", "manifest"),
        ("a list", b"[1,2]".to_vec(), 415, "not-a-batch", "manifest"),
        (
            "another header",
            b"path,label\na,b\n".to_vec(),
            415,
            "not-a-batch",
            "column key",
        ),
    ] {
        let answer = send(api.upload_batch(body)).await?;
        assert_eq!(
            (answer.status, answer.problem()),
            (status, problem),
            "{what}: {answer:?}"
        );
        let detail = answer.body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains(part), "{what}: {detail}");
    }
    leaves_nothing(&api).await
}

/// Checks that there is no batch and no upload.
async fn leaves_nothing(api: &Service) -> anyhow::Result<()> {
    assert_eq!(api.names().await?, Vec::<String>::new());
    let uploads = format!("data/{}/fovea-batches/", api.namespace.name());
    assert_eq!(listed(&uploads).await?, Vec::<String>::new());
    Ok(())
}

#[tokio::test]
async fn bad_fields_beside_an_upload_are_refused_and_leave_nothing() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let post = || api.http.post(format!("{}/v1/batches", api.base));
    let file = || Part::bytes(MANIFEST);
    for (what, request, status, problem) in [
        (
            "an unknown field",
            api.upload_batch(MANIFEST).query(&[("colour", "red")]),
            422,
            "unknown-field",
        ),
        (
            "a wrong output",
            api.upload_batch(MANIFEST)
                .query(&[("outputPrefix", "../a")]),
            422,
            "invalid-field",
        ),
        (
            "output among uploads",
            api.upload_batch(MANIFEST)
                .query(&[("outputPrefix", "fovea-batches/a")]),
            422,
            "invalid-field",
        ),
        (
            "a field after the file",
            post().multipart(Form::new().part("file", file()).text("topK", "x")),
            422,
            "invalid-field",
        ),
        (
            "two files",
            post().multipart(Form::new().part("file", file()).part("file", file())),
            422,
            "duplicate-field",
        ),
        (
            "no file",
            post().multipart(Form::new().text("task", "image-to-text")),
            422,
            "missing-picture",
        ),
        (
            "an image",
            post().header("content-type", "image/png").body("x"),
            415,
            "unsupported-media-type",
        ),
    ] {
        let answer = send(request).await?;
        assert_eq!(
            (answer.status, answer.problem()),
            (status, problem),
            "{what}: {answer:?}"
        );
    }
    leaves_nothing(&api).await
}

#[tokio::test]
async fn an_upload_that_breaks_leaves_no_batch() -> anyhow::Result<()> {
    let api = Service::start(&["--body-idle-timeout-ms", "300"]).await?;
    let tar = tar_of(&[("large.png", png_of_length(9_000_000))])?;
    let half = tar[..8_500_000].to_vec();
    let pieces = futures::stream::unfold(Some(half), |half| async move {
        match half {
            Some(half) => Some((Ok::<_, std::io::Error>(half), None)),
            None => std::future::pending().await,
        }
    });
    let answer = send(api.upload_batch(reqwest::Body::wrap_stream(pieces))).await?;
    assert_eq!((answer.status, answer.problem()), (408, "body-timeout"));
    leaves_nothing(&api).await?;
    let uploads = format!("data/{}/fovea-batches/", api.namespace.name());
    // The parts that were written are deleted as well.
    super::super::harness::until("the upload to be aborted", || async {
        let left = super::super::harness::unfinished(&uploads).await?;
        anyhow::ensure!(left == 0, "{left} are left");
        Ok(())
    })
    .await?;
    Ok(())
}
