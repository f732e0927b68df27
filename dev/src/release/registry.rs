//! The registry of a release's images: rewrites chart and manifests to name it.

use std::path::Path;

use fovea_crds::yaml::{self, Value};

use super::source::Source;
use super::{ReleaseError, VERSION, files_below, read, write};
use fovea_harness::images::Image;

const VALUES: &str = "charts/fovea/values.yaml";
const MANIFESTS: &str = "manifests/install";

/// Has the chart's default and the manifests name `wanted`; returns the registry, which is the
/// chart's own where none is wanted.
pub(super) fn name(source: &Source, wanted: Option<&str>) -> Result<String, ReleaseError> {
    let path = source.path(VALUES);
    let values = read(&path)?;
    let own = of_values(&values)?;
    let Some(wanted) = wanted else {
        return Ok(own);
    };
    write(&path, &renamed_values(&values, wanted)?)?;
    for file in files_below(&source.path(MANIFESTS))? {
        rename_images(&file, &own, wanted)?;
    }
    Ok(wanted.to_owned())
}

pub(super) fn reference(registry: &str, image: Image, tag: &str) -> String {
    let name = image.name();
    match registry {
        "" => format!("{name}:{tag}"),
        _ => format!("{registry}/{name}:{tag}"),
    }
}

fn of_values(text: &str) -> Result<String, ReleaseError> {
    let values: Value =
        yaml::parse(text).map_err(|error| ReleaseError::unexpected(VALUES, &error))?;
    match values["image"]["registry"].as_str() {
        Some(registry) => Ok(registry.to_owned()),
        None => Err(ReleaseError::unexpected(VALUES, &"has no image.registry")),
    }
}

/// The same values with another registry, and all comments.
fn renamed_values(text: &str, wanted: &str) -> Result<String, ReleaseError> {
    let mut within = false;
    let mut lines = Vec::new();
    for line in text.lines() {
        if !line.starts_with([' ', '#']) && !line.is_empty() {
            within = line == "image:";
        }
        lines.push(if within && line.starts_with("  registry:") {
            format!("  registry: {wanted}")
        } else {
            line.to_owned()
        });
    }
    let renamed = lines.join("\n") + "\n";
    if of_values(&renamed)? == wanted {
        Ok(renamed)
    } else {
        Err(ReleaseError::unexpected(
            VALUES,
            &"has image.registry on no line of its own",
        ))
    }
}

fn rename_images(file: &Path, own: &str, wanted: &str) -> Result<(), ReleaseError> {
    let text = read(file)?;
    let mut renamed = text.clone();
    for image in Image::ALL {
        renamed = renamed.replace(
            &reference(own, image, VERSION),
            &reference(wanted, image, VERSION),
        );
    }
    if renamed == text {
        return Ok(());
    }
    write(file, &renamed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "image:\n  # Where from.\n  registry: \"\"\n  tag: \"\"\nminio:\n  registry: quay.io\n";

    #[test]
    fn only_our_own_images_get_another_registry() {
        let renamed = renamed_values(TEXT, "ghcr.io/you").unwrap();
        assert_eq!(
            renamed,
            "image:\n  # Where from.\n  registry: ghcr.io/you\n  tag: \"\"\nminio:\n  registry: quay.io\n"
        );
    }

    #[test]
    fn a_registry_that_is_not_on_its_own_line_is_an_error() {
        let error = renamed_values("image: {registry: \"\"}\n", "ghcr.io/you").unwrap_err();
        assert!(error.to_string().contains("image.registry"), "{error}");
    }

    #[test]
    fn a_manifest_names_the_registry_before_our_images_and_leaves_others_alone() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = format!(
            "- image: fovea-api:{VERSION}\n- --runner-image=fovea-runner:{VERSION}\n- image: minio:1\n"
        );
        write(file.path(), &text).unwrap();
        rename_images(file.path(), "", "ghcr.io/you").unwrap();
        let expected = format!(
            "- image: ghcr.io/you/fovea-api:{VERSION}\n\
             - --runner-image=ghcr.io/you/fovea-runner:{VERSION}\n- image: minio:1\n"
        );
        assert_eq!(read(file.path()).unwrap(), expected);
    }
}
