//! The files of an import, and their places.

use crate::hub::{COMMIT, LARGE, TOKEN, git_blob, sha256};
use crate::setting::{Setting, golden, names};
use fovea_runner::import::{MANIFEST_FILE, Manifest};
use fovea_runner::weights::{Placement, Weights};
use std::path::Path;

const CHOSEN: [&str; 7] = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "preprocessor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
];

fn golden_file(name: &str) -> Vec<u8> {
    std::fs::read(golden().join(name)).unwrap()
}

#[tokio::test]
async fn a_branch_is_resolved_to_its_commit_and_cached_as_by_the_hubs_own_tools() {
    let setting = Setting::new().await;
    let imported = setting.import().await.unwrap();
    assert_eq!(imported.commit.to_string(), COMMIT);
    assert_eq!(imported.dir, setting.cache().join("snapshots").join(COMMIT));
    assert_eq!(names(&imported.dir), CHOSEN);
    let noted = std::fs::read_to_string(setting.cache().join("refs/main")).unwrap();
    assert_eq!(noted, COMMIT);
    for name in CHOSEN {
        let bytes = golden_file(name);
        let is_small = bytes.len() < LARGE;
        let digest = if is_small {
            git_blob(&bytes)
        } else {
            sha256(&bytes)
        };
        let link = std::fs::read_link(imported.dir.join(name)).unwrap();
        assert_eq!(link, Path::new("../../blobs").join(&digest), "{name}");
        let cached = std::fs::read(imported.dir.join(name)).unwrap();
        assert_eq!(cached, bytes, "{name}");
        let [_, partial] = setting.blob(&digest);
        assert!(!partial.exists(), "{name}");
    }
    let seen = setting.hub.world().seen.clone();
    for unwanted in ["tf_model", "onnx", "gitattributes", "README"] {
        let fetched = seen.iter().any(|seen| seen.path.contains(unwanted));
        assert!(!fetched, "{unwanted}");
    }
    Weights::open(&imported.dir, Placement::CPU).unwrap();
}

#[tokio::test]
async fn cached_files_are_not_fetched_again() {
    let setting = Setting::new().await;
    setting.import().await.unwrap();
    let before = setting.hub.gets("resolve").len();
    setting.import().await.unwrap();
    assert_eq!(setting.hub.gets("resolve").len(), before);
    // A truncated blob is fetched again.
    let weights = golden_file("model.safetensors");
    let [blob, _] = setting.blob(&sha256(&weights));
    std::fs::write(&blob, b"cut").unwrap();
    setting.import().await.unwrap();
    assert_eq!(std::fs::read(blob).unwrap(), weights);
}

#[tokio::test]
async fn a_commit_is_used_as_it_is_and_a_pull_request_by_its_reference() {
    let mut setting = Setting::new().await;
    setting.config.revision = COMMIT.parse().unwrap();
    setting.import().await.unwrap();
    assert!(!setting.cache().join("refs").exists());
    setting.config.revision = "refs/pr/3".parse().unwrap();
    setting.import().await.unwrap();
    assert!(setting.cache().join("refs/refs/pr/3").exists());
}

#[tokio::test]
async fn the_commit_of_a_branch_is_written_to_a_file_when_all_is_done() {
    let mut setting = Setting::new().await;
    let file = setting.home.path().join("termination-log");
    setting.config.commit_file = Some(file.clone());
    setting.import().await.unwrap();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), COMMIT);

    setting.config.revision = "nowhere".parse().unwrap();
    std::fs::write(&file, "").unwrap();
    setting.import().await.unwrap_err();
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "");
}

#[tokio::test]
async fn files_in_a_folder_have_a_manifest_that_is_written_last() {
    let mut setting = Setting::new().await;
    let dir = setting.home.path().join("models/blip");
    setting.config.to = Some(dir.clone());
    assert_eq!(setting.import().await.unwrap().dir, dir);
    let manifest = std::fs::read(dir.join(MANIFEST_FILE)).unwrap();
    let manifest: Manifest = serde_json::from_slice(&manifest).unwrap();
    assert_eq!(manifest.commit.to_string(), COMMIT);
    assert_eq!(manifest.files.len(), CHOSEN.len());
    for file in &manifest.files {
        let bytes = std::fs::read(dir.join(file.path.as_str())).unwrap();
        assert!(!dir.join(file.path.as_str()).is_symlink());
        assert_eq!(file.bytes, bytes.len() as u64);
        assert_eq!(file.sha256, sha256(&bytes));
    }
    assert_eq!(names(&dir).len(), CHOSEN.len() + 1);
    Weights::open(&dir, Placement::CPU).unwrap();
    // A damaged file is replaced.
    std::fs::write(dir.join("config.json"), b"{}").unwrap();
    setting.import().await.unwrap();
    let config = std::fs::read(dir.join("config.json")).unwrap();
    assert_eq!(config, golden_file("config.json"));
}

#[tokio::test]
async fn shards_are_fetched_with_their_index_and_pytorchs_file_if_there_is_nothing_else() {
    let setting = Setting::new().await;
    setting.hub.remove("model.safetensors");
    setting.hub.put("pytorch_model.bin", vec![7; LARGE]);
    let dir = setting.import().await.unwrap().dir;
    assert!(dir.join("pytorch_model.bin").exists());

    setting.hub.put_index();
    let shards = [1, 2, 3].map(|number| format!("model-{number}.safetensors"));
    for shard in &shards {
        setting.hub.put(shard, shard.repeat(1000));
    }
    let before = setting.hub.gets("pytorch_model.bin").len();
    let dir = setting.import().await.unwrap().dir;
    let there = shards.map(|shard| dir.join(shard).exists());
    assert_eq!(there, [true, true, false]);
    assert_eq!(setting.hub.gets("pytorch_model.bin").len(), before);
}

#[tokio::test]
async fn the_token_is_sent_to_the_hub_and_never_to_its_redirects() {
    let mut setting = Setting::new().await;
    setting.hub.world().closed = Some("GatedRepo");
    setting.set("HF_TOKEN", TOKEN);
    setting.import().await.unwrap();
    let seen = setting.hub.world().seen.clone();
    let (at_store, at_hub): (Vec<_>, Vec<_>) = seen.into_iter().partition(|seen| seen.at_store);
    assert!(!at_store.is_empty() && at_store.iter().all(|seen| seen.token.is_none()));
    let bearer = format!("Bearer {TOKEN}");
    let mut tokens = at_hub.iter().map(|seen| seen.token.as_ref());
    assert!(tokens.all(|token| token == Some(&bearer)));
}

#[tokio::test]
async fn a_renamed_repository_is_followed_with_the_token() {
    let mut setting = Setting::new().await;
    setting.set("HF_TOKEN", TOKEN);
    setting.hub.world().closed = Some("RepoNotFound");
    setting.hub.world().renamed = true;
    let dir = setting.import().await.unwrap().dir;
    assert_eq!(names(&dir), CHOSEN);
}

#[tokio::test]
async fn two_concurrent_imports_fetch_every_file_once() {
    let setting = Setting::new().await;
    let (one, other) = tokio::join!(setting.import(), setting.import());
    assert_eq!(one.unwrap().dir, other.unwrap().dir);
    assert_eq!(setting.hub.gets("/store/model.safetensors").len(), 1);
}
