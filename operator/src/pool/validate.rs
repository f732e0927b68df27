//! Validates what the schema of a pool's spec cannot. Pure.

use super::message::Message;
use fovea_crds::{ModelSource, RunnerPoolSpec};

/// Prefix of Kubernetes' own priority classes: pods of these classes preempt the cluster's own pods.
const SYSTEM_CLASSES: &str = "system-";

/// Reason of the fault of a pool whose spec is refused: only an edit helps.
pub(crate) const SPEC_REFUSED: &str = "SpecRefused";

/// Reasons why no pods can be created from the spec; empty if they can.
pub(crate) fn refusals(spec: &RunnerPoolSpec) -> Vec<Message> {
    let mut refusals = Vec::new();
    let mut refuse = |message: String| {
        refusals.push(Message::new(SPEC_REFUSED, message));
    };
    for model in &spec.models {
        if let Some(ModelSource::HuggingFace { repo, .. }) = &model.source
            && !repo.contains('/')
        {
            refuse(format!(
                "model {}: write its repository as owner/name, not {repo:?}",
                model.name
            ));
        }
    }
    let class = spec
        .template
        .as_ref()
        .and_then(|template| template.priority_class_name.as_deref());
    if let Some(class) = class.filter(|class| class.starts_with(SYSTEM_CLASSES)) {
        refuse(format!(
            "template.priorityClassName {class} is reserved for the cluster's own pods; use another"
        ));
    }
    refusals
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(change: impl FnOnce(&mut RunnerPoolSpec)) -> Vec<String> {
        let models = json!([
            {"name": "a", "task": "image-to-text", "source": {"huggingFace": {"repo": "o/n"}}},
            {"name": "b", "task": "image-to-text", "source": {"object": {"prefix": "x"}}},
        ]);
        let mut spec = RunnerPoolSpec::new(serde_json::from_value(models).unwrap());
        change(&mut spec);
        let refusals = refusals(&spec).into_iter();
        refusals.map(|refusal| refusal.message).collect()
    }

    #[test]
    fn a_plain_pool_is_not_refused() {
        assert_eq!(refused(|_| {}), Vec::<String>::new());
    }

    #[test]
    fn a_spec_that_pods_cannot_be_created_from_is_refused_with_the_fix() {
        let messages = refused(|spec| {
            spec.models[0].source =
                serde_json::from_value(json!({"huggingFace": {"repo": "gpt2"}})).unwrap();
        });
        assert!(messages[0].contains("owner/name"), "{messages:?}");
        let messages = refused(|spec| {
            let template = json!({"priorityClassName": "system-node-critical"});
            spec.template = serde_json::from_value(template).unwrap();
        });
        assert!(messages[0].contains("system-node-critical"), "{messages:?}");
    }
}
