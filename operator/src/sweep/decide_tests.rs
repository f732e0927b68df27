use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

const OLD: &str = "11111111-1111-1111-1111-111111111111";
const NEW: &str = "22222222-2222-2222-2222-222222222222";
const JOB: &str = "33333333-3333-3333-3333-333333333333";
const GRACE: Duration = Duration::from_hours(1);

fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_hours(1_000_000)
}

fn put(age: Duration, object: Option<(ObjectKey, Owned)>) -> Listed {
    Listed {
        object,
        modified: now() - age,
    }
}

fn picture(namespace: &str, namespace_uid: &str, content: &[u8]) -> (ObjectKey, Owned) {
    let sha256 = Sha256::of(content);
    let key = ObjectKey::upload(namespace, namespace_uid, &sha256).unwrap();
    let owned = Owned::ByNamespace {
        namespace: namespace.to_owned(),
        namespace_uid: namespace_uid.to_owned(),
        sha256,
    };
    (key, owned)
}

fn of_upload(sha256: Option<Sha256>) -> Named {
    Named { sha256, path: None }
}

fn of_job(key: ObjectKey, uid: &str) -> (ObjectKey, Owned) {
    let uid = uid.to_owned();
    (key, Owned::ByJob { uid })
}

fn old(object: (ObjectKey, Owned)) -> Chunk {
    let mut chunk = Chunk::default();
    let taken = chunk.take(
        put(GRACE * 2, Some(object)),
        limit(now(), GRACE),
        &HashMap::new(),
    );
    assert_eq!(taken, Taken::Candidate);
    chunk
}

fn namespaces(all: &[(&str, &str)]) -> HashMap<String, String> {
    let owned = all.iter();
    owned
        .map(|(name, uid)| ((*name).to_owned(), (*uid).to_owned()))
        .collect()
}

#[test]
fn only_our_objects_older_than_the_grace_are_candidates() {
    for (age, taken) in [
        (Duration::ZERO, Taken::Young),
        (GRACE.saturating_sub(Duration::from_nanos(1)), Taken::Young),
        (GRACE, Taken::Candidate),
        (GRACE * 2, Taken::Candidate),
    ] {
        let mut chunk = Chunk::default();
        let object = picture("a", OLD, b"cat");
        let limit = limit(now(), GRACE);
        assert_eq!(
            chunk.take(put(age, Some(object)), limit, &HashMap::new()),
            taken,
            "{age:?}"
        );
        assert_eq!(chunk.len(), usize::from(taken == Taken::Candidate));
    }
    let mut chunk = Chunk::default();
    let foreign = chunk.take(put(GRACE * 9, None), limit(now(), GRACE), &HashMap::new());
    assert_eq!((foreign, chunk.len()), (Taken::Foreign, 0));
    assert!(chunk.unneeded(&HashMap::new()).is_empty());
    // A store whose clock runs ahead of ours makes young, never old.
    let ahead = Listed {
        object: Some(picture("a", OLD, b"cat")),
        modified: now() + GRACE,
    };
    let mut chunk = Chunk::default();
    assert_eq!(
        chunk.take(ahead, limit(now(), GRACE), &HashMap::new()),
        Taken::Young
    );
}

#[test]
fn a_picture_stays_for_a_job_of_the_same_namespace_that_names_it() {
    let cat = Sha256::of(b"cat");
    let live = namespaces(&[("a", OLD), ("b", NEW)]);
    // By namespace and digest that a job names.
    for (namespace, sha256, stays) in [
        ("a", Some(cat), true),
        ("b", Some(cat), false),
        ("a", Some(Sha256::of(b"dog")), false),
        ("a", None, false),
    ] {
        let mut chunk = old(picture("a", OLD, b"cat"));
        chunk.job(namespace, JOB, of_upload(sha256));
        let gone = chunk.unneeded(&live);
        assert_eq!(gone.is_empty(), stays, "{namespace} {sha256:?}");
    }
}

#[test]
fn the_pictures_of_a_namespace_that_is_gone_or_made_again_go() {
    let cat = Sha256::of(b"cat");
    for live in [namespaces(&[]), namespaces(&[("a", NEW)])] {
        let mut chunk = old(picture("a", OLD, b"cat"));
        // One of the namespace that has its name now.
        chunk.job("a", JOB, of_upload(Some(cat)));
        assert_eq!(chunk.unneeded(&live).len(), 1, "{live:?}");
    }
    let mut both = old(picture("a", OLD, b"cat"));
    let limit = limit(now(), GRACE);
    both.take(
        put(GRACE * 2, Some(picture("a", NEW, b"cat"))),
        limit,
        &HashMap::new(),
    );
    both.job("a", JOB, of_upload(Some(cat)));
    let gone = both.unneeded(&namespaces(&[("a", NEW)]));
    assert_eq!(gone, [picture("a", OLD, b"cat").0]);
}

#[test]
fn a_job_s_own_objects_are_deleted_with_the_job() {
    let result = ObjectKey::result("a", JOB).unwrap();
    let plan = ObjectKey::system(JOB, "plan.json").unwrap();
    for key in [result, plan] {
        let mut kept = old(of_job(key.clone(), JOB));
        kept.job("a", JOB, Named::default());
        assert!(kept.unneeded(&HashMap::new()).is_empty());
        let mut gone = old(of_job(key.clone(), JOB));
        gone.job("a", OLD, Named::default());
        assert_eq!(gone.unneeded(&HashMap::new()), [key]);
    }
}

#[test]
fn an_upload_of_a_batch_stays_for_every_job_of_its_namespace_that_names_it() {
    let folder = format!("{BATCH_UPLOADS}/{JOB}");
    let key = ObjectKey::data("a", &format!("{folder}/pictures.tar")).unwrap();
    let manifest = format!("{folder}/manifest.csv");
    let above = BATCH_UPLOADS.to_owned();
    for (namespace, path, stays) in [
        ("a", Some(&folder), true),
        ("a", Some(&manifest), true),
        ("a", Some(&above), true),
        ("a", Some(&format!("{BATCH_UPLOADS}/{OLD}")), false),
        ("a", Some(&format!("{BATCH_UPLOADS}-2")), false),
        ("a", Some(&format!("cats/{JOB}")), false),
        ("a", None, false),
        ("b", Some(&folder), false),
    ] {
        let owned = Owned::ByInput {
            namespace: "a".to_owned(),
            folder: folder.clone(),
        };
        let mut chunk = old((key.clone(), owned));
        let named = Named {
            sha256: None,
            path: path.cloned(),
        };
        chunk.job(namespace, OLD, named);
        let gone = chunk.unneeded(&namespaces(&[("a", NEW)]));
        assert_eq!(gone.is_empty(), stays, "{namespace} {path:?}");
    }
}

#[test]
fn a_batch_of_a_namespace_whose_jobs_are_not_listed_stays() {
    let plan = ObjectKey::system(JOB, "plan.json").unwrap();
    let namespace = ObjectKey::batch_namespace(JOB).unwrap();
    let result = ObjectKey::result("a", JOB).unwrap();
    let chunk = || {
        let mut chunk = Chunk::default();
        for key in [&plan, &namespace, &result] {
            let object = put(GRACE * 2, Some(of_job(key.clone(), JOB)));
            chunk.take(object, limit(now(), GRACE), &HashMap::new());
        }
        chunk
    };
    assert_eq!(chunk().batches(), [JOB]);
    assert_eq!(chunk().unneeded(&HashMap::new()).len(), 3);
    let mut others = chunk();
    others.batch_of_others(JOB);
    assert_eq!(others.unneeded(&HashMap::new()), [result]);
}

proptest! {
    /// Against the rule written down a second time, object by object.
    #[test]
    fn exactly_the_objects_of_the_rule_are_deleted(
        objects in proptest::collection::vec((0..3_usize, 0..2_usize, 0..3_u8, 0..3_u64), 0..40),
        jobs in proptest::collection::vec((0..3_usize, 0..3_u8), 0..12),
    ) {
        const NAMES: [&str; 3] = ["a", "b", "gone"];
        let live = namespaces(&[("a", OLD), ("b", NEW)]);
        let mut chunk = Chunk::default();
        let mut expected = BTreeSet::new();
        for (namespace, uid, content, age) in objects {
            let (name, uid) = (NAMES[namespace], [OLD, NEW][uid]);
            let object = picture(name, uid, &[content]);
            let referred = live.get(name).is_some_and(|live| live == uid)
                && jobs.contains(&(namespace, content));
            if age > 0 && !referred {
                expected.insert(object.0.as_str().to_owned());
            }
            let age = GRACE * u32::try_from(age).unwrap();
            chunk.take(put(age, Some(object)), limit(now(), GRACE), &HashMap::new());
        }
        for (namespace, content) in jobs {
            chunk.job(NAMES[namespace], JOB, of_upload(Some(Sha256::of(&[content]))));
        }
        let gone: BTreeSet<String> =
            chunk.unneeded(&live).iter().map(|key| key.as_str().to_owned()).collect();
        prop_assert_eq!(gone, expected);
    }
}

fn record(namespace: &str, namespace_uid: &str, expires: SystemTime) -> (ObjectKey, Owned) {
    let seconds = expires.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let file = (seconds.as_secs(), JOB);
    let key = ObjectKey::record(namespace, namespace_uid, JOB, file).unwrap();
    let owned = Owned::Record {
        namespace: namespace.to_owned(),
        namespace_uid: namespace_uid.to_owned(),
        job_uid: JOB.to_owned(),
        expires,
    };
    (key, owned)
}

#[test]
fn a_record_stays_until_it_expires_or_its_namespace_goes() {
    let limit = limit(now(), GRACE);
    let live = namespaces(&[("a", NEW)]);
    let hour = Duration::from_hours(1);
    for (object, at_the_start, taken, deleted) in [
        (record("a", NEW, limit + hour), &live, Taken::Needed, false),
        (record("a", NEW, limit), &live, Taken::Candidate, true),
        (
            record("a", OLD, limit + hour),
            &live,
            Taken::Candidate,
            true,
        ),
        (
            record("b", OLD, limit + hour),
            &live,
            Taken::Candidate,
            true,
        ),
        // Its namespace was created after the sweep had begun.
        (
            record("a", NEW, limit + hour),
            &HashMap::new(),
            Taken::Candidate,
            false,
        ),
    ] {
        let mut chunk = Chunk::default();
        let listed = put(GRACE * 2, Some(object.clone()));
        assert_eq!(chunk.take(listed, limit, at_the_start), taken, "{object:?}");
        let expected = if deleted { vec![object.0] } else { Vec::new() };
        assert_eq!(chunk.unneeded(&live), expected);
    }
}

#[test]
fn a_result_stays_as_long_as_the_record_of_its_job() {
    let limit = limit(now(), GRACE);
    let live = namespaces(&[("a", NEW)]);
    let result = ObjectKey::result("a", JOB).unwrap();
    for (expires, kept) in [(limit + GRACE, true), (limit, false)] {
        let mut chunk = old(of_job(result.clone(), JOB));
        assert!(chunk.has_results());
        chunk.record(put(GRACE * 2, Some(record("a", NEW, expires))), limit);
        assert_eq!(chunk.unneeded(&live).is_empty(), kept);
    }
}

#[test]
fn what_a_probe_has_left_goes_and_nobody_keeps_it() {
    let key = ObjectKey::batch_namespace(JOB).unwrap();
    let limit = limit(now(), GRACE);
    for (age, taken) in [(GRACE / 2, Taken::Young), (GRACE, Taken::Candidate)] {
        let mut chunk = Chunk::default();
        let listed = put(age, Some((key.clone(), Owned::Probe)));
        assert_eq!(chunk.take(listed, limit, &HashMap::new()), taken);
        chunk.job("a", JOB, Named::default());
        let goes = chunk.unneeded(&namespaces(&[("a", NEW)]));
        assert_eq!(goes.len(), usize::from(taken == Taken::Candidate));
    }
}

#[test]
fn the_object_that_names_a_batch_s_namespace_is_known_by_its_key() {
    let name = ObjectKey::batch_namespace(JOB).unwrap();
    assert_eq!(batch_named_by(&name), Some(JOB));
    for name in ["plan.json", "parts/tenant", "tenant/x"] {
        let other = ObjectKey::system(JOB, name).unwrap();
        assert_eq!(batch_named_by(&other), None, "{name}");
    }
    let result = ObjectKey::result("a", JOB).unwrap();
    assert_eq!(batch_named_by(&result), None);
}

#[test]
fn answers_stay_for_as_long_as_they_are_kept_and_no_longer_than_their_namespace() {
    let answers = |namespace: &str, uid: &str| {
        let key = ObjectKey::answers(namespace, uid, "x").unwrap();
        let owned = Owned::Answers {
            namespace: namespace.to_owned(),
            namespace_uid: uid.to_owned(),
        };
        (key, owned)
    };
    let live = namespaces(&[("a", NEW)]);
    let kept = GRACE * 30;
    for (answers, age, taken, deleted) in [
        (answers("a", NEW), GRACE / 2, Taken::Young, false),
        (answers("a", NEW), GRACE * 29, Taken::Needed, false),
        (answers("a", NEW), GRACE * 30, Taken::Candidate, true),
        (answers("a", OLD), GRACE * 2, Taken::Candidate, true),
        (answers("b", NEW), GRACE * 2, Taken::Candidate, true),
    ] {
        let mut chunk = Chunk::new(limit(now(), kept));
        let listed = put(age, Some(answers.clone()));
        assert_eq!(chunk.take(listed, limit(now(), GRACE), &live), taken);
        let expected = if deleted { vec![answers.0] } else { Vec::new() };
        assert_eq!(chunk.unneeded(&live), expected, "{age:?}");
    }
}
