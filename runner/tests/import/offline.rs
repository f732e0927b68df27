//! Offline use of the cache.

use crate::hub::COMMIT;
use crate::setting::{Setting, names};

#[tokio::test]
async fn a_fetched_checkpoint_is_available_without_the_hub() {
    let mut setting = Setting::new().await;
    let online = setting.import().await.unwrap();
    let requests = setting.hub.world().seen.len();
    setting.set("HF_HUB_OFFLINE", "1");
    assert_eq!(setting.import().await.unwrap().dir, online.dir);
    setting.config.revision = COMMIT.parse().unwrap();
    let dir = setting.home.path().join("copy");
    setting.config.to = Some(dir.clone());
    setting.import().await.unwrap();
    assert!(names(&dir).contains(&"fovea-manifest.json".to_owned()));
    assert_eq!(setting.hub.world().seen.len(), requests);
}

#[tokio::test]
async fn offline_an_uncached_file_is_reported_with_the_cache() {
    let mut setting = Setting::new().await;
    setting.set("HF_HUB_OFFLINE", "1");
    let home = setting.home.path().to_str().unwrap();
    setting.refused(&["HF_HUB_OFFLINE", home]).await;
    setting.config.revision = COMMIT.parse().unwrap();
    setting.refused(&[COMMIT]).await;
    assert!(setting.hub.world().seen.is_empty());
}

#[tokio::test]
async fn an_incomplete_cache_is_not_accepted() {
    let mut setting = Setting::new().await;
    setting.hub.remove("model.safetensors");
    setting.hub.put_index();
    setting.hub.put("model-1.safetensors", vec![1; 100]);
    setting.hub.put("model-2.safetensors", vec![2; 100]);
    let dir = setting.import().await.unwrap().dir;
    setting.set("HF_HUB_OFFLINE", "1");
    let blob = dir.join("model-2.safetensors").canonicalize().unwrap();
    std::fs::remove_file(blob).unwrap();
    let words = "model-2.safetensors is not in the cache";
    setting.refused(&[words]).await;
}
