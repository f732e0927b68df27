//! What of a pool's spec the schema cannot refuse, and pods cannot be made of. Pure.

use super::provision::Told;
use fovea_crds::{Dtype, ModelSource, PoolModel, RunnerPoolSpec};

/// Priority classes of Kubernetes itself: pods of such a one evict those of the cluster's own.
const SYSTEM_CLASSES: &str = "system-";

/// The one type of numbers that a runner's models have: what some of them name is good for those that
/// leave it to the runner too. `None` where two are named.
pub(crate) fn dtype(models: &[PoolModel]) -> Option<Dtype> {
    let mut named = models
        .iter()
        .map(|model| model.dtype)
        .filter(|dtype| *dtype != Dtype::Auto);
    let Some(first) = named.next() else {
        return Some(Dtype::Auto);
    };
    named.all(|dtype| dtype == first).then_some(first)
}

/// Why no pods are made; empty: they are.
pub(crate) fn refusals(spec: &RunnerPoolSpec) -> Vec<Told> {
    let mut refusals = Vec::new();
    let mut refuse = |message: String| {
        refusals.push(Told {
            reason: "SpecRefused",
            message,
        });
    };
    if dtype(&spec.models).is_none() {
        refuse(
            "a runner has one type of numbers for all its models: name one dtype in spec.models only, or make a pool for each"
                .to_owned(),
        );
    }
    for model in &spec.models {
        if model.dtype == Dtype::Float16 {
            refuse(format!(
                "model {}: runners compute in float32 and bfloat16: write one of them, or auto, for dtype",
                model.name
            ));
        }
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
            "template.priorityClassName {class} is for the cluster's own pods: name another"
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
        refusals(&spec)
            .into_iter()
            .map(|told| told.message)
            .collect()
    }

    #[test]
    fn a_plain_pool_is_not_refused() {
        assert_eq!(refused(|_| {}), Vec::<String>::new());
        let named_once = refused(|spec| spec.models[0].dtype = Dtype::Bfloat16);
        assert_eq!(named_once, Vec::<String>::new());
    }

    #[test]
    fn what_no_pod_can_be_made_of_is_refused_with_what_to_write() {
        let told = refused(|spec| {
            spec.models[0].dtype = Dtype::Bfloat16;
            spec.models[1].dtype = Dtype::Float32;
        });
        assert!(told[0].contains("name one dtype"), "{told:?}");
        let told = refused(|spec| {
            for model in &mut spec.models {
                model.dtype = Dtype::Float16;
            }
        });
        assert!(
            told.len() == 2 && told[1].contains("model b: runners compute in"),
            "{told:?}"
        );
        let told = refused(|spec| {
            spec.models[0].source =
                serde_json::from_value(json!({"huggingFace": {"repo": "gpt2"}})).unwrap();
        });
        assert!(told[0].contains("owner/name"), "{told:?}");
        let told = refused(|spec| {
            let template = json!({"priorityClassName": "system-node-critical"});
            spec.template = serde_json::from_value(template).unwrap();
        });
        assert!(told[0].contains("system-node-critical"), "{told:?}");
    }
}
