use super::*;
use k8s_openapi::ByteString;
use proptest::prelude::*;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use std::convert::Infallible;
use std::sync::Arc;

const HOSTS: &str = "*.p-runner.ns.svc";
const PERIODS: Periods = Periods {
    life: Duration::from_hours(90 * 24),
    overlap: Duration::from_mins(10),
};

fn start() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

fn after(seconds: u64) -> Timestamp {
    later(start(), Duration::from_secs(seconds))
}

fn numbered(number: u32) -> Material {
    Material {
        certificate: format!("leaf{number};"),
        key: format!("key{number};"),
        authority: format!("ca{number};"),
        token: format!("token{number}"),
    }
}

fn at(found: Option<&Contents>, now: Timestamp, number: u32) -> Step {
    let made = || Ok::<_, Infallible>(numbered(number));
    step(found, HOSTS, now, PERIODS, made).unwrap_or_else(|never| match never {})
}

#[test]
fn a_change_is_announced_then_served_then_settled_each_an_overlap_after_the_other() {
    let first = at(None, start(), 1);
    assert!(first.write);
    let (renewal, overlap) = (60 * 24 * 3600, 600);
    assert_eq!(first.due, after(renewal));
    let early = at(Some(&first.contents), after(renewal - 1), 2);
    assert_eq!((early.write, &early.contents), (false, &first.contents));

    let mut found = first.contents;
    // Time, trusted authorities, sent token, accepted tokens, served certificate.
    for (seconds, authorities, token, tokens, leaf) in [
        (renewal, "ca1;ca2;", "token1", "token2\ntoken1\n", "leaf1;"),
        (
            renewal + overlap,
            "ca1;ca2;",
            "token2",
            "token2\ntoken1\n",
            "leaf2;",
        ),
        (
            renewal + 2 * overlap,
            "ca2;",
            "token2",
            "token2\n",
            "leaf2;",
        ),
    ] {
        let too_early = at(Some(&found), after(seconds - 1), 9);
        assert!(!too_early.write);
        let step = at(Some(&found), after(seconds), 2);
        assert!(step.write);
        let data = &step.contents.data;
        assert_eq!(data["ca.crt"], authorities);
        assert_eq!(data["token"], token);
        assert_eq!(data["tokens"], tokens);
        assert_eq!(data["tls.crt"], leaf);
        assert_eq!(data["tls.key"], leaf.replace("leaf", "key"));
        found = step.contents;
    }
    assert!(!found.data.keys().any(|key| key.starts_with("next")));
    // The next renewal is counted from the new certificate's creation.
    let next = at(Some(&found), after(renewal + 2 * overlap + 1), 3);
    assert_eq!(next.due, after(2 * renewal));
}

#[test]
fn contents_that_are_missing_changed_by_others_for_other_hosts_or_expired_are_replaced() {
    let good = at(None, start(), 1).contents;
    let mut garbled = good.clone();
    garbled.data.insert("tls.crt".into(), "x".into());
    let mut bare = good.clone();
    bare.annotations.clear();
    let mut odd = good.clone();
    odd.annotations.insert(STAGE.into(), "odd".into());
    for wrong in [&garbled, &bare, &odd] {
        let step = at(Some(wrong), after(1), 2);
        assert!(step.write && step.contents.data["token"] == "token2");
    }
    let made = || Ok::<_, Infallible>(numbered(2));
    let other = step(Some(&good), "*.other.ns.svc", after(1), PERIODS, made).unwrap();
    assert!(other.write);
    let expired = at(Some(&good), after(90 * 24 * 3600), 2);
    assert_eq!(expired.contents.data["tokens"], "token2\n");
}

#[test]
fn a_secret_is_read_back_as_it_was_written() {
    let contents = at(None, start(), 1).contents;
    let data = contents.data.iter();
    let secret = Secret {
        data: Some(
            data.map(|(key, text)| (key.clone(), ByteString(text.clone().into())))
                .collect(),
        ),
        metadata: k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta {
            annotations: Some(contents.annotations.clone()),
            ..Default::default()
        },
        ..Secret::default()
    };
    assert_eq!(Contents::of(&secret).unwrap(), contents);
    assert!(!format!("{contents:?}").contains("token1"));
}

#[test]
fn a_certificate_is_valid_for_the_pool_s_runners_only() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let now = Timestamp::now();
    let made = make(HOSTS, now, PERIODS.life).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(made.authority.as_bytes()).unwrap())
        .unwrap();
    let verifier = rustls::client::WebPkiServerVerifier::builder(Arc::new(roots))
        .build()
        .unwrap();
    let leaf = CertificateDer::from_pem_slice(made.certificate.as_bytes()).unwrap();
    let good = |host: &'static str, time: Timestamp| {
        let name = ServerName::try_from(host).unwrap();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(time.as_second().unsigned_abs()));
        verifier
            .verify_server_cert(&leaf, &[], &name, &[], time)
            .is_ok()
    };
    assert!(good("p-runner-1-2.p-runner.ns.svc", now));
    let end = PERIODS.life;
    assert!(good("p-runner-1-2.p-runner.ns.svc", later(now, end)));
    assert!(!good(
        "p-runner-1-2.p-runner.ns.svc",
        later(now, end + 4 * DAY)
    ));
    assert!(!good("p-runner-1-2.other.ns.svc", now));
    assert!(!good("p-runner.ns.svc", now));
    assert!(PrivateKeyDer::from_pem_slice(made.key.as_bytes()).is_ok());
    assert_eq!(made.token.len(), 64);
    assert_ne!(made.token, make(HOSTS, now, PERIODS.life).unwrap().token);
}

/// Whether an operator with one version and a runner with another work together.
fn agree(operator: &Contents, runner: &Contents) -> bool {
    let number = runner.data["tls.crt"].trim_start_matches("leaf");
    operator.data["ca.crt"].contains(&format!("ca{number}"))
        && runner.data["tokens"]
            .lines()
            .any(|token| token == operator.data["token"])
}

proptest! {
    #[test]
    fn neighbouring_versions_agree_however_late_the_steps_are_taken(
        waits in prop::collection::vec(0_u64..40 * 24 * 3600, 1..60)
    ) {
        let mut now = start();
        let mut versions = vec![(now, at(None, now, 0).contents)];
        for (number, wait) in (1_u32..).zip(&waits) {
            now = later(now, Duration::from_secs(*wait));
            // After an expiry the versions need not agree.
            let expired = versions.last().unwrap().1.state(HOSTS).unwrap().not_after <= now;
            let step = at(Some(&versions.last().unwrap().1), now, number);
            if expired {
                versions.clear();
            }
            if step.write {
                versions.push((now, step.contents));
            }
        }
        for pair in versions.windows(2) {
            let [(before, old), (time, new)] = pair else { unreachable!() };
            prop_assert!(agree(old, new) && agree(new, old), "{old:?} {new:?}");
            prop_assert!(time.duration_since(*before).as_secs() >= 600);
        }
    }
}
