//! A namespace for each test, so that tests share only a control plane.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client, Config};

use super::ClusterError;

/// Bound on the deletion in `drop`, which blocks its thread.
const DROP: Duration = Duration::from_secs(5);

/// A namespace with a unique name, deleted on drop.
#[derive(Debug)]
pub struct TempNamespace {
    name: String,
    /// A configuration and not a client, because a client ends with the async runtime of its test.
    config: Option<Config>,
}

impl TempNamespace {
    pub async fn create(config: &Config) -> Result<Self, ClusterError> {
        let name = format!(
            "fovea-test-{}",
            &uuid::Uuid::new_v4().simple().to_string()[..12]
        );
        let namespace = Namespace {
            metadata: ObjectMeta {
                name: Some(name.clone()),
                ..ObjectMeta::default()
            },
            ..Namespace::default()
        };
        let client = Client::try_from(config.clone())?;
        Api::all(client)
            .create(&PostParams::default(), &namespace)
            .await?;
        Ok(Self {
            name,
            config: Some(config.clone()),
        })
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Deletes the namespace without waiting for its end, which takes the namespace controller a while.
    pub async fn delete(mut self) -> Result<(), ClusterError> {
        match self.config.take() {
            Some(config) => delete(config, &self.name).await,
            None => Ok(()),
        }
    }
}

impl Drop for TempNamespace {
    /// Deletes the namespace; ignores errors, because the control plane may have stopped.
    fn drop(&mut self) {
        let Some(config) = self.config.take() else {
            return;
        };
        let name = std::mem::take(&mut self.name);
        let delete = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let bounded = async { tokio::time::timeout(DROP, delete(config, &name)).await };
            runtime.map(|runtime| runtime.block_on(bounded).ok())
        };
        // A separate thread: this one may be in a runtime, which cannot block on another.
        std::thread::spawn(delete).join().ok();
    }
}

async fn delete(config: Config, name: &str) -> Result<(), ClusterError> {
    let namespaces: Api<Namespace> = Api::all(Client::try_from(config)?);
    namespaces.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

/// Runs a test in a new namespace, which is deleted even if the test fails.
pub async fn with_temp_ns<T>(
    config: &Config,
    test: impl AsyncFnOnce(Client, &str) -> T,
) -> Result<T, ClusterError> {
    let namespace = TempNamespace::create(config).await?;
    let client = Client::try_from(config.clone())?;
    let result = test(client, namespace.name()).await;
    namespace.delete().await?;
    Ok(result)
}
