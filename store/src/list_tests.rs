use super::*;

const UID: &str = "0b9b0d1e-5f5c-4d2c-9b57-6d8a3f1c2e4d";
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn an_object_s_owner_is_read_from_its_key() {
    let upload = format!("uploads/team-a/{UID}/{EMPTY}");
    let (key, owned) = owner(Part::Uploads, &upload).unwrap();
    assert_eq!(key.as_str(), upload);
    let expected = Owned::ByNamespace {
        namespace: "team-a".to_owned(),
        namespace_uid: UID.to_owned(),
        sha256: Sha256::of(b""),
    };
    assert_eq!(owned, expected);
    let record = format!("results/team-a/{UID}/{UID}/1700000000-{UID}.json");
    let (key, owned) = owner(Part::Results, &record).unwrap();
    assert_eq!(key.as_str(), record);
    let expected = Owned::Record {
        namespace: "team-a".to_owned(),
        namespace_uid: UID.to_owned(),
        job_uid: UID.to_owned(),
        expires: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
    };
    assert_eq!(owned, expected);
    let answers = format!("reuse/team-a/{UID}/{EMPTY}");
    let (key, owned) = owner(Part::Reuse, &answers).unwrap();
    assert_eq!(key.as_str(), answers);
    let expected = Owned::Answers {
        namespace: "team-a".to_owned(),
        namespace_uid: UID.to_owned(),
    };
    assert_eq!(owned, expected);
    for (part, key) in [
        (Part::Results, format!("results/team-a/{UID}.json")),
        (Part::System, format!("system/{UID}/plan.json")),
        (Part::System, format!("system/{UID}/shards/7")),
    ] {
        let by_job = Owned::ByJob {
            uid: UID.to_owned(),
        };
        let (made, owned) = owner(part, &key).unwrap();
        assert_eq!((made.as_str(), owned), (key.as_str(), by_job));
    }
    for name in ["plain", "a%2Fb", "nested/leaf"] {
        let key = format!("system/probes/{UID}/{name}");
        let (made, owned) = owner(Part::System, &key).unwrap();
        assert_eq!((made.as_str(), owned), (key.as_str(), Owned::Probe));
    }
    for name in ["pictures.tar", "manifest.jsonl", "manifest.csv.gz"] {
        let key = format!("data/team-a/fovea-batches/{UID}/{name}");
        let by_input = Owned::ByInput {
            namespace: "team-a".to_owned(),
            folder: format!("fovea-batches/{UID}"),
        };
        let (made, owned) = owner(Part::BatchUploads, &key).unwrap();
        assert_eq!((made.as_str(), owned), (key.as_str(), by_input));
    }
}

#[test]
fn a_key_that_fovea_does_not_build_has_no_owner() {
    let upper = UID.to_uppercase();
    for (part, key) in [
        (Part::Uploads, format!("data/team-a/{UID}/{EMPTY}")),
        (Part::Uploads, format!("uploads/team-a/{UID}/{EMPTY}/x")),
        (Part::Uploads, format!("uploads/team-a/{UID}/{EMPTY}.jpg")),
        (Part::Uploads, format!("uploads/Team/{UID}/{EMPTY}")),
        (Part::Uploads, format!("uploads/team-a/{upper}/{EMPTY}")),
        (Part::Uploads, format!("uploads/team-a/4c1d/{EMPTY}")),
        (Part::Uploads, format!("uploads//{UID}/{EMPTY}")),
        (Part::Uploads, "uploads/".to_owned()),
        (Part::Results, format!("results/team-a/{UID}")),
        (Part::Results, format!("results/team-a/{UID}.json/x")),
        (Part::Results, format!("results/team-a/{UID}.json%00")),
        (
            Part::Results,
            format!("results/team-a/{UID}/{UID}/{UID}.json"),
        ),
        (
            Part::Results,
            format!("results/team-a/{UID}/cat/1-{UID}.json"),
        ),
        (Part::Results, format!("results/team-a/{UID}/{UID}/1-{UID}")),
        (
            Part::Results,
            format!("results/team-a/{UID}/{UID}/01-{UID}.json"),
        ),
        (
            Part::Results,
            format!("results/team-a/{UID}/{UID}/-1-{UID}.json"),
        ),
        (
            Part::Results,
            format!("results/team-a/{UID}/{UID}/1-{UID}.json/x"),
        ),
        (
            Part::BatchUploads,
            format!("data/team-a/cats/{UID}/pictures.tar"),
        ),
        (
            Part::BatchUploads,
            "data/team-a/fovea-batches/mine/pictures.tar".to_owned(),
        ),
        (
            Part::BatchUploads,
            format!("data/team-a/fovea-batches/{UID}/cat.jpg"),
        ),
        (
            Part::BatchUploads,
            format!("data/team-a/fovea-batches/{UID}/pictures.tar/x"),
        ),
        (Part::System, format!("system/{UID}")),
        (Part::System, format!("system/{UID}/")),
        (Part::System, format!("system/{UID}/..")),
        (Part::System, format!("system/{UID}//x")),
        (Part::System, "system/installation".to_owned()),
        (Part::System, format!("system/probes/{UID}/other")),
        (Part::System, format!("system/probes/{UID}")),
        (Part::System, "system/probes/x/plain".to_owned()),
        (Part::Reuse, format!("reuse/team-a/{UID}")),
        (Part::Reuse, format!("reuse/team-a/{UID}/")),
        (Part::Reuse, format!("reuse/team-a/{UID}/{EMPTY}/x")),
        (Part::Reuse, format!("reuse/team-a/x/{EMPTY}")),
    ] {
        assert_eq!(owner(part, &key), None, "{key}");
    }
}
