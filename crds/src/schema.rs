//! Turns the schemas of schemars into structural schemas for Kubernetes.

use crate::rules::{at_creation, rule};
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
    exactly_one_by(schema, |rule| rule);
}

/// As [`exactly_one`], for an object that does not change.
pub(crate) fn exactly_one_at_creation(schema: &mut Schema) {
    exactly_one_by(schema, at_creation);
}

fn exactly_one_by(schema: &mut Schema, evaluated: impl FnOnce(Rule) -> Rule) {
    let Some(names) = variants_as_properties(schema) else {
        return;
    };
    // Cheaper than a list with `exists_one`.
    let present: Vec<String> = names
        .iter()
        .map(|name| format!("(has(self.{name}) ? 1 : 0)"))
        .collect();
    let rule = rule(
        format!("{} == 1", present.join(" + ")),
        format!("write exactly one of {}", names.join(", ")),
    );
    schema.insert(VALIDATIONS.into(), json!([evaluated(rule)]));
}

/// As [`exactly_one`], without the words: for what no person writes.
pub(crate) fn one_property(schema: &mut Schema) {
    if variants_as_properties(schema).is_some() {
        schema.insert("minProperties".into(), json!(1));
        schema.insert("maxProperties".into(), json!(1));
    }
}

/// Turns an externally tagged enum into an object with one optional property per variant; returns their names.
fn variants_as_properties(schema: &mut Schema) -> Option<Vec<String>> {
    let Some(Value::Array(variants)) = schema.remove("oneOf") else {
        return None;
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
    let names = properties.keys().cloned().collect();
    schema.insert("type".into(), "object".into());
    schema.insert("properties".into(), properties.into());
    Some(names)
}

/// Names of the properties except `exempt`, so that rules cover new fields as well.
pub(crate) fn properties_but(schema: &Schema, exempt: &[&str]) -> Vec<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    let names = properties.into_iter().flat_map(Map::keys);
    let covered = names.filter(|name| !exempt.contains(&name.as_str()));
    covered.cloned().collect()
}

/// Makes one unit of an object that has one writer: the API server keeps and compares no owner for each of its
/// fields, which is half of the cost of a write.
pub(crate) fn atomic(schema: &mut Schema) {
    schema.insert("x-kubernetes-map-type".into(), json!("atomic"));
}

/// Makes each property that is an object [`atomic`]. One with defaults is not: as a whole, what is stored would differ from
/// what was applied, and a server-side apply after a client-side one would conflict.
pub(crate) fn atomic_properties(schema: &mut Schema) {
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    let objects = properties.into_iter().flat_map(Map::values_mut);
    for object in objects.filter_map(Value::as_object_mut) {
        if object.get("type") == Some(&json!("object")) && !has_defaults(object) {
            object.insert("x-kubernetes-map-type".into(), json!("atomic"));
        }
    }
}

fn has_defaults(object: &Map<String, Value>) -> bool {
    let properties = object.get("properties").and_then(Value::as_object);
    let mut schemas = properties.into_iter().flat_map(Map::values);
    schemas.any(|schema| schema.get("default").is_some())
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
