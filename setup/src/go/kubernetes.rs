//! Kubernetes' programs, of the release that `FOVEA_KUBERNETES` names: the tests run on each that is supported.

use std::fmt;
use std::sync::LazyLock;

use super::GoTools;
use crate::versions;

/// Names a release, in full (`v1.35.4`) or without its patch (`v1.35`). By default it is the newest.
const VARIABLE: &str = "FOVEA_KUBERNETES";

/// A release: its version, the variables that the linker sets, its pins.
struct Release {
    version: &'static str,
    /// Kubernetes reads its own version from these; the API server refuses to start without.
    stamps: &'static [(&'static str, &'static str)],
    go_mod: &'static str,
    go_sum: &'static str,
}

/// A release by its place in [`versions::KUBERNETES_RELEASES`] and its minor version. `setup/go/kubernetes/pin`
/// writes the folder.
macro_rules! release {
    ($place:literal, $minor:literal) => {
        Release {
            version: versions::KUBERNETES_RELEASES[$place],
            stamps: &[
                (
                    "k8s.io/component-base/version.gitVersion",
                    versions::KUBERNETES_RELEASES[$place],
                ),
                ("k8s.io/component-base/version.gitMajor", "1"),
                ("k8s.io/component-base/version.gitMinor", $minor),
                ("k8s.io/component-base/version.gitTreeState", "clean"),
            ],
            go_mod: include_str!(concat!("../../go/kubernetes/v1.", $minor, "/go.mod")),
            go_sum: include_str!(concat!("../../go/kubernetes/v1.", $minor, "/go.sum")),
        }
    };
}

static RELEASES: [Release; versions::KUBERNETES_RELEASES.len()] =
    [release!(0, "35"), release!(1, "36"), release!(2, "37")];

/// `FOVEA_KUBERNETES` names no release that is pinned here.
#[derive(Debug, PartialEq, Eq)]
pub struct UnknownRelease(String);

impl fmt::Display for UnknownRelease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{VARIABLE}={}: Fovea is tested on {}",
            self.0,
            versions::KUBERNETES_RELEASES.join(", ")
        )
    }
}

/// The release that `name` means; the newest if it is empty.
fn release(name: &str) -> Result<&'static Release, UnknownRelease> {
    let is_meant = |release: &&Release| {
        let (minor, _) = release.version.rsplit_once('.').unwrap_or_default();
        name.is_empty() || name == release.version || name == minor
    };
    let found = RELEASES.iter().rev().find(is_meant);
    found.ok_or_else(|| UnknownRelease(name.to_owned()))
}

fn named() -> String {
    std::env::var(VARIABLE).unwrap_or_default()
}

/// The error says which releases there are.
pub(crate) fn known() -> Result<(), UnknownRelease> {
    release(&named()).map(drop)
}

/// A part of the chosen release. Of one that is unknown, no program is ever built: setting up refuses it.
fn tools(part: fn(&Release) -> GoTools) -> GoTools {
    const UNKNOWN: Release = Release {
        version: "unknown",
        stamps: &[],
        go_mod: "",
        go_sum: "",
    };
    part(release(&named()).unwrap_or(&UNKNOWN))
}

/// The API server and kubectl, for the demo. The other programs have the same go.mod and separate entries.
pub static KUBERNETES: LazyLock<GoTools> = LazyLock::new(|| tools(Release::servers));

/// The controller manager, which tests need: garbage collection, Deployments, the end of namespaces.
pub static KUBERNETES_CONTROLLERS: LazyLock<GoTools> =
    LazyLock::new(|| tools(Release::controllers));

/// The programs that every node of a cluster runs.
pub static KUBERNETES_NODE: LazyLock<GoTools> = LazyLock::new(|| tools(Release::node));

impl Release {
    fn servers(&self) -> GoTools {
        self.programs(
            "kubernetes",
            "about 3 minutes on 2 cores",
            &[
                ("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
                ("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
            ],
        )
    }

    fn controllers(&self) -> GoTools {
        self.programs(
            "kubernetes-controllers",
            "about a minute on 2 cores, after kube-apiserver",
            &[(
                "kube-controller-manager",
                "k8s.io/kubernetes/cmd/kube-controller-manager",
            )],
        )
    }

    fn node(&self) -> GoTools {
        self.programs(
            "kubernetes-node",
            "about 3 minutes on 2 cores",
            &[
                ("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
                ("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
                ("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
            ],
        )
    }

    fn programs(
        &self,
        name: &'static str,
        about: &'static str,
        programs: &'static [(&'static str, &'static str)],
    ) -> GoTools {
        GoTools {
            name,
            version: self.version,
            programs,
            about,
            stamps: self.stamps,
            tags: &[],
            go_mod: self.go_mod,
            go_sum: self.go_sum,
            sources: &[],
        }
    }
}

#[cfg(test)]
pub(super) fn of_every_release() -> impl Iterator<Item = GoTools> {
    RELEASES.iter().flat_map(|release| {
        let parts = [Release::servers, Release::controllers, Release::node];
        parts.map(|part| part(release))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_meant_by_its_minor_version_or_in_full_and_without_a_name_the_newest() {
        for name in ["", "v1.37", versions::KUBERNETES] {
            assert_eq!(release(name).unwrap().version, versions::KUBERNETES);
        }
        let oldest = versions::KUBERNETES_RELEASES[0];
        assert_eq!(release("v1.35").unwrap().version, oldest);
        assert_eq!(release(oldest).unwrap().version, oldest);
    }

    #[test]
    fn a_release_that_is_not_pinned_is_refused_with_those_that_are() {
        for name in ["v1.3", "1.35", "v1.34", "v1.35.99", "v1"] {
            let refused = release(name).map(drop).unwrap_err().to_string();
            assert!(refused.contains(name) && refused.contains(versions::KUBERNETES));
        }
    }

    #[test]
    fn every_release_says_its_own_minor_version() {
        for release in &RELEASES {
            let minor = release.version.split('.').nth(1);
            let (_, stamped) = release.stamps[2];
            assert_eq!(minor, Some(stamped), "{}", release.version);
        }
    }
}
