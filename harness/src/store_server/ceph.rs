//! Ceph: a monitor, one OSD with a file as its disk, and the object gateway. It needs no manager and no `ceph`
//! command: the OSD is in the map that the monitor starts with.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use super::Place;
use crate::cluster::ClusterError;
use crate::guard::Guardian;
use crate::process::{Process, Program};
use fovea_setup::ceph;

const STEP: Duration = Duration::from_mins(2);
/// Sparse; Ceph refuses much smaller ones.
const DISK_BYTES: u64 = 4 << 30;
const PLACEMENT_GROUPS: u32 = 4;

struct Ceph<'a> {
    guardian: &'a Guardian,
    root: PathBuf,
    libraries: String,
    conf: String,
}

pub(super) async fn start(
    guardian: &Guardian,
    place: &Place,
) -> Result<(Process, Vec<Process>), ClusterError> {
    let root = ceph::root(&place.cache);
    let fsid = uuid::Uuid::new_v4().to_string();
    let conf = place.write("ceph.conf", &configuration(place, &root, &fsid))?;
    let ceph = Ceph {
        guardian,
        libraries: ceph::library_path(&place.cache),
        conf: conf.display().to_string(),
        root,
    };
    let at = |name: &str| place.config.join(name).display().to_string();
    let (keyring, monmap, osdmap) = (at("keyring"), at("monmap"), at("osdmap"));
    for (name, create, caps) in [
        ("mon.", true, "mon"),
        ("client.admin", false, "mon osd"),
        ("osd.0", false, "mon osd"),
    ] {
        let caps = caps.split(' ').flat_map(|of| ["--cap", of, "allow *"]);
        let arguments = [keyring.as_str(), "--gen-key", "-n", name];
        let create = create.then_some("--create-keyring");
        let arguments = arguments.into_iter().chain(caps).chain(create);
        ceph.run("ceph-authtool", arguments).await?;
    }
    let address = format!("[v2:127.0.0.1:{}]", place.ports[1]);
    let monitor = ["--create", "--fsid", &fsid, "--addv", "a", &address];
    ceph.run("monmaptool", monitor.into_iter().chain([monmap.as_str()]))
        .await?;
    let one = ["-c", &ceph.conf, "--createsimple", "1", &osdmap];
    ceph.run("osdmaptool", one).await?;
    let maps = ["--monmap", &monmap, "--osdmap", &osdmap];
    let monitor = ["-c", &ceph.conf, "-i", "a", "--mkfs", "--keyring", &keyring];
    ceph.run("ceph-mon", monitor.into_iter().chain(maps))
        .await?;
    let monitor = ceph.daemon("ceph-mon", &["-i", "a"]).await?;
    let osd = ["-c", &ceph.conf, "-i", "0", "--mkfs"];
    ceph.run("ceph-osd", osd).await?;
    let osd = ceph.daemon("ceph-osd", &["-i", "0"]).await?;
    let user = [
        "-c",
        &ceph.conf,
        "user",
        "create",
        "--uid=fovea",
        "--display-name=fovea",
        "--access-key",
        &place.access_key,
        "--secret-key",
        &place.secret_key,
    ];
    ceph.run("radosgw-admin", user).await?;
    let gateway = ceph.daemon("radosgw", &["-n", "client.admin"]).await?;
    Ok((gateway, vec![monitor, osd]))
}

impl Ceph<'_> {
    fn program(&self, name: &str) -> Program {
        Program::new(name, self.root.join("usr/bin").join(name))
            .env("LD_LIBRARY_PATH", &self.libraries)
            .grace(Duration::ZERO)
    }

    /// Runs a command to its end.
    async fn run<'b>(
        &self,
        name: &str,
        arguments: impl IntoIterator<Item = &'b str>,
    ) -> Result<(), ClusterError> {
        let process = Process::start_in(self.guardian, self.program(name).args(arguments)).await?;
        let exit = process.wait(STEP).await?;
        if exit.success() {
            return Ok(());
        }
        let failed = std::io::Error::other(process.log_tail());
        Err(ClusterError::io(format!("{name} ended ({exit})"))(failed))
    }

    async fn daemon(&self, name: &str, identity: &[&str]) -> Result<Process, ClusterError> {
        let program = self.program(name).args(["-f", "-c", &self.conf]);
        let program = program.args(identity.iter().copied());
        Ok(Process::start_in(self.guardian, program).await?)
    }
}

fn configuration(place: &Place, root: &std::path::Path, fsid: &str) -> String {
    let machine = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    let library = root.join(machine);
    let below = |name: &str| place.config.join(name).display().to_string();
    let [gateway, monitor, ..] = place.ports;
    let mut text = "[global]\n".to_owned();
    for (name, value) in [
        ("fsid", fsid.to_owned()),
        ("mon_host", format!("v2:127.0.0.1:{monitor}")),
        ("public_addr", "127.0.0.1".to_owned()),
        ("cluster_addr", "127.0.0.1".to_owned()),
        ("keyring", below("keyring")),
        ("run_dir", below("run")),
        ("crash_dir", below("run")),
        ("admin_socket", String::new()),
        ("log_file", String::new()),
        ("log_to_stderr", "true".to_owned()),
        ("mon_data", below("mon")),
        ("mon_cluster_log_file", "/dev/null".to_owned()),
        ("mon_max_pg_per_osd", "1000".to_owned()),
        ("mon_allow_pool_size_one", "true".to_owned()),
        ("osd_data", place.data.display().to_string()),
        ("osd_objectstore", "bluestore".to_owned()),
        ("bluestore_block_size", DISK_BYTES.to_string()),
        ("osd_crush_chooseleaf_type", "0".to_owned()),
        ("osd_pool_default_size", "1".to_owned()),
        ("osd_pool_default_min_size", "1".to_owned()),
        ("osd_pool_default_pg_num", PLACEMENT_GROUPS.to_string()),
        ("osd_pool_default_pgp_num", PLACEMENT_GROUPS.to_string()),
        ("osd_pool_default_pg_autoscale_mode", "off".to_owned()),
        ("plugin_dir", library.join("ceph").display().to_string()),
        (
            "erasure_code_dir",
            library.join("ceph/erasure-code").display().to_string(),
        ),
        (
            "osd_class_dir",
            library.join("rados-classes").display().to_string(),
        ),
        ("rgw_data", below("rgw")),
        (
            "rgw_frontends",
            format!("beast endpoint=127.0.0.1:{gateway}"),
        ),
    ] {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{name} = {value}");
    }
    text
}
