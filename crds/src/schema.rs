//! Turns the schemas of schemars into structural schemas for Kubernetes.

use crate::rules::rule;
use kube::core::Rule;
use schemars::{Schema, transform::transform_subschemas};
use serde_json::{Map, Value, json};

const VALIDATIONS: &str = "x-kubernetes-validations";

/// Makes the schema of a spec or status structural. An optional field may be absent but not `null`,
/// so that CEL, defaults and Rust have two cases instead of three. Unsigned formats, which the API
/// server does not support, become int64.
pub(crate) fn structural(schema: &mut Schema) {
    transform_subschemas(&mut structural, schema);
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            object.insert("type".into(), only);
        }
    }
    merge_optional(object);
    let format = object.get("format").and_then(Value::as_str);
    if format.is_some_and(|format| format.starts_with("uint")) {
        object.insert("format".into(), "int64".into());
    }
}

/// Replaces `anyOf: [T, null]`, which schemars writes for an `Option<T>`, by `T`. The field's
/// description overrides the type's; the rules of both apply.
fn merge_optional(object: &mut Map<String, Value>) {
    let Some(Value::Array(any_of)) = object.get("anyOf") else {
        return;
    };
    let [Value::Object(inner), null] = any_of.as_slice() else {
        return;
    };
    if null.get("type") != Some(&json!("null")) {
        return;
    }
    let inner = inner.clone();
    object.remove("anyOf");
    for (key, value) in inner {
        match (object.get_mut(&key), value) {
            (Some(Value::Array(rules)), Value::Array(more)) if key == VALIDATIONS => {
                rules.extend(more);
            }
            (Some(_), _) => {}
            (None, value) => {
                object.insert(key, value);
            }
        }
    }
}

/// Turns an externally tagged enum into an object with one optional property per variant, of which
/// a CEL rule requires exactly one. The messages of Kubernetes' own `oneOf` do not name the fields
/// to set.
pub(crate) fn exactly_one(schema: &mut Schema) {
    let Some(Value::Array(variants)) = schema.remove("oneOf") else {
        return;
    };
    let mut properties = Map::new();
    for mut variant in variants {
        let description = variant.get_mut("description").map(Value::take);
        let Some(Value::Object(of_variant)) = variant.get_mut("properties").map(Value::take) else {
            continue;
        };
        for (name, mut property) in of_variant {
            if let (Some(property), Some(text)) = (property.as_object_mut(), &description) {
                property.insert("description".into(), text.clone());
                property.remove("additionalProperties");
            }
            properties.insert(name, property);
        }
    }
    let names: Vec<&str> = properties.keys().map(String::as_str).collect();
    let present: Vec<String> = names
        .iter()
        .map(|name| format!("has(self.{name})"))
        .collect();
    let rule = rule(
        format!("[{}].exists_one(set, set)", present.join(", ")),
        format!("write exactly one of {}", names.join(", ")),
    );
    schema.insert("type".into(), "object".into());
    schema.insert(VALIDATIONS.into(), json!([rule]));
    schema.insert("properties".into(), properties.into());
}

/// Adds a rule for every field except `exempt`, so that new fields are covered as well.
pub(crate) fn for_each_but(schema: &mut Schema, exempt: &[&str], rule: impl Fn(&str) -> Rule) {
    let Some(Value::Object(properties)) = schema.get("properties") else {
        return;
    };
    let fields = properties.keys().map(String::as_str);
    let covered = fields.filter(|field| !exempt.contains(field));
    let rules: Vec<Rule> = covered.map(rule).collect();
    add_rules(schema, rules);
}

pub(crate) fn add_rules(schema: &mut Schema, rules: impl IntoIterator<Item = Rule>) {
    if let Value::Array(all) = schema
        .ensure_object()
        .entry(VALIDATIONS)
        .or_insert_with(|| json!([]))
    {
        all.extend(rules.into_iter().map(|rule| json!(rule)));
    }
}
