//! Kernel namespaces that a process holds, and programs that run in them.

use std::path::Path;
use std::time::Duration;

use super::command::run_with;
use crate::cluster::ClusterError;
use crate::guard::Guardian;
use crate::process::{Process, Program};

/// Bound on the creation of the namespaces.
const READY: Duration = Duration::from_secs(30);

/// Line that a script prints when the namespaces are ready.
const SAID: &str = "the namespaces are ready";

/// Script for the switch, a bridge without addresses.
const SWITCH: &str = "
ip link set lo up
ip link add switch type bridge
ip link set switch up
";

/// Script for a node: `$1` is a folder on the disk, `$2` the host name. containerd, kubelet and CNI plugins
/// use their usual paths: those below /var are in that folder, those below /run in memory.
const NODE: &str = r#"
hostname "$2"
mount --make-rshared /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p "$1/lib" "$1/log"
mount --bind "$1/lib" /var/lib
mount --bind "$1/log" /var/log
ip link set lo up
echo 1 > /proc/sys/net/ipv4/ip_forward
"#;

#[derive(Debug)]
pub(super) struct Sandbox {
    holder: Process,
    variables: Vec<(&'static str, String)>,
}

impl Sandbox {
    pub(super) async fn switch(
        guardian: &Guardian,
        variables: &[(&'static str, String)],
    ) -> Result<Self, ClusterError> {
        Self::start(guardian, "switch", SWITCH, &[], variables).await
    }

    /// Starts a node: it has its own network, mounts, processes and host name.
    pub(super) async fn node(
        guardian: &Guardian,
        name: &str,
        folder: &Path,
        variables: &[(&'static str, String)],
    ) -> Result<Self, ClusterError> {
        let folder = folder.display().to_string();
        Self::start(guardian, name, NODE, &[&folder, name], variables).await
    }

    /// Orphaned processes become children of the namespaces' first process. It ignores SIGCHLD, which `exec`
    /// keeps, so that the kernel reaps them.
    async fn start(
        guardian: &Guardian,
        name: &str,
        script: &str,
        arguments: &[&str],
        variables: &[(&'static str, String)],
    ) -> Result<Self, ClusterError> {
        let script = format!("{script}\necho '{SAID}'\ntrap '' CHLD\nexec sleep infinity\n");
        let program = Program::new(name, "unshare")
            .args([
                "--net",
                "--mount",
                "--pid",
                "--uts",
                "--fork",
                "--kill-child",
            ])
            .args(["--", "sh", "-euc", &script, "sh"])
            .args(arguments.iter().copied())
            .grace(Duration::ZERO);
        let holder = Process::start_in(guardian, with(program, variables)).await?;
        let ready = || async {
            if holder.log_tail().contains(SAID) {
                Ok(())
            } else {
                Err("no last line yet")
            }
        };
        holder.wait_ready("the namespaces", READY, ready).await?;
        Ok(Self {
            holder,
            variables: variables.to_vec(),
        })
    }

    /// Id of a process in the network and mount namespaces, but not in the process namespace.
    pub(super) fn pid(&self) -> u32 {
        self.holder.pid()
    }

    /// A program to run in the namespaces. It ends only by SIGKILL: other signals reach only `nsenter`.
    pub(super) fn program(&self, name: &str, path: &Path) -> Program {
        let program = Program::new(name, "nsenter")
            .args(self.enter())
            .arg(path.display().to_string())
            .grace(Duration::ZERO);
        with(program, &self.variables)
    }

    /// Runs a program in the namespaces and waits for its end.
    pub(super) async fn run(&self, words: &[&str]) -> Result<String, ClusterError> {
        let enter = self.enter();
        let mut all = vec!["nsenter"];
        all.extend(enter.iter().map(String::as_str));
        all.extend(words);
        run_with(&all, &self.variables).await
    }

    /// Kills everything in the namespaces without a warning, as when a machine loses power.
    pub(super) async fn kill(&self) -> Result<(), ClusterError> {
        self.holder.kill().await?;
        Ok(())
    }

    fn enter(&self) -> [String; 6] {
        let pid = self.pid();
        [
            format!("--target={pid}"),
            "--net".to_owned(),
            "--mount".to_owned(),
            "--uts".to_owned(),
            format!("--pid=/proc/{pid}/ns/pid_for_children"),
            "--".to_owned(),
        ]
    }
}

fn with(program: Program, variables: &[(&'static str, String)]) -> Program {
    variables
        .iter()
        .fold(program, |program, (name, value)| program.env(*name, value))
}
