use super::*;

const URL: &str = "http://user:secret@proxy.test:3128";
const BARE: &str = "http://proxy.test:3128/";

fn proxies(variables: &[(&str, &str)]) -> Proxies {
    let value = |name: &str| {
        let set = variables.iter().find(|(set, _)| *set == name)?;
        Some(set.1.to_owned())
    };
    Proxies::from_variables(value).unwrap()
}

/// The environment of a runner with this one in its pool's template: names and values.
fn runner(build: &Build, own: &Value) -> Vec<(String, String)> {
    let mut pool = minimal();
    pool.spec.template = Some(serde_json::from_value(json!({"env": own})).unwrap());
    let made = deployment::deployment(&Subject::of(&pool), build, 1, Strategy::Surge);
    let pod = made.spec.unwrap().template.spec.unwrap();
    let env = pod.containers.into_iter().next().unwrap().env.unwrap();
    let named = env.into_iter().map(|each| (each.name, each.value.unwrap()));
    named
        .filter(|(name, _)| name.to_ascii_uppercase().ends_with("_PROXY"))
        .collect()
}

fn to_the_proxy(policy: &k8s_openapi::api::networking::v1::NetworkPolicy) -> Option<Value> {
    let json = serde_json::to_value(policy).unwrap();
    let rules = json["spec"]["egress"].as_array().unwrap().clone();
    rules
        .into_iter()
        .find(|rule| rule["ports"][0]["port"] == 3128)
}

/// The store of these pools is `http://minio.storage.svc:9000`.
#[test]
fn a_runner_gets_the_proxy_without_its_password_and_only_if_the_store_is_behind_it() {
    let all = [
        ("HTTPS_PROXY", URL),
        ("HTTP_PROXY", URL),
        ("NO_PROXY", "a.test"),
    ];
    let behind = build_behind(proxies(&all), &["--proxy-cidr=10.9.0.1/32"]);
    let expected = [
        ("HTTPS_PROXY", BARE),
        ("HTTP_PROXY", BARE),
        ("NO_PROXY", "a.test"),
    ];
    let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
    assert_eq!(runner(&behind, &json!([])), expected);
    let pool = minimal();
    let policy = network_policy::runners(&Subject::of(&pool), &behind);
    assert!(to_the_proxy(&policy).is_some());

    for direct in [
        &[("HTTPS_PROXY", URL)][..],
        &[("HTTP_PROXY", URL), ("NO_PROXY", ".svc")],
        &[],
    ] {
        let direct = build_behind(proxies(direct), &["--proxy-cidr=10.9.0.1/32"]);
        assert_eq!(runner(&direct, &json!([])), []);
        let policy = network_policy::runners(&Subject::of(&pool), &direct);
        assert_eq!(to_the_proxy(&policy), None);
    }
}

#[test]
fn a_pool_s_own_proxy_goes_before_the_operator_s_in_either_form_of_its_name() {
    let behind = build_behind(proxies(&[("HTTP_PROXY", URL)]), &[]);
    for name in ["HTTP_PROXY", "http_proxy"] {
        let own = json!([{"name": name, "value": "http://other.test"}]);
        let expected = (name.to_owned(), "http://other.test".to_owned());
        assert_eq!(runner(&behind, &own), [expected]);
    }
}

#[test]
fn an_import_gets_all_proxies_and_a_password_lies_in_its_secret_only() {
    let both = [
        ("HTTPS_PROXY", URL),
        ("HTTP_PROXY", "plain.test:8080"),
        ("NO_PROXY", ".svc"),
    ];
    let text = import(&minimal(), &build_behind(proxies(&both), &[]));
    for line in [
        "- name: HTTPS_PROXY\n          valueFrom:",
        "- name: HTTP_PROXY\n          value: http://plain.test:8080/",
        "- name: NO_PROXY\n          value: .svc",
        "key: HTTPS_PROXY",
    ] {
        assert!(text.contains(line), "{line:?} is not in\n{text}");
    }
    assert!(!text.contains("secret@"), "{text}");
    // In base64.
    assert!(
        text.contains("HTTPS_PROXY: aHR0cDovL3VzZXI6c2VjcmV0QHByb3h5LnRlc3Q6MzEyOC8="),
        "{text}"
    );
    let without = import(&minimal(), &build(&[]));
    assert!(!without.contains("_PROXY"), "{without}");
}

#[test]
fn an_import_s_policy_allows_the_proxy_at_the_networks_pods_and_ports_that_the_flags_name() {
    let rule = |flags: &[&str]| {
        let build = build_behind(proxies(&[("HTTPS_PROXY", URL)]), flags);
        let policy = network_policy::imports(ObjectMeta::default(), "import", &build);
        to_the_proxy(&policy)
    };
    assert_eq!(rule(&[]), None, "an empty list would mean every address");
    let cidr = rule(&["--proxy-cidr=10.9.0.1/32"]).unwrap();
    assert_eq!(cidr["to"], json!([{"ipBlock": {"cidr": "10.9.0.1/32"}}]));
    let pods = rule(&[
        "--proxy-namespace=egress",
        "--proxy-label=app=squid",
        "--proxy-port=3128,3129",
    ])
    .unwrap();
    assert_eq!(
        pods["to"][0]["podSelector"],
        json!({"matchLabels": {"app": "squid"}})
    );
    assert_eq!(pods["ports"][1]["port"], 3129);
}
