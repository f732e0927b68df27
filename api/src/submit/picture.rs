//! The picture of a submission, in the bucket under the uid of its namespace.

use crate::auth::Tenant;
use crate::error::{Problem, ProblemType};
use crate::state::App;
use crate::validate::{Picture, inspect};
use bytes::Bytes;
use fovea_crds::Input;
use fovea_store::{ObjectKey, Sha256};

/// Maximum number of puts of one picture in a row. Between two of them the namespace is deleted and
/// created again, which takes seconds.
const MAX_PUTS: u8 = 4;

/// A picture that lies in the bucket.
pub(super) struct StoredPicture {
    bytes: Bytes,
    sha256: Sha256,
    content_type: &'static str,
    /// The namespace's uid in its key.
    namespace_uid: String,
}

impl StoredPicture {
    /// Inspects a picture and puts it under its content address.
    pub(super) async fn put(app: &App, tenant: &Tenant, bytes: Bytes) -> Result<Self, Problem> {
        let max_pixels = app.config.limits.max_pixels;
        // Hashing ten megabytes takes tens of milliseconds, which would delay other requests.
        let inspected = tokio::task::spawn_blocking(move || {
            let picture = inspect(&bytes, max_pixels);
            picture.map(|picture| (picture, Sha256::of(&bytes), bytes))
        });
        let (Picture { format, .. }, sha256, bytes) = match inspected.await {
            Ok(inspected) => inspected?,
            // The decoder panicked on a hostile header.
            Err(error) => {
                let detail = "the picture's header cannot be read";
                return Err(Problem::new(ProblemType::NotAPicture, detail).caused_by(error));
            }
        };
        let mut picture = Self {
            bytes,
            sha256,
            content_type: format.to_mime_type(),
            namespace_uid: String::new(),
        };
        picture.follow(app, tenant).await?;
        Ok(picture)
    }

    pub(super) fn input(&self) -> Input {
        Input::Upload {
            sha256: self.sha256.to_string(),
        }
    }

    /// Puts the picture, unless it lies under the namespace's current uid. Call it before the job is created,
    /// so that its picture is there, and again afterwards: a create that took long may have landed in a
    /// namespace that was created again under the same name. [`crate::kubernetes::Namespaces::uid`] states
    /// why the uid of the second call is that of the job's namespace.
    pub(super) async fn follow(&mut self, app: &App, tenant: &Tenant) -> Result<(), Problem> {
        let namespace = tenant.namespace.as_str();
        for _ in 0..MAX_PUTS {
            let uid = app.namespaces.uid(namespace).await?;
            if uid == self.namespace_uid {
                return Ok(());
            }
            let key =
                ObjectKey::upload(namespace, &uid, &self.sha256).map_err(Problem::internal)?;
            let bytes = self.bytes.clone();
            let _turn = app.store_turn(tenant.parties).await?;
            app.store.put(&key, bytes, self.content_type).await?;
            self.namespace_uid = uid;
        }
        let detail = "the namespace keeps being deleted and created again: send the request again";
        Err(Problem::new(ProblemType::ClusterUnavailable, detail).retry_after(2))
    }
}
