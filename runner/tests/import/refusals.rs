//! Error answers and invalid answers of the hub.

use crate::hub::{COMMIT, TOKEN, bare};
use crate::setting::{Setting, names};
use axum::response::{Html, IntoResponse as _};
use std::time::Instant;
use tokio::net::TcpListener;

#[tokio::test]
async fn a_refused_access_is_reported_with_how_to_get_it() {
    let mut setting = Setting::new().await;
    setting.hub.world().closed = Some("GatedRepo");
    let words = ["is gated: accept its terms", "HF_TOKEN"];
    setting.refused(&words).await;
    setting.hub.world().closed = Some("RepoNotFound");
    setting.refused(&["private", "set HF_TOKEN"]).await;
    setting.set("HF_TOKEN", "hf_wrong");
    let words = "whether the token in HF_TOKEN may read it";
    let error = setting.refused(&[words]).await;
    assert!(!error.contains("hf_wrong"), "{error}");
    setting.set("HF_TOKEN", TOKEN);
    setting.hub.instead("/revision/", [bare(403, &[])]);
    setting.refused(&["403", "what the token"]).await;
    let gated = || bare(403, &[("x-error-code", "GatedRepo")]);
    setting.hub.instead("/revision/", [gated()]);
    setting.refused(&["is gated"]).await;
    // The listing may be public although the files are not.
    setting.hub.instead("model.safetensors", [gated()]);
    setting.refused(&["is gated"]).await;
    // One try each: a retry would not help.
    assert_eq!(setting.hub.gets("/revision/").len(), 6);
}

#[tokio::test]
async fn a_missing_repository_or_revision_is_reported_by_its_name() {
    let mut setting = Setting::new().await;
    setting.config.revision = "v9".parse().unwrap();
    let words = "no revision v9 of Salesforce/blip-tiny";
    setting.refused(&[words]).await;
    setting.config.revision = "main".parse().unwrap();
    setting.config.repo = "nobody/nothing".parse().unwrap();
    setting.refused(&["no repository of nobody/nothing"]).await;
    let setting = Setting::new().await;
    let no_entry = bare(404, &[("x-error-code", "EntryNotFound")]);
    setting.hub.instead("resolve", [no_entry]);
    setting.refused(&["no config.json of"]).await;
    setting.hub.remove("config.json");
    setting.refused(&["it has no config.json"]).await;
    setting.hub.put("config.json", "{}");
    setting.hub.remove("model.safetensors");
    setting.refused(&["no weights", "tf_model.h5"]).await;
}

#[tokio::test]
async fn too_many_requests_are_retried_after_the_hubs_wait_up_to_a_bound() {
    let setting = Setting::new().await;
    let busy = |wait| bare(429, &[("retry-after", wait)]);
    setting.hub.instead("/revision/", [busy("1")]);
    setting.hub.instead("/store/", [busy("0"), bare(429, &[])]);
    let begun = Instant::now();
    setting.import().await.unwrap();
    assert!(begun.elapsed().as_millis() >= 1000, "{:?}", begun.elapsed());
    assert_eq!(setting.hub.gets("/revision/").len(), 2);

    setting.hub.instead("/revision/", [busy("3600")]);
    setting.refused(&["asks to wait 3600 s", "HF_TOKEN"]).await;
    setting.hub.instead("/revision/", (0..5).map(|_| busy("0")));
    setting.refused(&["gave up after 3 tries", "429"]).await;
}

#[tokio::test]
async fn a_request_to_a_failing_hub_is_retried() {
    let setting = Setting::new().await;
    let failing = [bare(503, &[]), bare(500, &[])];
    setting.hub.instead("/revision/", failing);
    setting.hub.instead("/resolve/", [bare(502, &[])]);
    setting.import().await.unwrap();
    assert_eq!(setting.hub.gets("/revision/").len(), 3);
}

#[tokio::test]
async fn an_unreachable_hub_is_reported_after_the_last_try() {
    let mut setting = Setting::new().await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    setting.set("HF_ENDPOINT", &format!("http://{address}"));
    setting
        .refused(&["gave up after 3 tries", &address.to_string()])
        .await;
}

#[tokio::test]
async fn an_endpoint_that_does_not_answer_like_the_hub_is_refused() {
    let setting = Setting::new().await;
    let page = Html("<!doctype html><p>Sign in to the guest network</p>");
    setting.hub.instead("/revision/", [page.into_response()]);
    setting.refused(&["check HF_ENDPOINT"]).await;
    setting.hub.instead("/revision/", [bare(200, &[])]);
    setting.refused(&["check HF_ENDPOINT"]).await;
    let zeros = "0".repeat(40);
    let other = [("x-repo-commit", zeros.as_str()), ("etag", "\"x\"")];
    setting.hub.instead("config.json", [bare(200, &other)]);
    setting.refused(&["another commit"]).await;
    let md5 = [("x-repo-commit", COMMIT), ("etag", "\"md5-3\"")];
    setting.hub.instead("config.json", [bare(200, &md5)]);
    setting.refused(&["no digest"]).await;
    let quoted = format!("\"{zeros}\"");
    let huge = [
        ("x-repo-commit", COMMIT),
        ("x-linked-etag", &quoted),
        ("x-linked-size", "99999999999999"),
    ];
    setting.hub.instead("config.json", [bare(200, &huge)]);
    setting.refused(&["99999999999999 bytes, more than"]).await;
}

#[tokio::test]
async fn redirects_are_bounded_and_must_have_a_target() {
    let setting = Setting::new().await;
    let circle = || bare(302, &[("location", "/revision/around")]);
    setting.hub.instead("/revision/", (0..10).map(|_| circle()));
    setting.refused(&["redirect too many"]).await;
    let setting = Setting::new().await;
    setting.hub.instead("/revision/", [bare(302, &[])]);
    setting.refused(&["redirect to nowhere"]).await;
    let away = bare(302, &[("location", "file:///etc/passwd")]);
    setting.hub.instead("/revision/", [away]);
    setting.refused(&["redirect away"]).await;
}

#[tokio::test]
async fn names_outside_the_cache_are_never_requested() {
    let setting = Setting::new().await;
    for name in ["../../escape.txt", "/etc/passwd", "a/../../config.json"] {
        setting.hub.put(name, vec![1; 10]);
    }
    setting.hub.remove("model.safetensors");
    let index = serde_json::json!({"weight_map": {"a": "../../../escape.safetensors"}});
    let name = "model.safetensors.index.json";
    setting.hub.put(name, index.to_string());
    setting.refused(&["is no index", "relative path"]).await;
    assert!(setting.hub.gets("escape").is_empty());
    assert_eq!(names(setting.home.path()), ["hub"]);
}
