//! The base image's packages, out of dpkg's own list.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::library;

pub(super) fn components(version: &str, status: &str) -> Vec<Value> {
    let distribution = json!({
        "type": "operating-system",
        "bom-ref": format!("debian@{version}"),
        "name": "debian",
        "version": version,
    });
    let packages = status
        .split("\n\n")
        .filter_map(|paragraph| component(version, paragraph));
    std::iter::once(distribution).chain(packages).collect()
}

fn component(distribution: &str, paragraph: &str) -> Option<Value> {
    let fields: BTreeMap<&str, &str> = paragraph
        .lines()
        .filter(|line| !line.starts_with(' '))
        .filter_map(|line| line.split_once(": "))
        .collect();
    if fields.get("Status") != Some(&"install ok installed") {
        return None;
    }
    let [name, version, architecture] =
        ["Package", "Version", "Architecture"].map(|field| fields.get(field));
    let (name, version, architecture) = (name?, version?, architecture?);
    let release = distribution.split('.').next().unwrap_or(distribution);
    let escaped = version.replace('+', "%2B").replace(':', "%3A");
    let purl = format!(
        "pkg:deb/debian/{}@{escaped}?arch={architecture}&distro=debian-{release}",
        name.replace('+', "%2B")
    );
    Some(library(name, version, &purl))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATUS: &str = "\
Package: libstdc++6
Status: install ok installed
Architecture: amd64
Version: 12.2.0-14+deb12u1
Description: GNU Standard C++ Library v3
 Version: no field, as it is part of the description

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 1

Package: login
Status: install ok installed
Architecture: amd64
Version: 1:4.13
";

    #[test]
    fn installed_packages_are_named_as_package_urls() {
        let components = components("12.12", STATUS);
        let purls: Vec<_> = components.iter().map(|each| &each["purl"]).collect();
        assert_eq!(
            purls,
            [
                &Value::Null,
                &json!(
                    "pkg:deb/debian/libstdc%2B%2B6@12.2.0-14%2Bdeb12u1?arch=amd64&distro=debian-12"
                ),
                &json!("pkg:deb/debian/login@1%3A4.13?arch=amd64&distro=debian-12"),
            ]
        );
        assert_eq!(components[0]["version"], "12.12");
    }
}
