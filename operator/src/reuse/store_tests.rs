use super::*;
use fovea_harness::Minio;
use fovea_protocol::{InferResult, ServedModel};
use fovea_store::StoreConfig;
use fovea_tests::s3_proxy::{S3Proxy, Verdict};

const UID: &str = "0b9b0d1e-5f5c-4d2c-9b57-6d8a3f1c2e4d";
const HEIR: &str = "1b9b0d1e-5f5c-4d2c-9b57-6d8a3f1c2e4d";
const BUCKET: &str = "fovea";
const LONG: Duration = Duration::from_hours(1);

/// A bucket, seen through a proxy that counts requests.
struct Bucket {
    store: Store,
    requests: Arc<AtomicUsize>,
    proxy: S3Proxy,
    _minio: Minio,
}

impl Bucket {
    async fn start() -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let minio = Minio::start().await.unwrap();
        minio.create_bucket(BUCKET).unwrap();
        let proxy = S3Proxy::start(None).await.unwrap();
        proxy.target(minio.endpoint());
        let requests = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&requests);
        proxy.rule(Arc::new(move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
            Box::pin(async { Verdict::Pass })
        }));
        let config = StoreConfig::at(proxy.url.parse().unwrap(), BUCKET);
        let (key, secret) = (minio.access_key(), minio.secret_key());
        Self {
            store: Store::connect_as(&config, key, secret).await.unwrap(),
            requests,
            proxy,
            _minio: minio,
        }
    }

    /// As a new leader has it.
    fn answers(&self, retention: Duration) -> Answers {
        Answers::new(self.store.clone(), retention)
    }

    fn requests(&self) -> usize {
        self.requests.swap(0, Ordering::Relaxed)
    }

    /// Writes the answers to these questions as a part's object.
    async fn put_part(&self, name: &str, questions: impl Iterator<Item = u64>) {
        let key = ObjectKey::answers("ns", UID, name).unwrap();
        let line = |number| answer_line(&question(number).to_string(), &answer(number)).unwrap();
        let lines: String = questions.map(line).collect();
        let put = self.store.put(&key, lines.into(), "text/plain");
        put.await.unwrap();
    }
}

fn owner(uid: &str) -> Owner {
    Owner {
        namespace: "ns".to_owned(),
        uid: uid.to_owned(),
    }
}

fn question(number: u64) -> Sha256 {
    Sha256::of(&number.to_be_bytes())
}

fn answer(number: u64) -> Answer {
    Answer {
        result: InferResult::Caption(format!("picture {number}")),
        model: ServedModel {
            name: "m".to_owned(),
            revision: "r".to_owned(),
        },
        width: 4,
        height: 3,
    }
}

async fn find(answers: &Answers, uid: &str, numbers: std::ops::Range<u64>) -> Vec<Option<Answer>> {
    let questions = numbers.map(question).collect();
    answers.find(&owner(uid), questions).await
}

#[tokio::test]
async fn an_answer_is_found_by_this_and_the_next_leader_until_it_is_deleted_or_too_old() {
    let bucket = Bucket::start().await;
    let first = bucket.answers(LONG);
    assert!(!first.has_any(&owner(UID)).await);
    first
        .keep(&owner(UID), &question(1).to_string(), &answer(1))
        .await;
    let next = bucket.answers(LONG);
    for answers in [&first, &next] {
        assert!(answers.has_any(&owner(UID)).await);
        assert_eq!(
            find(answers, UID, 0..3).await,
            [None, Some(answer(1)), None]
        );
        // Another namespace of the same name.
        assert!(!answers.has_any(&owner(HEIR)).await);
        assert_eq!(find(answers, HEIR, 1..2).await, [None]);
    }
    let old = bucket.answers(Duration::ZERO);
    assert_eq!(find(&old, UID, 1..2).await, [None]);

    let key = ObjectKey::answer("ns", UID, &question(1)).unwrap();
    bucket.store.delete(&key).await.unwrap();
    assert_eq!(find(&first, UID, 1..2).await, [None]);
    assert!(!bucket.answers(LONG).has_any(&owner(UID)).await);
}

#[tokio::test]
async fn a_thousand_questions_without_answers_cost_nothing_and_a_part_s_are_read_together() {
    let bucket = Bucket::start().await;
    bucket.put_part("a.0", 0..1000).await;
    let answers = bucket.answers(LONG);
    bucket.requests();
    assert!(answers.has_any(&owner(UID)).await);
    // The list, and the part.
    assert_eq!(bucket.requests(), 2);
    for from in (1000..2000).step_by(50) {
        let found = find(&answers, UID, from..from + 50).await;
        assert!(found.iter().all(Option::is_none));
    }
    assert_eq!(bucket.requests(), 0);
    for from in (0..1000).step_by(50) {
        let expected = (from..from + 50).map(|number| Some(answer(number)));
        let found = find(&answers, UID, from..from + 50).await;
        assert_eq!(found, expected.collect::<Vec<_>>());
    }
    assert_eq!(bucket.requests(), 20);

    bucket.put_part("a.1", 1000..1001).await;
    answers.written(&owner(UID), "a.1".to_owned());
    assert_eq!(find(&answers, UID, 1000..1001).await, [Some(answer(1000))]);
    let key = ObjectKey::answers("ns", UID, "a.0").unwrap();
    bucket.store.delete(&key).await.unwrap();
    let found = find(&answers, UID, 999..1001).await;
    assert_eq!(found, [None, Some(answer(1000))]);
}

#[tokio::test]
async fn a_search_does_not_wait_for_another_one_s_list() {
    let bucket = Bucket::start().await;
    bucket.put_part("a.0", 0..1).await;
    let answers = bucket.answers(LONG);
    let namespace = answers.namespace(&owner(UID));
    let listing = namespace.known.lock().await;
    assert!(!answers.has_any(&owner(UID)).await);
    assert_eq!(find(&answers, UID, 0..1).await, [None]);
    drop(listing);
    assert_eq!(find(&answers, UID, 0..1).await, [Some(answer(0))]);
}

#[tokio::test]
async fn a_bounded_number_of_answers_is_written_at_once() {
    let bucket = Bucket::start().await;
    let answers = Arc::new(bucket.answers(LONG));
    let keep = |number| {
        let question = question(number).to_string();
        answers.keep_soon(owner(UID), question, answer(number));
    };
    let all = u32::try_from(MAX_KEPT_AT_ONCE).unwrap();
    let others = answers.keeping.acquire_many(all).await.unwrap();
    keep(1);
    drop(others);
    keep(2);
    let _none_is_written = answers.keeping.acquire_many(all).await.unwrap();
    assert_eq!(find(&answers, UID, 1..3).await, [None, Some(answer(2))]);
}

#[tokio::test]
async fn a_store_that_is_down_answers_nothing_and_is_asked_again_later() {
    let bucket = Bucket::start().await;
    bucket.put_part("a.0", 0..1).await;
    let down: fovea_tests::s3_proxy::Rule = bucket
        .proxy
        .rule(Arc::new(|_| Box::pin(async { Verdict::Fail(403) })));
    let answers = bucket.answers(LONG);
    assert_eq!(find(&answers, UID, 0..1).await, [None]);
    bucket.proxy.lift(&down);
    bucket.requests();
    assert_eq!(find(&answers, UID, 0..1).await, [None]);
    assert_eq!(bucket.requests(), 0);
    let namespace = answers.namespace(&owner(UID));
    namespace.known.lock().await.failed = Instant::now().checked_sub(AGAIN_AFTER);
    assert_eq!(find(&answers, UID, 0..1).await, [Some(answer(0))]);
}
