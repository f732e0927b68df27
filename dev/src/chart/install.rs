//! The plain manifests: the rendered chart, one file per template, for `kubectl apply -k`.

use super::render::{Part, Tools, parts};
use super::{ChartError, Files, MANIFESTS};
use fovea_harness::stack::{SYSTEM_NAMESPACE, repository};
use fovea_setup::run_command;

/// Hand-written values of each render.
const VALUES: &str = "values.yaml";
/// Folder of the manifests for one namespace.
const WATCHED: &str = "watch-namespace";
const DEFINITIONS: &str = "crds.yaml";
/// Templates that need helm.
const HELMS: [&str; 2] = ["templates/pools/", "templates/tests/"];
/// Labels of helm, which does not manage these objects.
const NOT_HERE: [&str; 2] = ["app.kubernetes.io/managed-by: Helm", "helm.sh/chart: "];

/// Whether a file of the manifests is written by hand.
pub(super) fn is_source(path: &str) -> bool {
    [
        format!("{MANIFESTS}/{VALUES}"),
        format!("{MANIFESTS}/{WATCHED}/{VALUES}"),
    ]
    .iter()
    .any(|source| source == path)
}

pub(super) fn files(tools: &Tools) -> Result<Files, ChartError> {
    let mut files = folder(tools, MANIFESTS, "crds")?;
    files.extend(folder(tools, &format!("{MANIFESTS}/{WATCHED}"), "../crds")?);
    Ok(files)
}

/// A kustomization; `definitions` is their path below it.
fn folder(tools: &Tools, folder: &str, definitions: &str) -> Result<Files, ChartError> {
    let mut template = tools.template();
    let values = repository().join(folder).join(VALUES);
    template.arg("--values").arg(values);
    let rendered = run_command(&format!("rendering {folder}"), &mut template)?;
    let mut files = Files::new();
    let mut resources = vec!["namespace.yaml".to_owned(), definitions.to_owned()];
    for Part { file, text } in parts(&rendered) {
        if HELMS.iter().any(|hook| file.starts_with(hook)) {
            continue;
        }
        let name = file.trim_start_matches("templates/").to_owned();
        let text = format!("{}{}", header(&file), without_helm(&text));
        if name == DEFINITIONS {
            let path = |name: &str| format!("{MANIFESTS}/crds/{name}");
            files.insert(path(DEFINITIONS), text);
            let list = kustomization("", &[DEFINITIONS.to_owned()]);
            files.insert(path("kustomization.yaml"), list);
        } else {
            files.insert(format!("{folder}/{name}"), text);
            resources.push(name);
        }
    }
    files.insert(format!("{folder}/namespace.yaml"), namespace());
    let list = kustomization(&about(folder), &resources);
    files.insert(format!("{folder}/kustomization.yaml"), list);
    Ok(files)
}

fn header(file: &str) -> String {
    format!("# Rendered from charts/fovea/{file}; do not edit: `make generate` writes it anew.\n")
}

fn without_helm(text: &str) -> String {
    let is_here = |line: &&str| !NOT_HERE.iter().any(|words| line.trim().starts_with(words));
    let lines = text.lines().filter(is_here);
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn namespace() -> String {
    format!(
        "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: {SYSTEM_NAMESPACE}\n  labels:\n    \
         pod-security.kubernetes.io/enforce: restricted\n    \
         pod-security.kubernetes.io/warn: restricted\n"
    )
}

fn about(folder: &str) -> String {
    format!(
        "\
# Fovea without helm, rendered from charts/fovea with {VALUES}:
#
#   kubectl apply --server-side -k {folder}
#   kubectl -n {SYSTEM_NAMESPACE} create secret generic fovea-object-store \\
#     --from-literal=accessKeyId=... --from-literal=secretAccessKey=...
#   kubectl -n {SYSTEM_NAMESPACE} apply -f manifests/samples/runnerpool-gpu.yaml
#
# The store is the one of {VALUES}. For another, have a kustomization of yours with this one as its
# resource: it patches the Deployments' FOVEA_S3_ENDPOINT and FOVEA_S3_BUCKET, the operator's
# FOVEA_OPERATOR_STORE_CIDRS and FOVEA_OPERATOR_STORE_PORTS, and what the NetworkPolicies let
# through to it. They let through to the API server in private networks at ports 443 and 6443; add a rule
# if it is elsewhere. `images:` there names your registry for these two; the operator's
# FOVEA_OPERATOR_RUNNER_IMAGE and FOVEA_OPERATOR_RUNNER_IMAGE_CUDA name it for runners.
"
    )
}

fn kustomization(about: &str, resources: &[String]) -> String {
    let lines = resources.iter().flat_map(|each| ["  - ", each, "\n"]);
    let list: String = lines.collect();
    format!(
        "{about}apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources:\n{list}"
    )
}
