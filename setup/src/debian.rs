//! The distribution's packages for nodes and image builds. They are downloaded and unpacked into the cache,
//! not installed, so that the machine does not change. Packages that are installed already are used
//! and not downloaded.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{SetupError, run_command};
use crate::cache::Cache;

/// The packages that programs of ours use; apt adds their dependencies.
const PACKAGES: [&str; 9] = [
    "containerd",
    "runc",
    "containernetworking-plugins",
    "iptables",
    "ipset",
    "conntrack",
    "buildah",
    "debootstrap",
    "ca-certificates",
];

/// Names of an installed iptables, as kube-proxy calls them.
const IPTABLES: [&str; 6] = [
    "iptables",
    "iptables-save",
    "iptables-restore",
    "ip6tables",
    "ip6tables-save",
    "ip6tables-restore",
];

/// Increment with every change of [`PACKAGES`].
const REVISION: u32 = 2;

/// The name of the cache entry, by the distribution's release: "packages-2-debian-12".
pub fn entry() -> String {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    format!("packages-{REVISION}-{}", release_name(&release))
}

fn release_name(os_release: &str) -> String {
    let field = |name: &str| {
        let value = os_release.lines().find_map(|line| line.strip_prefix(name));
        value.map_or("unknown", |value| value.trim_matches('"'))
    };
    format!("{}-{}", field("ID="), field("VERSION_ID="))
}

/// Fetches missing packages; returns a folder laid out like `/`.
pub fn ensure(cache: &Cache) -> Result<PathBuf, SetupError> {
    let entry = entry();
    let step = "fetching containerd, runc, iptables, buildah with apt (45 MB)";
    cache.get_or_build_with_progress(&entry, [&entry, step], |root| {
        fetch(root, &PACKAGES)?;
        link_iptables(root).map_err(SetupError::io("naming iptables"))
    })
}

/// Downloads packages and unpacks those that are not installed below `root`.
pub(crate) fn fetch(root: &Path, packages: &[impl AsRef<OsStr>]) -> Result<(), SetupError> {
    let archives = root.join("archives");
    fs::create_dir_all(archives.join("partial"))
        .map_err(SetupError::io("creating apt's folder"))?;
    if download(&archives, packages).is_err() {
        // A new machine has no package lists yet.
        run_command("apt-get update", Command::new("apt-get").arg("update"))?;
        download(&archives, packages)?;
    }
    let files = fs::read_dir(&archives).map_err(SetupError::io("listing the packages"))?;
    for file in files {
        let path = file.map_err(SetupError::io("listing the packages"))?.path();
        if path.extension().is_some_and(|extension| extension == "deb") && !is_installed(&path)? {
            let mut unpack = Command::new("dpkg-deb");
            unpack.arg("--extract").arg(path).arg(root);
            run_command("unpacking a package", &mut unpack)?;
        }
    }
    fs::remove_dir_all(archives).map_err(SetupError::io("removing the archives"))
}

/// Downloads the packages that are not installed, and updates that they require.
fn download(archives: &Path, packages: &[impl AsRef<OsStr>]) -> Result<(), SetupError> {
    let mut cache = OsString::from("Dir::Cache::archives=");
    cache.push(archives);
    let mut apt = Command::new("apt-get");
    apt.args("install --yes --download-only --no-install-recommends".split(' '))
        .args(["-o", "APT::Sandbox::User=root"])
        .args(["-o", "Debug::NoLocking=true", "-o"])
        .arg(cache)
        .args(packages);
    run_command("fetching packages with apt-get", &mut apt).map(drop)
}

fn is_installed(archive: &Path) -> Result<bool, SetupError> {
    let mut name = Command::new("dpkg-deb");
    name.arg("--field").arg(archive).arg("Package");
    let name = run_command("reading a package", &mut name)?;
    let mut query = Command::new("dpkg-query");
    query.args(["--show", "--showformat=${db:Status-Status}", name.trim()]);
    // dpkg-query fails for an unknown package: then it is not installed.
    Ok(run_command("asking dpkg", &mut query).is_ok_and(|status| status == "installed"))
}

/// Links iptables to its nftables variant, which needs no kernel module. An installation would have made
/// the choice.
fn link_iptables(root: &Path) -> std::io::Result<()> {
    let programs = root.join("usr/sbin");
    if !programs.join("xtables-nft-multi").is_file() {
        return Ok(());
    }
    for name in IPTABLES {
        std::os::unix::fs::symlink("xtables-nft-multi", programs.join(name))?;
    }
    Ok(())
}

/// The environment variables by which the downloaded programs find each other and their libraries.
pub fn environment(cache: &Cache) -> Vec<(&'static str, String)> {
    let root = cache.path(&entry());
    let library = library(&root);
    let with = |first: String, name: &str| match std::env::var(name) {
        Ok(rest) if !rest.is_empty() => format!("{first}:{rest}"),
        _ => first,
    };
    let at = |path: &str| root.join(path).display().to_string();
    let path = with(format!("{}:{}", at("usr/sbin"), at("usr/bin")), "PATH");
    let libraries = with(library.display().to_string(), "LD_LIBRARY_PATH");
    let mut variables = vec![
        ("PATH", path + ":/usr/sbin:/sbin"),
        ("LD_LIBRARY_PATH", libraries),
    ];
    let xtables = library.join("xtables");
    if xtables.is_dir() {
        variables.push(("XTABLES_LIBDIR", xtables.display().to_string()));
    }
    if root.join("usr/share/debootstrap").is_dir() {
        variables.push(("DEBOOTSTRAP_DIR", at("usr/share/debootstrap")));
    }
    variables
}

/// `usr/lib/x86_64-linux-gnu` or its counterpart for this architecture.
fn library(root: &Path) -> PathBuf {
    root.join(format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH))
}

pub fn cni_plugins(cache: &Cache) -> PathBuf {
    let folders = [cache.path(&entry()), PathBuf::from("/")].map(|root| root.join("usr/lib/cni"));
    let [fetched, installed] = folders;
    if fetched.is_dir() { fetched } else { installed }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packages_of_one_release_are_not_taken_for_anothers() {
        let debian = "PRETTY_NAME=\"Debian GNU/Linux 12\"\nVERSION_ID=\"12\"\nID=debian\n";
        assert_eq!(release_name(debian), "debian-12");
        let ubuntu = "ID=ubuntu\nVERSION_ID=\"24.04\"";
        assert_eq!(release_name(ubuntu), "ubuntu-24.04");
        assert_eq!(release_name(""), "unknown-unknown");
    }
}
