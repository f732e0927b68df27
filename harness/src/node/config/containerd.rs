//! containerd's configuration. Its data is in the usual folders, which belong to the node.

use std::path::Path;

/// The image of the process that holds a pod's namespaces. It is imported: nodes cannot pull images.
pub(in super::super) const PAUSE: &str = "localhost/pause:1";

/// The file's text. `cni` is the folder of network configurations, `plugins` that of CNI's programs.
///
/// Without `CAP_SYS_RESOURCE` a process cannot lower its OOM score below the inherited one, and runc would
/// fail silently. Therefore containerd clips the score that Kubernetes requests.
pub(in super::super) fn file(cni: &Path, plugins: &Path, snapshotter: &str) -> String {
    format!(
        r#"version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{}"
    conf_dir = "{}"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "{snapshotter}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#,
        plugins.display(),
        cni.display(),
    )
}

/// How containerd stores the layers of images: the kernel stacks them. If `folder` is itself such a stack
/// (a test in a container), the layers are copied.
pub(in super::super) fn snapshotter(folder: &Path) -> &'static str {
    let kind = nix::sys::statfs::statfs(folder).map(|stat| stat.filesystem_type());
    if kind == Ok(nix::sys::statfs::OVERLAYFS_SUPER_MAGIC) {
        "native"
    } else {
        "overlayfs"
    }
}
