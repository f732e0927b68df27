//! Snapshots of etcd, and the restore of a cluster from one.

use super::control_plane::ETCD_DATA;
use super::{ClusterError, ControlPlane};
use std::io;
use std::path::{Path, PathBuf};

/// A copy of etcd's data; removed with its control plane.
#[derive(Debug)]
pub struct Snapshot(PathBuf);

impl ControlPlane {
    /// Copies etcd's data while etcd is paused: what a crash at this moment would leave.
    pub async fn snapshot(&self) -> Result<Snapshot, ClusterError> {
        let name = format!("snapshot-{}", uuid::Uuid::new_v4());
        let to = self.guardian.scratch().join(name);
        self.etcd.pause()?;
        let copied = copy(self.guardian.scratch().join(ETCD_DATA), to.clone()).await;
        self.etcd.resume()?;
        copied.map(|()| Snapshot(to))
    }

    /// Restores etcd as Kubernetes advises: with the API server stopped, and the controllers started
    /// again afterwards.
    pub async fn restore(&mut self, snapshot: &Snapshot) -> Result<(), ClusterError> {
        self.api_server.terminate().await?;
        self.etcd.terminate().await?;
        let data = self.guardian.scratch().join(ETCD_DATA);
        std::fs::remove_dir_all(&data).map_err(ClusterError::io("removing etcd's data"))?;
        copy(snapshot.0.clone(), data).await?;
        self.etcd.restart().await?;
        self.api_server.restart().await?;
        self.wait_for_api_server().await?;
        if let Some(controllers) = &mut self.controller_manager {
            controllers.restart().await?;
        }
        Ok(())
    }
}

async fn copy(from: PathBuf, to: PathBuf) -> Result<(), ClusterError> {
    let copied = tokio::task::spawn_blocking(move || copy_folder(&from, &to)).await;
    copied
        .map_err(io::Error::other)
        .flatten()
        .map_err(ClusterError::io("copying etcd's data"))
}

fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    // etcd wants a folder of its own.
    std::fs::DirBuilder::new().mode(0o700).create(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &to)?;
        } else {
            std::fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
