//! Where the release's pods can connect to, on a network that enforces policies. helm has asked the
//! cluster for its API server, since the values do not say where it is.

use anyhow::{Context as _, Result, ensure};
use fovea_harness::stack::SYSTEM_NAMESPACE;
use fovea_tests::Installed;
use fovea_tests::measure::process_in_pod;
use kube::ResourceExt as _;
use kube::api::ListParams;
use std::net::{Ipv4Addr, TcpListener};
use std::process::Command;

/// Stands in for a metadata service: link-local, and no cloud's own.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 77, 1);
const HTTPS: u16 = 443;
/// Connects to the address and port `$1/$2`.
const CONNECT: &str = r#"exec timeout 3 bash -c "exec 3<>/dev/tcp/$1/$2""#;

/// An address of this machine, removed when dropped.
struct Address(Ipv4Addr);

impl Address {
    fn add(address: Ipv4Addr) -> Result<Self> {
        ip(&["address", "replace", &format!("{address}/32"), "dev", "lo"])?;
        Ok(Self(address))
    }
}

impl Drop for Address {
    fn drop(&mut self) {
        let _ = ip(&["address", "delete", &format!("{}/32", self.0), "dev", "lo"]);
    }
}

fn ip(words: &[&str]) -> Result<()> {
    let done = Command::new("ip").args(words).status()?;
    ensure!(done.success(), "ip {words:?}: {done}");
    Ok(())
}

/// Whether a program of the pod with that label connects.
async fn connects(it: &Installed, component: &str, to: (&str, u16)) -> Result<bool> {
    let labels = format!("app.kubernetes.io/name=fovea,app.kubernetes.io/component={component}");
    let pods = it.pods.list(&ListParams::default().labels(&labels)).await?;
    let pod = pods.iter().next().context("a pod")?;
    let uid = pod.uid().unwrap_or_default();
    let pid = process_in_pod(&uid, &format!("fovea-{component}"))?;
    let status = tokio::process::Command::new("nsenter")
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(["bash", "-c", CONNECT, "connect", to.0, &to.1.to_string()])
        .stderr(std::process::Stdio::null())
        .status()
        .await?;
    Ok(status.success())
}

#[test]
fn operator_and_api_connect_to_the_api_server_and_to_no_metadata_service_or_other_server()
-> Result<()> {
    Installed::shared(async |it| {
        let (machine, _address) = (it.cluster.gateway(), Address::add(METADATA)?);
        let _other = TcpListener::bind((machine, HTTPS))?;
        let _service = TcpListener::bind((METADATA, HTTPS))?;
        let node = &it.cluster.nodes[0];
        let (metadata, machine) = (METADATA.to_string(), machine.to_string());
        node.run(&["ip", "route", "replace", &metadata, "via", &machine])
            .await?;
        for address in [&machine, &metadata] {
            // No policy holds the node itself.
            let words = ["bash", "-c", CONNECT, "connect", address, "443"];
            node.run(&words).await.context("both listen")?;
        }

        let plane = &it.cluster.control_plane;
        let service = "get service kubernetes -o jsonpath={.spec.clusterIP}";
        let service = plane.kubectl_line(service).await?;
        for component in ["operator", "api"] {
            let connects = async |address: &str| connects(it, component, (address, HTTPS)).await;
            ensure!(connects(&service).await?, "{component}: the API server");
            ensure!(!connects(&machine).await?, "{component}: another server");
            ensure!(!connects(&metadata).await?, "{component}: metadata");
        }
        let policies = format!("get netpol -n {SYSTEM_NAMESPACE} -o yaml");
        let policies = plane.kubectl_line(&policies).await?;
        ensure!(
            policies.contains(&format!("cidr: {service}/32")),
            "{policies}"
        );
        Ok(())
    })
}
