//! Renders of the chart.

use super::{CHART, ChartError, below};
use fovea_harness::stack::{SYSTEM_NAMESPACE, repository};
use fovea_setup::cache::Cache;
use fovea_setup::go::{GoTools, HELM, HELM_3, HELM_DOCS};
use fovea_setup::run_command;
use fovea_setup::versions::KUBERNETES;
use std::path::PathBuf;
use std::process::Command;

const RELEASE: &str = "fovea";
/// Begins a part of a render: the file that it is made by.
const SOURCE: &str = "# Source: fovea/";
const RANDOM: (&str, [&str; 2]) = (
    "templates/minio/secret.yaml",
    ["accessKeyId", "secretAccessKey"],
);
/// The replacement: `made once`.
const MADE_ONCE: &str = "bWFkZSBvbmNl";
/// Suffix of value files in `ci/`, as helm's own linter expects.
const SUFFIX: &str = "-values.yaml";

#[derive(Debug)]
pub struct Tools {
    helm: PathBuf,
    pub(super) docs: PathBuf,
}

impl Tools {
    pub fn ensure(cache: &Cache) -> Result<Self, ChartError> {
        Self::with(HELM, cache)
    }

    /// The same with the helm before.
    pub fn with_helm_3(cache: &Cache) -> Result<Self, ChartError> {
        Self::with(HELM_3, cache)
    }

    fn with(helm: GoTools, cache: &Cache) -> Result<Self, ChartError> {
        helm.ensure(cache)?;
        HELM_DOCS.ensure(cache)?;
        Ok(Self {
            helm: helm.program(cache, "helm"),
            docs: HELM_DOCS.program(cache, "helm-docs"),
        })
    }

    /// helm, as one that knows no cluster and writes nothing to a home.
    pub fn helm(&self) -> Command {
        let mut helm = Command::new(&self.helm);
        let home = std::env::temp_dir().join("fovea-no-such-helm-home");
        for variable in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
            helm.env(variable, &home);
        }
        helm.env_remove("KUBECONFIG");
        helm
    }

    /// `helm template` with these values.
    pub fn template(&self) -> Command {
        let mut helm = self.helm();
        helm.args(["template", RELEASE])
            .arg(repository().join(CHART))
            .args(["--namespace", SYSTEM_NAMESPACE])
            .args(["--kube-version", KUBERNETES]);
        helm
    }
}

#[derive(Clone, Debug)]
pub struct Values {
    pub name: String,
    pub path: PathBuf,
}

pub fn values() -> Result<Vec<Values>, ChartError> {
    let chart = repository().join(CHART);
    let mut all = Vec::new();
    for (folder, suffix, prefix) in [("ci", SUFFIX, ""), ("presets", ".yaml", "preset-")] {
        for path in below(&chart.join(folder))? {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            let name = file.strip_suffix(suffix).ok_or_else(|| {
                ChartError::form(&path.display().to_string(), &"its name ends differently")
            })?;
            all.push(Values {
                name: format!("{prefix}{name}"),
                path: path.clone(),
            });
        }
    }
    Ok(all)
}

/// A part of a render: what one file of the chart has made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Part {
    /// Path below the chart.
    pub(super) file: String,
    pub(super) text: String,
}

/// The parts of a render, one for each file, by their names.
pub(super) fn parts(rendered: &str) -> Vec<Part> {
    let mut parts: Vec<Part> = Vec::new();
    // Only at the start of a line: a ConfigMap may contain documents.
    for document in format!("\n{rendered}").split("\n---\n") {
        let document = format!("{}\n", document.trim_end_matches('\n'));
        let Some((file, text)) = document
            .strip_prefix(SOURCE)
            .and_then(|rest| rest.split_once('\n'))
        else {
            continue;
        };
        let text = settled(file, text);
        match parts.iter_mut().find(|part| part.file == file) {
            Some(part) => part.text.extend(["---\n", &text]),
            None => parts.push(Part {
                file: file.to_owned(),
                text,
            }),
        }
    }
    parts.sort_by(|a, b| a.file.cmp(&b.file));
    parts
}

/// Replaces the random values, which differ in every render.
fn settled(file: &str, text: &str) -> String {
    let (random, keys) = RANDOM;
    if file != random {
        return text.to_owned();
    }
    let line = |line: &str| {
        let key = keys
            .iter()
            .find(|key| line.starts_with(&format!("  {key}: ")));
        key.map_or(line.to_owned(), |key| format!("  {key}: {MADE_ONCE}"))
    };
    text.lines().map(|each| line(each) + "\n").collect()
}

/// The rendered chart without the definitions, which are always the same.
pub fn golden(tools: &Tools, values: &Values) -> Result<String, ChartError> {
    let mut template = tools.template();
    template
        .arg("--values")
        .arg(&values.path)
        .args(["--set", "crds.enabled=false"]);
    let rendered = run_command(&format!("rendering {}", values.name), &mut template)?;
    let each = parts(&rendered)
        .into_iter()
        .map(|Part { file, text }| format!("---\n# {file}\n{text}"));
    Ok(each.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_render_is_taken_apart_by_the_files_that_made_it() {
        let rendered = "---\n# Source: fovea/templates/b.yaml\nkind: B\n  ---\n---\n# Source: fovea/templates/a.yaml\nkind: A\n---\n# Source: fovea/templates/b.yaml\nkind: C\n";
        let part = |file: &str, text: &str| Part {
            file: file.to_owned(),
            text: text.to_owned(),
        };
        let expected = [
            part("templates/a.yaml", "kind: A\n"),
            part("templates/b.yaml", "kind: B\n  ---\n---\nkind: C\n"),
        ];
        assert_eq!(parts(rendered), expected);
    }

    #[test]
    fn keys_that_are_made_by_chance_are_the_same_in_each_render() {
        let text = "data:\n  accessKeyId: abc\n  secretAccessKey: def\n";
        let expected = text.replace("abc", MADE_ONCE).replace("def", MADE_ONCE);
        assert_eq!(settled(RANDOM.0, text), expected);
        assert_eq!(settled("templates/other.yaml", text), text);
    }
}
