//! Owners of the bucket and of folders, against a real MinIO.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test that cannot go on ends"
)]

mod support;

use fovea_store::{BucketOwner, FolderOwner, Installation, ObjectKey, Part};
use support::store;

fn of(uids: &[&str]) -> Installation {
    Installation {
        uids: uids.iter().map(|uid| (*uid).to_owned()).collect(),
        name: "fovea-system/fovea-operator".to_owned(),
    }
}

#[tokio::test]
async fn of_two_installations_that_start_together_one_gets_the_bucket() {
    let (_minio, store) = store().await;
    let (a, b) = (of(&["a"]), of(&["b"]));
    let (first, second) = tokio::join!(store.claim_bucket(&a), store.claim_bucket(&b));
    let owners = [first.unwrap(), second.unwrap()];
    let won = |owner: &&BucketOwner| matches!(owner, BucketOwner::UsFromNow);
    let lost = |owner: &&BucketOwner| matches!(owner, BucketOwner::Other(_));
    assert_eq!(owners.iter().filter(won).count(), 1, "{owners:?}");
    assert_eq!(owners.iter().filter(lost).count(), 1, "{owners:?}");
}

#[tokio::test]
async fn an_installation_keeps_its_bucket_while_one_of_its_uids_lasts() {
    let (_minio, store) = store().await;
    let claim = async |uids: &[&str]| store.claim_bucket(&of(uids)).await.unwrap();
    assert_eq!(store.foreign_owner("cluster").await.unwrap(), None);
    assert_eq!(claim(&["cluster", "lease"]).await, BucketOwner::UsFromNow);
    assert_eq!(claim(&["cluster", "lease"]).await, BucketOwner::Us);
    // The Lease was deleted; then another namespace is watched.
    assert_eq!(claim(&["cluster", "new lease"]).await, BucketOwner::Us);
    assert_eq!(claim(&["namespace", "new lease"]).await, BucketOwner::Us);
    let BucketOwner::Other(foreign) = claim(&["cluster", "lease"]).await else {
        panic!("nothing is in common");
    };
    let text = foreign.to_string();
    for part in [
        "\"fovea\"",
        "fovea-system/fovea-operator",
        "system/installation",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(store.foreign_owner("namespace").await.unwrap(), None);
    assert_eq!(store.foreign_owner("cluster").await.unwrap(), Some(foreign));
    // The sweeper does not see the marker.
    let page = store.list(Part::System, None, None).await.unwrap();
    assert!(page.objects.is_empty(), "{page:?}");
    // It is taken over.
    let marker = ObjectKey::installation();
    store.delete(&marker).await.unwrap();
    assert_eq!(claim(&["cluster"]).await, BucketOwner::UsFromNow);
    // A marker that somebody else broke names nobody: it is an error, and stays.
    let broken = store.put(&marker, "<html>".into(), "text/html").await;
    broken.unwrap();
    store.claim_bucket(&of(&["cluster"])).await.unwrap_err();
    assert_eq!(store.get(&marker, 100).await.unwrap(), "<html>");
}

#[tokio::test]
async fn a_folder_belongs_to_the_first_namespace_that_used_it() {
    let (_minio, store) = store().await;
    let claim = async |uid: &str| store.claim_folder("team-a", uid).await.unwrap();
    assert_eq!(store.folder_owner("team-a", "a").await.unwrap(), None);
    let (first, again) = tokio::join!(claim("a"), claim("a"));
    let new = [&first, &again].map(|owner| *owner == FolderOwner::UsFromNow);
    assert!(new.contains(&true), "{first:?} {again:?}");
    assert_eq!(claim("a").await, FolderOwner::Us);
    assert_eq!(claim("b").await, FolderOwner::Other("a".to_owned()));
    let owner = store.folder_owner("team-a", "b").await.unwrap();
    assert_eq!(owner, Some(FolderOwner::Other("a".to_owned())));
    // Another namespace's folder is another one's.
    let other = store.claim_folder("team-b", "b").await.unwrap();
    assert_eq!(other, FolderOwner::UsFromNow);
}
