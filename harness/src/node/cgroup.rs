//! Cgroups of a cluster's pods. Cgroups do not end with a namespace: their creator must kill their
//! processes and remove them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

const ROOT: &str = "/sys/fs/cgroup";
/// Time for killed processes to end.
const GONE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(50);

pub(super) fn create(cluster: &str, child: &str) -> io::Result<()> {
    for hierarchy in hierarchies(Path::new(ROOT))? {
        let mut parent = hierarchy;
        for name in [cluster, child] {
            delegate(&parent);
            let folder = parent.join(name);
            if let Err(error) = fs::create_dir(&folder)
                && error.kind() != io::ErrorKind::AlreadyExists
            {
                return Err(error);
            }
            inherit(&parent, &folder)?;
            parent = folder;
        }
    }
    Ok(())
}

/// Kills the processes in a cluster's cgroup and removes the cgroup with all its children.
pub(super) fn remove(cluster: &str) -> io::Result<()> {
    let deadline = Instant::now() + GONE;
    for hierarchy in hierarchies(Path::new(ROOT))? {
        let folder = hierarchy.join(cluster);
        while let Err(error) = remove_once(&folder) {
            if Instant::now() > deadline {
                return Err(error);
            }
            std::thread::sleep(POLL);
        }
    }
    Ok(())
}

/// The folders of all hierarchies: one in version 2 of cgroups, several in version 1.
fn hierarchies(root: &Path) -> io::Result<Vec<PathBuf>> {
    if root.join("cgroup.controllers").is_file() {
        return Ok(vec![root.to_path_buf()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(root)? {
        let path = entry?.path();
        // `cpu` may be a link to `cpu,cpuacct`.
        if path.join("cgroup.procs").is_file() && !path.is_symlink() {
            found.push(path);
        }
    }
    Ok(found)
}

/// Version 2: enables the parent's controllers for its children. Errors are ignored: the kubelet reports
/// a missing controller.
fn delegate(parent: &Path) {
    let Ok(controllers) = fs::read_to_string(parent.join("cgroup.controllers")) else {
        return;
    };
    for controller in controllers.split_whitespace() {
        fs::write(
            parent.join("cgroup.subtree_control"),
            format!("+{controller}"),
        )
        .ok();
    }
}

/// Version 1: copies the parent's processors and memory to a new cpuset, which accepts no process while it
/// has none.
fn inherit(parent: &Path, folder: &Path) -> io::Result<()> {
    for name in ["cpuset.cpus", "cpuset.mems"] {
        if parent.join("cgroup.controllers").is_file() || !folder.join(name).is_file() {
            continue;
        }
        fs::write(folder.join(name), fs::read(parent.join(name))?)?;
    }
    Ok(())
}

fn remove_once(folder: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_once(&entry.path())?;
        }
    }
    for pid in fs::read_to_string(folder.join("cgroup.procs"))?.lines() {
        // 0 stands for a process of another process namespace; it ends with that namespace.
        if let Ok(pid @ 1..) = pid.parse() {
            kill(Pid::from_raw(pid), Signal::SIGKILL).ok();
        }
    }
    fs::remove_dir(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_hierarchy_of_version_1_counts_and_a_link_to_one_does_not() {
        let root = tempfile::tempdir().unwrap();
        for name in ["memory", "cpu,cpuacct"] {
            fs::create_dir(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("cgroup.procs"), "").unwrap();
        }
        std::os::unix::fs::symlink("cpu,cpuacct", root.path().join("cpu")).unwrap();
        fs::create_dir(root.path().join("no-hierarchy")).unwrap();
        let mut found = hierarchies(root.path()).unwrap();
        found.sort();
        let expected = ["cpu,cpuacct", "memory"].map(|name| root.path().join(name));
        assert_eq!(found, expected);
    }

    #[test]
    fn version_2_is_one_hierarchy() {
        let root = tempfile::tempdir().unwrap();
        fs::write(root.path().join("cgroup.controllers"), "cpu memory").unwrap();
        fs::write(root.path().join("cgroup.procs"), "").unwrap();
        assert_eq!(hierarchies(root.path()).unwrap(), [root.path()]);
    }
}
