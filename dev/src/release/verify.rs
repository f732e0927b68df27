//! Checks the finished folder, independent of the steps that made it.

use std::collections::BTreeSet;

use fovea_crds::yaml::{self, Value};

use super::images::{Archive, Built};
use super::{ReleaseError, VERSION, Work, chart, manifests, read, registry, sbom, sums};
use fovea_harness::images::{Image, Torch};
use fovea_setup::run_command;
use fovea_setup::versions::KUBERNETES;

/// Runs every check; the error lists every fault.
pub(super) fn all(work: &Work<'_>, images: &[Built]) -> Result<(), ReleaseError> {
    let mut faults = sums::faults(work.folder)?;
    for built in images {
        faults.extend(image(work, built)?);
        let about = read(&work.folder.join(sbom::file(built)))?;
        faults.extend(sbom::faults(built, &about));
    }
    let there: BTreeSet<String> = images.iter().map(|built| built.reference.clone()).collect();
    faults.extend(packaged(work, &there)?);
    faults.extend(plain(work, &there)?);
    if faults.is_empty() {
        Ok(())
    } else {
        Err(ReleaseError::Wrong(faults))
    }
}

fn image(work: &Work<'_>, built: &Built) -> Result<Vec<String>, ReleaseError> {
    let archive = Archive::open(&work.folder.join(built.file()))?;
    let config = archive.config();
    let label = |name: &str| &config["Labels"][format!("org.opencontainers.image.{name}")];
    let mut faults = Vec::new();
    let mut expect = |what: &str, is: &str, expected: &str| {
        if is != expected {
            let file = built.file();
            faults.push(format!("{file}: its {what} is {is:?}, not {expected:?}"));
        }
    };
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    expect("name", archive.name(), &built.reference);
    expect("version", &text(label("version")), VERSION);
    expect("title", &text(label("title")), built.image.name());
    let revision = text(label("revision"));
    expect("revision", &revision, &work.source.revision);
    expect("user", &text(&config["User"]), "65532:65532");
    Ok(faults)
}

/// The chart as it was packaged, and what it renders with each of its presets.
fn packaged(work: &Work<'_>, there: &BTreeSet<String>) -> Result<Vec<String>, ReleaseError> {
    let package = work.folder.join(chart::file());
    let mut show = chart::helm(work.cache, work.scratch);
    show.args(["show", "chart"]).arg(&package);
    let about = chart::about(&run_command("reading the packaged chart", &mut show)?)?;
    let mut faults = Vec::new();
    for field in ["version", "appVersion"] {
        if about[field] != VERSION {
            faults.push(format!("the chart's {field} is not {VERSION}"));
        }
    }
    let mut named = BTreeSet::new();
    let presets = work.source.path("charts/fovea/presets");
    for preset in super::files_below(&presets)? {
        let mut template = chart::helm(work.cache, work.scratch);
        template
            .args(["template", "fovea"])
            .arg(&package)
            .args(["--namespace", "fovea-system", "--kube-version", KUBERNETES])
            .arg("--values")
            .arg(&preset);
        let rendered = run_command(&format!("rendering {}", preset.display()), &mut template)?;
        named.extend(references(&rendered));
    }
    faults.extend(faults_of("the chart", work, &named, there));
    Ok(faults)
}

fn plain(work: &Work<'_>, there: &BTreeSet<String>) -> Result<Vec<String>, ReleaseError> {
    let file = manifests::file();
    let text = read(&work.folder.join(&file))?;
    let mut faults = faults_of(&file, work, &references(&text), there);
    for name in [file, manifests::definitions()] {
        let kinds = kinds(&name, &read(&work.folder.join(&name))?)?;
        let definitions = kinds
            .iter()
            .filter(|kind| *kind == "CustomResourceDefinition");
        if definitions.count() != 2 {
            faults.push(format!("{name} has not both definitions"));
        }
    }
    Ok(faults)
}

fn kinds(file: &str, text: &str) -> Result<Vec<String>, ReleaseError> {
    let mut kinds = Vec::new();
    for document in yaml::documents::<Value>(text) {
        let object = document.map_err(|error| ReleaseError::unexpected(file, &error))?;
        match object["kind"].as_str() {
            Some(kind) => kinds.push(kind.to_owned()),
            None => return Err(ReleaseError::unexpected(file, &"has what is no object")),
        }
    }
    Ok(kinds)
}

/// Images that are named but missing, except for a variant that this release omits; and images that are never
/// named.
fn faults_of(
    what: &str,
    work: &Work<'_>,
    named: &BTreeSet<String>,
    there: &BTreeSet<String>,
) -> Vec<String> {
    let left_out = left_out(work);
    let missing = named
        .iter()
        .filter(|reference| !there.contains(*reference) && !left_out.contains(*reference))
        .map(|reference| format!("{what} names {reference}, which is not here"));
    let unnamed = Image::ALL
        .into_iter()
        .filter(|image| !named.iter().any(|each| each.contains(image.name())))
        .map(|image| format!("{what} does not name {}", image.name()));
    missing.chain(unnamed).collect()
}

/// Runner images of the variants that this release omits.
pub(super) fn left_out(work: &Work<'_>) -> Vec<String> {
    let variants = work.release.variants();
    [(Torch::Cpu, ""), (Torch::Cuda, "-cuda")]
        .into_iter()
        .filter(|(torch, _)| !variants.contains(torch))
        .map(|(_, suffix)| {
            let tag = format!("{VERSION}{suffix}");
            registry::reference(work.registry, Image::Runner, &tag)
        })
        .collect()
}

/// References to our images anywhere in a text: the runner's are in flags.
fn references(text: &str) -> BTreeSet<String> {
    let of_reference = |each: char| each.is_ascii_alphanumeric() || "./:_-@".contains(each);
    text.split(|each| !of_reference(each))
        .filter(|word| {
            Image::ALL.into_iter().any(|image| {
                let (name, tag) = word.rsplit_once(':').unwrap_or((word, ""));
                let last = name.rsplit('/').next().unwrap_or(name);
                last == image.name() && !tag.is_empty()
            })
        })
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_images_are_found_in_fields_and_flags_and_others_are_not() {
        let text = "
            metadata: {name: fovea-api}
            fovea-operator:
            image: \"localhost:5000/you/fovea-operator:0.1.0\"
            - --runner-image=fovea-runner:0.1.0-cuda
            subject: system:serviceaccount:fovea-system:fovea-api
            image: quay.io/minio/minio:1";
        let found: Vec<_> = references(text).into_iter().collect();
        assert_eq!(
            found,
            [
                "fovea-runner:0.1.0-cuda",
                "localhost:5000/you/fovea-operator:0.1.0"
            ]
        );
    }

    #[test]
    fn the_error_for_a_document_without_a_kind_names_its_file() {
        assert_eq!(
            kinds("a.yaml", "kind: A\n---\nkind: B\n").unwrap(),
            ["A", "B"]
        );
        let error = kinds("a.yaml", "kind: A\n---\nhello: you\n").unwrap_err();
        assert!(error.to_string().starts_with("a.yaml"), "{error}");
    }
}
