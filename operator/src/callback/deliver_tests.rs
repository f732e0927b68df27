use super::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::net::TcpListener;

fn deliverer(allowed: &[&str]) -> Deliverer {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let allowed = allowed.iter().map(|entry| entry.parse().unwrap());
    Deliverer::new(allowed.collect(), &[], None).unwrap()
}

fn message() -> Message {
    Message {
        id: "msg_1".into(),
        timestamp: 1,
        signature: "v1,x".into(),
        body: "{}".into(),
    }
}

async fn detail(deliverer: &Deliverer, url: &str) -> String {
    match deliverer.deliver(url, message()).await {
        Outcome::Failed { detail, .. } => detail,
        other => panic!("{url}: {other:?}"),
    }
}

#[tokio::test]
async fn no_refused_literal_address_is_connected_to_in_any_notation() {
    let deliverer = deliverer(&["10.0.0.0/8"]);
    for url in [
        "https://127.0.0.1/",
        "https://127.1:8443/",
        "https://0x7f.1/",
        "https://2130706433/",
        "https://0177.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://192.168.1.1/",
        "https://0.0.0.0/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::127.0.0.1]/",
        "https://[64:ff9b::7f00:1]/",
        "https://[fd00:ec2::254]/",
        "https://[::ffff:10.0.0.1]/",
    ] {
        let detail = detail(&deliverer, url).await;
        assert!(
            detail.starts_with("the receiver's address is a")
                && detail.contains("--callback-allow"),
            "{url}: {detail}"
        );
    }
}

#[tokio::test]
async fn a_name_that_resolves_to_loopback_is_refused_unless_it_is_allowed() {
    let message = detail(&deliverer(&[]), "https://localhost:1/").await;
    assert!(
        message.starts_with("the receiver's name resolves to a loopback"),
        "{message}"
    );
    for allowed in ["localhost:1", "localhost"] {
        let message = detail(&deliverer(&[allowed]), "https://localhost:1/").await;
        assert!(
            message.starts_with("the connection to the receiver failed"),
            "{message}"
        );
    }
    let message = detail(&deliverer(&["localhost:2"]), "https://localhost:1/").await;
    assert!(message.contains("resolves to a loopback"), "{message}");
}

/// Each attempt resolves the name once, and connects to the addresses that it checked.
#[tokio::test]
async fn a_name_whose_address_changes_between_look_ups_reaches_no_refused_address() {
    static LOOK_UPS: AtomicUsize = AtomicUsize::new(0);
    #[expect(clippy::unnecessary_wraps, reason = "a look-up may fail")]
    fn rebinding(_: &str) -> std::io::Result<Vec<SocketAddr>> {
        let outer = LOOK_UPS.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
        let address = if outer {
            [127, 0, 0, 2]
        } else {
            [127, 0, 0, 1]
        };
        Ok(vec![SocketAddr::from((address, 0))])
    }
    let outer = TcpListener::bind("127.0.0.2:0").await.unwrap();
    let port = outer.local_addr().unwrap().port();
    let inner = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    let allowed = vec!["127.0.0.2".parse().unwrap()];
    let deliverer = Deliverer::with_resolver(allowed, &[], None, rebinding).unwrap();
    let url = format!("https://rebinding.example:{port}/");
    for (look_ups, leads_in) in [(1, false), (2, true), (3, false), (4, true)] {
        let deliver = detail(&deliverer, &url);
        let message = if leads_in {
            deliver.await
        } else {
            let hang_up = async { drop(outer.accept().await.unwrap()) };
            tokio::join!(deliver, hang_up).0
        };
        assert_eq!(
            message.contains("resolves to a loopback"),
            leads_in,
            "{message}"
        );
        assert_eq!(LOOK_UPS.load(Ordering::SeqCst), look_ups);
    }
    let connected = futures::FutureExt::now_or_never(inner.accept());
    assert!(connected.is_none(), "{connected:?}");
}

#[tokio::test]
async fn a_url_that_is_not_https_is_refused() {
    let deliverer = deliverer(&["localhost"]);
    for url in [
        "http://localhost:1/",
        "https://",
        "ftp://localhost/",
        "https://me@localhost/",
    ] {
        assert_eq!(
            detail(&deliverer, url).await,
            Refused::Url.to_string(),
            "{url}"
        );
    }
}

#[test]
fn only_the_allowed_ones_of_several_addresses_are_connected_to() {
    let address = |text: &str| text.parse::<SocketAddr>().unwrap();
    let (public, inner) = (address("1.1.1.1:0"), address("10.0.0.1:0"));
    assert_eq!(judge(&[], vec![inner, public]).unwrap(), [public]);
    assert!(matches!(
        judge(&[], vec![inner]),
        Err(Refused::Name {
            kind: "a private address"
        })
    ));
    assert!(matches!(judge(&[], vec![]), Err(Refused::NoAddress)));
    let allowed = ["10.0.0.0/24".parse().unwrap()];
    assert_eq!(
        judge(&allowed, vec![inner, public]).unwrap(),
        [inner, public]
    );
}

#[test]
fn the_status_alone_decides() {
    let with = |status: u16, retry_after: Option<&str>| {
        let mut headers = HeaderMap::new();
        if let Some(value) = retry_after {
            headers.insert(RETRY_AFTER, HeaderValue::from_str(value).unwrap());
        }
        let now = "2026-01-01T00:00:00Z".parse().unwrap();
        outcome(StatusCode::from_u16(status).unwrap(), &headers, now)
    };
    for status in [200, 201, 202, 204, 299] {
        assert_eq!(with(status, None), Outcome::Delivered);
    }
    assert_eq!(with(410, None), Outcome::Gone);
    for status in [301, 302, 307, 400, 401, 404, 408, 429, 500, 502, 503] {
        assert!(
            matches!(
                with(status, None),
                Outcome::Failed {
                    retry_after: None,
                    ..
                }
            ),
            "{status}"
        );
    }
    for (status, header, seconds) in [
        (429, "17", Some(17)),
        (503, " 17 ", Some(17)),
        (503, "Thu, 01 Jan 2026 00:01:00 GMT", Some(60)),
        (503, "Wed, 31 Dec 2025 00:00:00 GMT", Some(0)),
        (503, "-3", None),
        (503, "soon", None),
        (500, "17", None),
        (302, "17", None),
    ] {
        let Outcome::Failed { retry_after, .. } = with(status, Some(header)) else {
            panic!("{status}")
        };
        assert_eq!(
            retry_after,
            seconds.map(Duration::from_secs),
            "{status} {header}"
        );
    }
}

fn way_to(allowed: &[&str], url: &str, proxy: bool) -> Result<Way, String> {
    let allowed: Vec<_> = allowed.iter().map(|each| each.parse().unwrap()).collect();
    way(&allowed, &url.parse().unwrap(), proxy).map_err(|refused| refused.to_string())
}

#[test]
fn only_receivers_outside_go_through_the_proxy_and_only_if_there_is_one() {
    let allowed = ["hooks.internal", "10.0.0.0/8"];
    for (url, with_a_proxy, without) in [
        ("https://hooks.example.com/", Way::Proxied, Way::Guarded),
        ("https://8.8.8.8/", Way::Proxied, Way::Guarded),
        ("https://hooks.internal/", Way::Open, Way::Open),
        ("https://10.1.2.3/", Way::Guarded, Way::Guarded),
    ] {
        assert_eq!(way_to(&allowed, url, true), Ok(with_a_proxy), "{url}");
        assert_eq!(way_to(&allowed, url, false), Ok(without), "{url}");
    }
}

#[test]
fn a_private_address_in_the_url_is_refused_before_the_proxy_sees_it() {
    for url in [
        "https://169.254.169.254/",
        "https://[::1]/",
        "https://10.1.2.3/",
    ] {
        let refused = way_to(&[], url, true).unwrap_err();
        assert!(refused.contains("--callback-allow"), "{url}: {refused}");
    }
}
