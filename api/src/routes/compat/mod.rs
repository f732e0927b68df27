//! The routes of two services that Fovea replaces, so that their clients work unchanged. Behaviour that
//! the services' documentation does not define is marked "assumed".

mod answer;
pub mod async_vision;
mod form;
pub mod image_analysis;

pub(crate) use answer::frame;

use crate::auth::Tenant;
use crate::config::CompatConfig;
use crate::error::{Problem, ProblemType};
use crate::shares::Parties;
use crate::state::AppState;
use crate::submit::Origin;
use fovea_crds::InferenceJob;
use fovea_crds::labels;
use http::request::Parts;
use kube::ResourceExt as _;
use schemars::SchemaGenerator;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Family {
    /// async-vision-api, which captions pictures: `/api/v1/...`.
    AsyncVision,
    /// Labels and boxes: `/upload-image`, `/job-status/...`.
    ImageAnalysis,
}

impl Family {
    /// The family of a path, if it is enabled.
    pub(crate) fn of(path: &str, config: &CompatConfig) -> Option<Self> {
        let below = |root: &str| {
            path.strip_prefix(root)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        if config.async_vision.enabled && below("/api/v1") {
            Some(Self::AsyncVision)
        } else if config.image_analysis.enabled && (below("/upload-image") || below("/job-status"))
        {
            Some(Self::ImageAnalysis)
        } else {
            None
        }
    }

    /// The value of [`labels::CLIENT`] on its jobs.
    fn client(self) -> &'static str {
        match self {
            Self::AsyncVision => "async-vision",
            Self::ImageAnalysis => "image-analysis",
        }
    }

    /// The path of one of its jobs, without the id.
    fn job_path(self) -> &'static str {
        match self {
            Self::AsyncVision => "/api/v1/status/",
            Self::ImageAnalysis => "/job-status/",
        }
    }

    /// The request's tenant: anonymous if the family is configured so, else as on all other routes.
    async fn tenant(self, app: &AppState, parts: &Parts) -> Result<Tenant, Problem> {
        let config = &app.config.compat;
        let (namespace, anonymous) = match self {
            Self::AsyncVision => (
                &config.async_vision.namespace,
                config.async_vision.anonymous,
            ),
            Self::ImageAnalysis => (
                &config.image_analysis.namespace,
                config.image_analysis.anonymous,
            ),
        };
        let namespace = namespace.as_ref().unwrap_or(&app.config.namespace);
        app.auth.admit_to(parts, namespace.clone(), anonymous).await
    }

    fn origin(self, config: &CompatConfig) -> Origin {
        Origin {
            client: Some(self.client()),
            ttl_seconds: match self {
                Self::AsyncVision => config.async_vision.retention_seconds,
                Self::ImageAnalysis => config.image_analysis.retention_seconds,
            },
        }
    }

    /// A job that was submitted by this family's routes, whose clients see no others, and the parties of the request.
    async fn job(
        self,
        app: &AppState,
        parts: &Parts,
        id: &str,
    ) -> Result<(Arc<InferenceJob>, Parties), Problem> {
        let tenant = self.tenant(app, parts).await?;
        let job = app.jobs.get(&tenant, id).await?;
        if job.labels().get(labels::CLIENT).map(String::as_str) == Some(self.client()) {
            Ok((job, tenant.parties))
        } else {
            Err(Problem::new(
                ProblemType::NoSuchJob,
                "no job of these routes has this id",
            ))
        }
    }
}

pub(crate) fn router(config: &CompatConfig) -> OpenApiRouter<AppState> {
    let mut router = OpenApiRouter::new();
    if config.async_vision.enabled {
        router = router
            .routes(routes!(async_vision::upload))
            .routes(routes!(async_vision::status))
            .routes(routes!(async_vision::health));
    }
    if config.image_analysis.enabled {
        router = router
            .routes(routes!(image_analysis::upload))
            .routes(routes!(image_analysis::status));
    }
    router
}

/// The schemas that the descriptions of these routes refer to.
pub(crate) fn schemas(config: &CompatConfig, generator: &mut SchemaGenerator) {
    if config.async_vision.enabled {
        generator.subschema_for::<async_vision::UploadForm>();
        generator.subschema_for::<async_vision::Uploaded>();
        generator.subschema_for::<async_vision::StatusView>();
    }
    if config.image_analysis.enabled {
        generator.subschema_for::<image_analysis::AnalysisForm>();
        generator.subschema_for::<image_analysis::Accepted>();
        generator.subschema_for::<image_analysis::JobStatus>();
    }
    if config.async_vision.enabled || config.image_analysis.enabled {
        generator.subschema_for::<answer::Detail>();
        generator.subschema_for::<answer::FieldErrors>();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use clap::Parser as _;

    #[test]
    fn a_path_belongs_to_its_family_only_if_that_is_enabled() {
        let both = Config::parse_from(["fovea-api"]).compat;
        for (path, family) in [
            ("/api/v1/upload", Some(Family::AsyncVision)),
            ("/api/v1", Some(Family::AsyncVision)),
            ("/api/v1/nowhere", Some(Family::AsyncVision)),
            ("/api/v10", None),
            ("/upload-image", Some(Family::ImageAnalysis)),
            ("/job-status/a", Some(Family::ImageAnalysis)),
            ("/job-statuses", None),
            ("/v1/jobs", None),
            ("/health", None),
        ] {
            assert_eq!(Family::of(path, &both), family, "{path}");
        }
        let neither = Config::parse_from([
            "fovea-api",
            "--compat-async-vision=false",
            "--compat-image-analysis=false",
        ])
        .compat;
        assert_eq!(Family::of("/api/v1/upload", &neither), None);
        assert_eq!(Family::of("/job-status/a", &neither), None);
    }
}
