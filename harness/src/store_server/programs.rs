//! How each store that is a single process is started.

use super::{ObjectStore, Place, java};
use crate::cluster::ClusterError;
use crate::process::Program;
use fovea_setup::go::{SEAWEEDFS, VERSITYGW};
use fovea_setup::moto;

/// Logging of the libraries of Java programs: without it logback logs every byte.
const LOGBACK: &str = r#"<configuration>
  <appender name="out" class="ch.qos.logback.core.ConsoleAppender"><encoder><pattern>%level %msg%n</pattern></encoder></appender>
  <root level="warn"><appender-ref ref="out"/></root>
</configuration>
"#;

pub(super) fn program(store: ObjectStore, place: &Place) -> Result<Program, ClusterError> {
    match store {
        ObjectStore::VersityGw => versitygw(place),
        ObjectStore::SeaweedFs => seaweedfs(place),
        ObjectStore::S3Proxy => s3proxy(place),
        ObjectStore::S3Mock => Ok(s3mock(place)),
        ObjectStore::Moto => Ok(moto_server(place)),
        ObjectStore::Minio | ObjectStore::CephRgw => unreachable!("started elsewhere"),
    }
}

/// Metadata in a folder of its own: not every file system of a contributor has extended attributes.
fn versitygw(place: &Place) -> Result<Program, ClusterError> {
    let path = VERSITYGW.built(&place.cache, "versitygw")?;
    Ok(Program::new("versitygw", path)
        .arg(format!("--port=127.0.0.1:{}", place.port()))
        .args(["--quiet", "posix", "--sidecar"])
        .arg(place.config.display().to_string())
        .arg(place.data.display().to_string())
        .env("ROOT_ACCESS_KEY", &place.access_key)
        .env("ROOT_SECRET_KEY", &place.secret_key))
}

/// All its parts in one process. It sends statistics to its makers by default.
fn seaweedfs(place: &Place) -> Result<Program, ClusterError> {
    let path = SEAWEEDFS.built(&place.cache, "weed")?;
    let [
        s3,
        s3_grpc,
        master,
        master_grpc,
        volume,
        volume_grpc,
        filer,
        filer_grpc,
    ] = place.ports;
    let socket = place.config.join("filer.sock");
    let ports = [
        ("s3.port", s3),
        ("s3.port.grpc", s3_grpc),
        ("master.port", master),
        ("master.port.grpc", master_grpc),
        ("volume.port", volume),
        ("volume.port.grpc", volume_grpc),
        ("filer.port", filer),
        ("filer.port.grpc", filer_grpc),
    ];
    Ok(Program::new("seaweedfs", path)
        .args([
            "server",
            "-filer",
            "-s3",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
        ])
        .arg(format!("-dir={}", place.data.display()))
        .args(["-master.telemetry=false", "-master.volumeSizeLimitMB=256"])
        .arg("-volume.max=0")
        .arg(format!("-filer.localSocket={}", socket.display()))
        .args(ports.map(|(name, port)| format!("-{name}={port}")))
        .env("AWS_ACCESS_KEY_ID", &place.access_key)
        .env("AWS_SECRET_ACCESS_KEY", &place.secret_key))
}

fn s3proxy(place: &Place) -> Result<Program, ClusterError> {
    let properties = format!(
        "s3proxy.authorization=aws-v2-or-v4\n\
         s3proxy.endpoint=http://127.0.0.1:{}\n\
         s3proxy.identity={}\n\
         s3proxy.credential={}\n\
         jclouds.provider=filesystem-nio2\n\
         jclouds.filesystem.basedir={}\n",
        place.port(),
        place.access_key,
        place.secret_key,
        place.data.display()
    );
    let properties = place.write("s3proxy.properties", &properties)?;
    let logging = place.write("logback.xml", LOGBACK)?;
    Ok(java(place, ObjectStore::S3Proxy, "org.gaul.s3proxy.Main")
        .args(["--properties", &properties.display().to_string()])
        .env(
            "JAVA_TOOL_OPTIONS",
            format!("-Dlogback.configurationFile={}", logging.display()),
        ))
}

/// It checks no key.
fn s3mock(place: &Place) -> Program {
    let [http, https, vectors, vectors_https, ..] = place.ports;
    let class = "com.adobe.testing.s3mock.S3MockApplication";
    java(place, ObjectStore::S3Mock, class)
        .arg(format!("--http.port={http}"))
        .arg(format!("--server.port={https}"))
        .arg(format!("--vectors.http.port={vectors}"))
        .arg(format!("--vectors.https.port={vectors_https}"))
        .arg(format!(
            "--com.adobe.testing.s3mock.store.root={}",
            place.data.display()
        ))
        .arg("--logging.level.root=warn")
}

/// It checks no key, and keeps objects in memory.
fn moto_server(place: &Place) -> Program {
    let packages = moto::packages(&place.cache);
    Program::new("moto", "python3")
        .args(["-m", "moto.server", "-H", "127.0.0.1"])
        .arg(format!("-p{}", place.port()))
        .env("PYTHONPATH", packages.display().to_string())
}
