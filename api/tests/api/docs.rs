//! The API's description, and the page that shows it.

use super::harness::Service;
use serde_json::Value;

#[tokio::test]
async fn the_served_description_is_the_one_in_the_repository() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let answer = api.get("/openapi.json").await?;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
    let committed: Value = serde_json::from_slice(&std::fs::read(path)?)?;
    assert_eq!(answer.body, committed, "write it anew: make generate");
    Ok(())
}

#[tokio::test]
async fn every_path_of_the_description_is_served_by_its_methods() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let document = api.get("/openapi.json").await?.body;
    let paths = document["paths"].as_object().cloned().unwrap_or_default();
    assert!(paths.len() >= 10, "{paths:?}");
    for (path, item) in paths {
        let url = format!("{}{}", api.base, path.replace("{id}", "no-such-id"));
        for method in item.as_object().into_iter().flatten().map(|(name, _)| name) {
            let method: reqwest::Method = method.to_uppercase().parse()?;
            let answer = api.http.request(method.clone(), &url).send().await?;
            assert_ne!(answer.status(), 405, "{method} {path}");
            let text = answer.text().await?;
            assert!(
                !text.contains("no-such-route") && !text.contains("Not Found"),
                "{method} {path}: {text}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_docs_page_needs_nothing_but_this_service() -> anyhow::Result<()> {
    let api = Service::start(&[]).await?;
    let page = api.http.get(format!("{}/docs", api.base)).send().await?;
    assert_eq!((page.status().as_u16(), page.url().path()), (200, "/docs/"));
    let policy = page.headers()["content-security-policy"]
        .to_str()?
        .to_owned();
    assert!(
        policy.starts_with("default-src 'none'; script-src 'self';"),
        "{policy}"
    );
    let html = page.text().await?;
    let links: Vec<&str> = html
        .split(['"', '\''])
        .filter(|text| {
            [".js", ".css", ".png"]
                .iter()
                .any(|end| text.ends_with(end))
        })
        .collect();
    assert!(links.len() >= 4, "{html}");
    for link in links {
        assert!(!link.contains("//"), "{link}");
        let url = format!("{}/docs/{}", api.base, link.trim_start_matches("./"));
        let asset = api.http.get(&url).send().await?;
        assert_eq!(asset.status(), 200, "{url}");
        assert_eq!(asset.headers()["x-content-type-options"], "nosniff");
    }
    let initializer = api
        .http
        .get(format!("{}/docs/swagger-initializer.js", api.base));
    let script = initializer.send().await?.text().await?;
    assert!(
        script.contains("/openapi.json") && !script.contains("http"),
        "{script}"
    );
    Ok(())
}
