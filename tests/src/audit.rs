//! A program's rights by its manifests, and its use of them by the API server's audit log.

use anyhow::{Context as _, Result, ensure};
use fovea_crds::yaml;
use k8s_openapi::api::rbac::v1::PolicyRule;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The namespace of a Role; `None` for a `ClusterRole`.
    namespace: Option<String>,
    group: String,
    resource: String,
    verb: String,
    name: Option<String>,
}

/// Rights that the roles in these YAML documents grant.
fn granted(manifests: &str) -> Result<BTreeSet<Right>> {
    let mut rights = BTreeSet::new();
    for document in yaml::documents::<Value>(manifests) {
        let object = document?;
        let namespace = match object["kind"].as_str() {
            Some("ClusterRole") => None,
            Some("Role") => object["metadata"]["namespace"].as_str().map(str::to_owned),
            _ => continue,
        };
        let rules: Vec<PolicyRule> = serde_json::from_value(object["rules"].clone())?;
        for rule in rules {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    for verb in &rule.verbs {
                        let names = rule.resource_names.iter().flatten().cloned().map(Some);
                        let any = rule.resource_names.is_none().then_some(None);
                        rights.extend(names.chain(any).map(|name| Right {
                            namespace: namespace.clone(),
                            group: group.clone(),
                            resource: resource.clone(),
                            verb: verb.clone(),
                            name,
                        }));
                    }
                }
            }
        }
    }
    Ok(rights)
}

/// The audit log of one user with these rights.
#[derive(Debug)]
pub struct Audit {
    log: PathBuf,
    user: String,
    granted: BTreeSet<Right>,
}

impl Audit {
    /// `manifests` contain the user's roles.
    pub fn new(log: PathBuf, user: &str, manifests: &str) -> Result<Self> {
        Ok(Self {
            log,
            user: user.to_owned(),
            granted: granted(manifests)?,
        })
    }

    /// Panics if a request without a granted right was forbidden.
    pub fn check(&self) {
        let forbidden = self.forbidden().expect("the audit log");
        assert!(forbidden.is_empty(), "forbidden: {forbidden:#?}");
    }

    /// Requests without a granted right. An API server may forbid more for a moment after its start or after
    /// a new role.
    pub fn forbidden(&self) -> Result<BTreeSet<String>> {
        let events = self.events()?;
        let forbidden = events.iter().filter(|event| is_forbidden(event));
        let rightly = forbidden.filter(|event| rights_of(event, &self.granted).is_err());
        let words = rightly.map(|event| event["responseStatus"]["message"].to_string());
        Ok(words.collect())
    }

    /// Rights that were never used; an error if a request was forbidden.
    pub fn unused(&self) -> Result<BTreeSet<Right>> {
        let forbidden = self.forbidden()?;
        ensure!(forbidden.is_empty(), "forbidden: {forbidden:#?}");
        let mut unused = self.granted.clone();
        for event in self.events()? {
            // A health check is about no object.
            if !event["objectRef"].is_null() && !is_forbidden(&event) {
                for right in rights_of(&event, &self.granted)? {
                    unused.remove(&right);
                }
            }
        }
        Ok(unused)
    }

    fn events(&self) -> Result<Vec<Value>> {
        let log =
            std::fs::read_to_string(&self.log).with_context(|| self.log.display().to_string())?;
        let ours = log.lines().filter(|line| line.contains(&self.user));
        // The last line may not be whole yet.
        let events = ours.filter_map(|line| serde_json::from_str::<Value>(line).ok());
        let events = events.filter(|event| event["impersonatedUser"]["username"] == self.user);
        Ok(events.collect())
    }
}

/// Forbidden by RBAC; other refusals have the same code.
fn is_forbidden(event: &Value) -> bool {
    event["annotations"]["authorization.k8s.io/decision"] == "forbid"
}

/// Fails an otherwise successful test if rights were missing.
impl Drop for Audit {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.check();
        }
    }
}

/// The rights that allowed a request: the narrowest ones.
fn rights_of(event: &Value, granted: &BTreeSet<Right>) -> Result<Vec<Right>> {
    let text = |key: &str| event["objectRef"][key].as_str().unwrap_or_default();
    let resource = match text("subresource") {
        "" => text("resource").to_owned(),
        subresource => format!("{}/{subresource}", text("resource")),
    };
    let verb = event["verb"].as_str().unwrap_or_default();
    // A patch that creates the object needs both rights.
    let made = verb == "patch" && event["responseStatus"]["code"] == 201;
    let verbs = [verb].into_iter().chain(made.then_some("create"));
    let right = |(namespace, name): (Option<&str>, Option<&str>), verb: &str| Right {
        namespace: namespace.map(str::to_owned),
        group: text("apiGroup").to_owned(),
        resource: resource.clone(),
        verb: verb.to_owned(),
        name: name.map(str::to_owned),
    };
    let (namespace, name) = (Some(text("namespace")), Some(text("name")));
    let possible = [
        (namespace, name),
        (None, name),
        (namespace, None),
        (None, None),
    ];
    let found = verbs.map(|verb| {
        let mut rights = possible.iter().map(|scope| right(*scope, verb));
        let found = rights.find(|right| granted.contains(right));
        found.with_context(|| format!("no right for {event}"))
    });
    found.collect()
}
