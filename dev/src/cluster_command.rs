//! `make cluster` and `make cluster-down`: a cluster that stays up in the background until it is
//! taken down; or the one that the user has.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use fovea_harness::node::holder;
use fovea_harness::{
    Cluster, ClusterOptions, Ingress, NodeOptions, eventually, images, ingress, node,
};
use fovea_setup::cache::Cache;
use fovea_setup::{self as setup, Part, progress};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

mod others;

/// How long a cluster may take to be up, with its images.
const UP: Duration = Duration::from_mins(5);
/// How long a cluster may take to stop.
const DOWN: Duration = Duration::from_mins(2);

#[derive(Clone, Debug, clap::Subcommand)]
pub(crate) enum ClusterCommand {
    /// Start a cluster in the background, or describe the current one
    Up(Up),
    /// Run a cluster in the foreground until SIGTERM or Ctrl-C
    #[command(hide = true)]
    Run(Up),
    /// Set up the tools of tests with nodes, or print why those are skipped
    #[command(hide = true)]
    Prepare,
    /// Stop the cluster that `up` started, and remove what killed clusters left behind
    Down,
}

/// Origin, size and parts of the cluster.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Up {
    /// Where the cluster comes from: nodes on this machine (local, root), kind (docker), or kubectl's current context
    #[arg(long, value_enum)]
    kind: Option<Origin>,
    /// Number of nodes in the cluster
    #[arg(long, default_value_t = 1)]
    nodes: u8,
    /// Number of nvidia.com/gpu that each node advertises; they are not real devices
    #[arg(long, default_value_t = 2)]
    gpus: u32,
    /// Start an ingress controller: Contour with Envoy, at the cluster's gateway address
    #[arg(long)]
    ingress: bool,
    /// Enforce network policies with kube-router on each node
    #[arg(long)]
    network_policies: bool,
    /// Image archive to import, such as target/images/fovea-api.tar; can be repeated
    #[arg(long = "image")]
    images: Vec<PathBuf>,
}

/// Where the cluster comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Origin {
    Local,
    Kind,
    Current,
}

/// The files by which `up`, `run` and `down` know of each other.
struct State {
    folder: PathBuf,
}

impl State {
    fn open() -> Result<Self> {
        let folder = Cache::from_env()?.path("cluster");
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The lock that `run` holds, which the kernel takes back; `None` while another has it.
    fn lock(&self) -> Result<Option<File>> {
        let file = File::create(self.file("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => Ok(None),
            Err(fs::TryLockError::Error(error)) => Err(error.into()),
        }
    }

    /// All but the log and the held lock.
    fn remove_all(&self) -> io::Result<()> {
        ["ready", "ingress", "kubeconfig", "pid"]
            .iter()
            .try_for_each(|name| self.remove(name))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }
}

pub(crate) async fn run(command: ClusterCommand) -> Result<()> {
    match command {
        ClusterCommand::Up(options) => match options.kind.map_or_else(choose, Ok)? {
            Origin::Local => up(&options).await,
            _ if options.ingress || options.network_policies => bail!(
                "an ingress and network policies come with nodes of our own only: in your cluster, install what you use"
            ),
            Origin::Kind => others::kind(&options.images),
            Origin::Current => others::current().await,
        },
        ClusterCommand::Run(options) => stay(&options).await,
        ClusterCommand::Prepare => prepare(),
        ClusterCommand::Down => down().await,
    }
}

fn prepare() -> Result<()> {
    if let Some(reason) = node::unavailable() {
        eprintln!("tests with nodes are skipped: {reason}");
        return Ok(());
    }
    let cache = Cache::from_env()?;
    let parts = [Part::Node, Part::Ingress, Part::Prometheus, Part::Chart];
    setup::run(&cache, &parts)?;
    progress::step("the images of a node", || {
        images::pause(&cache)
            .and_then(|_| images::debian(&cache))
            .map(drop)
    })?;
    Ok(())
}

/// Our own nodes if they can run, else kind if docker runs.
fn choose() -> Result<Origin> {
    match node::unavailable() {
        None => Ok(Origin::Local),
        Some(_) if others::docker_answers() => Ok(Origin::Kind),
        Some(reason) => bail!(
            "{reason}; and no docker engine answers, for kind. With a cluster of your own: make cluster CLUSTER=current"
        ),
    }
}

async fn up(options: &Up) -> Result<()> {
    let state = State::open()?;
    ensure!(
        state.lock()?.is_some(),
        "a cluster runs already: make cluster-down ends it"
    );
    let mut parts = vec![Part::Tools, Part::Node];
    parts.extend(options.ingress.then_some(Part::Ingress));
    setup::run(&Cache::from_env()?, &parts)?;
    state.remove_all()?;
    let log = File::create(state.file("log"))?;
    let mut child = Command::new(std::env::current_exe()?)
        .args(["cluster", "run"])
        .arg(format!("--nodes={}", options.nodes))
        .arg(format!("--gpus={}", options.gpus))
        .args(options.ingress.then_some("--ingress"))
        .args(options.network_policies.then_some("--network-policies"))
        .args(
            options
                .images
                .iter()
                .map(|path| format!("--image={}", path.display())),
        )
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .process_group(0)
        .spawn()?;
    let up = eventually("the cluster", UP, || {
        let ended = child.try_wait();
        let ready = state.file("ready").exists();
        async move {
            match ended {
                Ok(None) if !ready => Err("not up yet"),
                ended => Ok(ended),
            }
        }
    });
    let ended = up.await??;
    if let Some(status) = ended {
        bail!("{status}: {}", fs::read_to_string(state.file("log"))?);
    }
    println!(
        "The cluster is up. In your shell:\n  export KUBECONFIG={}\n{}make cluster-down ends it.",
        state.file("kubeconfig").display(),
        fs::read_to_string(state.file("ingress")).unwrap_or_default(),
    );
    Ok(())
}

async fn stay(options: &Up) -> Result<()> {
    let state = State::open()?;
    let _lock = state.lock()?.context("a cluster runs already")?;
    fs::write(state.file("pid"), std::process::id().to_string())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let starting = Cluster::start(ClusterOptions {
        nodes: vec![NodeOptions { gpus: options.gpus }; options.nodes.into()],
        network_policies: options.network_policies,
        ..ClusterOptions::default()
    });
    let cluster = tokio::select! {
        cluster = starting => cluster?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    for image in &options.images {
        cluster.import_image(image).await?;
    }
    write_secret(
        &state.file("kubeconfig"),
        &fs::read(cluster.control_plane.kubeconfig())?,
    )?;
    if options.ingress {
        let ingress = describe(&cluster.start_ingress().await?);
        fs::write(state.file("ingress"), ingress)?;
    }
    fs::write(state.file("ready"), "")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    state.remove_all()?;
    Ok(cluster.stop().await?)
}

async fn down() -> Result<()> {
    let state = State::open()?;
    let runs = state.lock()?.is_none();
    if runs {
        let pid: i32 = fs::read_to_string(state.file("pid"))?.trim().parse()?;
        kill(Pid::from_raw(pid), Signal::SIGTERM)?;
        eventually("the cluster's end", DOWN, || async {
            state.lock()?.map(drop).context("it still runs")
        })
        .await?;
    }
    // Files of a killed cluster.
    state.remove_all()?;
    if node::unavailable().is_none() {
        match holder::sweep()? {
            0 if runs => println!("the cluster is gone, and has left nothing"),
            0 => println!("no cluster runs"),
            running => println!("{running} clusters of others (tests?) run"),
        }
    }
    others::kind_down()
}

fn describe(ingress: &Ingress) -> String {
    let (http, https) = (ingress.http(), ingress.https());
    format!(
        "Ingresses of the class {} and HTTPRoutes of the Gateway {}/{} are answered at http://{http} and https://{https}:\n  \
         curl --connect-to ::{https} https://HOST/\n",
        ingress::CLASS,
        ingress::NAMESPACE,
        ingress::GATEWAY,
    )
}

fn write_secret(path: &Path, text: &[u8]) -> io::Result<()> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(text)
}
