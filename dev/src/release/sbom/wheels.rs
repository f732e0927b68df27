//! The wheels that libtorch was taken from, out of the list by which pip fetched them.

use serde_json::{Value, json};

use super::library;

/// One component for each line such as `torch==2.13.0 --hash=sha256:...`.
pub(super) fn components(list: &str) -> Vec<Value> {
    list.lines().filter_map(component).collect()
}

fn component(line: &str) -> Option<Value> {
    let (requirement, sum) = line.split_once(" --hash=sha256:")?;
    let (name, version) = requirement.split_once("==")?;
    let purl = format!("pkg:pypi/{name}@{version}");
    let mut component = library(name, version, &purl);
    component["hashes"] = json!([{"alg": "SHA-256", "content": sum.trim()}]);
    Some(component)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fovea_setup::libtorch::{CUDA_REQUIREMENTS, REQUIREMENTS};
    use fovea_setup::versions::LIBTORCH;

    #[test]
    fn every_wheel_of_both_lists_is_a_component() {
        for list in [REQUIREMENTS, CUDA_REQUIREMENTS] {
            let components = components(list);
            let lines = list.lines().filter(|line| !line.starts_with('#'));
            assert_eq!(components.len(), lines.count());
            let torch = components.iter().find(|each| each["name"] == "torch");
            assert_eq!(torch.unwrap()["version"], LIBTORCH);
        }
    }
}
