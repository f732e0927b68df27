//! containerd's configuration. Its data is in the usual folders, which belong to the node.

use std::path::Path;

/// The image of the process that holds a pod's namespaces; imported, as nothing can be pulled.
pub(in super::super) const PAUSE: &str = "localhost/pause:1";

/// `cni` is the folder of network configurations, `plugins` that of their programs.
///
/// Without `CAP_SYS_RESOURCE` a process cannot lower its OOM score below the inherited one, and runc would
/// fail silently: so the score that Kubernetes requests is clipped.
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

/// Layers are stacked by the kernel, but for a folder that is itself a stack of layers (a test in a
/// container): there they are copied.
pub(in super::super) fn snapshotter(folder: &Path) -> &'static str {
    let kind = nix::sys::statfs::statfs(folder).map(|stat| stat.filesystem_type());
    if kind == Ok(nix::sys::statfs::OVERLAYFS_SUPER_MAGIC) {
        "native"
    } else {
        "overlayfs"
    }
}
