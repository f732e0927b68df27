//! The document and the routes agree.

use super::*;
use crate::config::Config;
use clap::Parser as _;

fn document() -> Value {
    super::document(&Config::parse_from(["fovea-api"]).compat)
}

fn walk(value: &Value, visit: &mut impl FnMut(&str, &Value)) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                visit(name, member);
                walk(member, visit);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| walk(item, visit)),
        _ => {}
    }
}

#[test]
fn every_reference_leads_to_a_schema_and_every_schema_is_referred_to() {
    let document = document();
    let mut references = std::collections::BTreeSet::new();
    walk(&document, &mut |name, value| {
        if name == "$ref" {
            references.insert(value.as_str().unwrap().to_owned());
        }
    });
    for reference in &references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    for name in document["components"]["schemas"]
        .as_object()
        .unwrap()
        .keys()
    {
        let reference = format!("#{}/{name}", openapi::SCHEMAS);
        assert!(references.contains(&reference), "{reference} is not used");
    }
}

#[test]
fn every_operation_has_a_summary_an_answer_and_its_errors() {
    let document = document();
    let mut ids = std::collections::BTreeSet::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let text = |member: &str| operation[member].as_str().unwrap_or_default();
            assert!(!text("summary").is_empty(), "{method} {path}");
            assert!(
                ids.insert(text("operationId").to_owned()),
                "{method} {path}"
            );
            assert!(operation["tags"].is_array(), "{method} {path}");
            let responses = operation["responses"].as_object().unwrap();
            assert!(
                responses.keys().any(|status| status.starts_with('2')),
                "{method} {path}"
            );
            for (status, response) in responses {
                let empty = ["204", "307"].contains(&status.as_str());
                assert!(
                    empty || response["content"].is_object(),
                    "{method} {path} {status}"
                );
            }
        }
    }
    assert_eq!(document["openapi"], "3.1.0");
}

#[test]
fn every_parameter_has_a_schema() {
    let document = document();
    let names = ["task", "priority", "maxNewTokens", "prompt"];
    let of_batches = [&names[..], &["outputFormat", "parallelism"]].concat();
    for (path, names) in [("/v1/jobs", &names[..]), ("/v1/batches", &of_batches)] {
        let parameters = document["paths"][path]["post"]["parameters"].as_array();
        let parameters = parameters.unwrap();
        for name in names {
            assert!(
                parameters.iter().any(|found| found["name"] == *name),
                "{name}"
            );
        }
        for parameter in parameters {
            assert!(parameter["schema"].is_object(), "{parameter}");
        }
    }
}

#[test]
fn no_schema_has_extensions_of_kubernetes() {
    walk(&document(), &mut |name, _| {
        assert!(!name.starts_with("x-kubernetes"), "{name}");
    });
}

#[test]
fn a_family_that_is_switched_off_is_not_described() {
    let flags = ["fovea-api", "--compat-async-vision=false"];
    let document = super::document(&Config::parse_from(flags).compat);
    assert!(document["paths"].get("/api/v1/upload").is_none());
    assert!(document["paths"].get("/upload-image").is_some());
}
