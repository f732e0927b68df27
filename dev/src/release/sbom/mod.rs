//! Bills of materials of the images, as `CycloneDX` JSON: crates of the program, packages of the base, and
//! the runner's wheels of libtorch.
//!
//! `cargo-cyclonedx` lists the crates, of which those that are in the program stay. The rest is put beside
//! them here, because scanners of images see too little: crates only in binaries that `cargo-auditable` has
//! linked, without licences, and nothing of libtorch, whose libraries are in the image without the wheels
//! that they came from.

mod debian;
mod linked;
mod wheels;

use std::process::Command;

use serde_json::{Value, json};

use super::images::{Archive, Built};
use super::{ReleaseError, VERSION, Work, empty, read, write};
use fovea_harness::images::{Image, Torch};
use fovea_setup::crates::CYCLONEDX;
use fovea_setup::{libtorch, run_command};

/// The only target of release binaries.
const TARGET: &str = "x86_64-unknown-linux-gnu";

pub(super) fn file(built: &Built) -> String {
    format!("{}-{}.cdx.json", built.image.name(), built.tag)
}

/// A component that others made, by its package URL.
fn library(name: &str, version: &str, purl: &str) -> Value {
    json!({
        "type": "library",
        "bom-ref": purl,
        "name": name,
        "version": version,
        "purl": purl,
    })
}

pub(super) fn write_all(work: &Work<'_>, images: &[Built]) -> Result<(), ReleaseError> {
    list_crates(work)?;
    let tree = linked::tree(work)?;
    for built in images {
        let mut about = crates(work, built.image)?;
        linked::keep(&mut about, &linked::crates(&tree, built.image.name()));
        let mut parts = base(work, built)?;
        parts.extend(match (built.image, built.torch) {
            (Image::Runner, Torch::Cpu) => wheels::components(libtorch::REQUIREMENTS),
            (Image::Runner, Torch::Cuda) => wheels::components(libtorch::CUDA_REQUIREMENTS),
            _ => Vec::new(),
        });
        as_image(&mut about, built, parts);
        let text = serde_json::to_string_pretty(&about)
            .map_err(|error| ReleaseError::unexpected(file(built), &error))?;
        write(&work.folder.join(file(built)), &(text + "\n"))?;
    }
    Ok(())
}

/// Has each crate of the commit described beside its Cargo.toml.
fn list_crates(work: &Work<'_>) -> Result<(), ReleaseError> {
    let mut list = Command::new(CYCLONEDX.program(work.cache));
    list.args(["cyclonedx", "--format=json", "--spec-version=1.5", "--all"])
        .args(["--no-build-deps", "--target", TARGET])
        .env("SOURCE_DATE_EPOCH", work.source.epoch_seconds.to_string())
        .current_dir(&work.source.root);
    run_command("listing the crates", &mut list)?;
    Ok(())
}

/// Crates of a program, without paths of this machine.
fn crates(work: &Work<'_>, image: Image) -> Result<Value, ReleaseError> {
    let name = image.name();
    let folder = name.trim_start_matches("fovea-");
    let path = work.source.path(folder).join(format!("{name}.cdx.json"));
    let here = format!("path+file://{}/", work.source.root.display());
    let mut about = serde_json::from_str(&read(&path)?.replace(&here, ""))
        .map_err(|error| ReleaseError::unexpected(path.display().to_string(), &error))?;
    without_paths(&mut about);
    Ok(about)
}

/// A crate of ours is no download: its `purl` ends with its version.
fn without_paths(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                match field
                    .as_str()
                    .and_then(|text| text.split_once("?download_url=file:"))
                {
                    Some((purl, _)) if name == "purl" => *field = json!(purl),
                    _ => without_paths(field),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(without_paths),
        _ => {}
    }
}

/// Debian's packages, by the image's own list.
fn base(work: &Work<'_>, built: &Built) -> Result<Vec<Value>, ReleaseError> {
    let archive = Archive::open(&work.folder.join(built.file()))?;
    let scratch = work.scratch.join("layer");
    empty(&scratch)?;
    let version = archive.base_file("etc/debian_version", &scratch)?;
    let packages = archive.base_file("var/lib/dpkg/status", &scratch)?;
    let components = debian::components(version.trim(), &packages);
    if components.len() < 2 {
        return Err(ReleaseError::unexpected(
            built.file(),
            &"lists no packages of its base",
        ));
    }
    Ok(components)
}

/// Makes what was about a program be about the image that holds it and `parts`.
fn as_image(about: &mut Value, built: &Built, parts: Vec<Value>) {
    let mut program = about["metadata"]["component"].take();
    // Its targets include programs that are in no image.
    if let Some(fields) = program.as_object_mut() {
        fields.remove("components");
    }
    let held = std::iter::once(&program).chain(&parts);
    let depends_on: Vec<Value> = held.map(|part| part["bom-ref"].clone()).collect();
    about["metadata"]["component"] = json!({
        "type": "container",
        "bom-ref": built.reference,
        "name": built.image.name(),
        "version": VERSION,
    });
    if let Some(dependencies) = about["dependencies"].as_array_mut() {
        let image = json!({"ref": built.reference, "dependsOn": depends_on});
        dependencies.insert(0, image);
    }
    if let Some(components) = about["components"].as_array_mut() {
        components.insert(0, program);
        components.extend(parts);
    }
}

/// Faults of an image's bill of materials.
pub(super) fn faults(built: &Built, text: &str) -> Vec<String> {
    let about: Value = serde_json::from_str(text).unwrap_or_default();
    let component = &about["metadata"]["component"];
    let components = about["components"].as_array();
    let purls = components.into_iter().flatten().map(|each| &each["purl"]);
    let kinds = |kind: &str| {
        let mut of_kind = purls.clone();
        of_kind.any(|purl| purl.as_str().is_some_and(|purl| purl.starts_with(kind)))
    };
    let mut faults = Vec::new();
    if component["name"] != built.image.name() || component["version"] != VERSION {
        faults.push(format!("{} is about another image", file(built)));
    }
    let mut expected = vec!["pkg:cargo/", "pkg:deb/"];
    expected.extend((built.image == Image::Runner).then_some("pkg:pypi/torch@"));
    let missing = expected.into_iter().filter(|kind| !kinds(kind));
    faults.extend(missing.map(|kind| format!("{} has no {kind}", file(built))));
    if text.contains("file:/") {
        faults.push(format!("{} names files of this machine", file(built)));
    }
    faults
}
