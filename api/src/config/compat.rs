//! Flags of the compatibility routes. Behaviour that a replaced service's documentation does not
//! define is marked "assumed".

use crate::validate::is_label;
use clap::ArgAction;

/// Flags of the compatibility routes.
#[derive(Clone, Debug, clap::Args)]
pub struct CompatConfig {
    /// Flags of the captioning routes.
    #[command(flatten)]
    pub async_vision: AsyncVisionConfig,

    /// Flags of the classification and detection routes.
    #[command(flatten)]
    pub image_analysis: ImageAnalysisConfig,
}

/// Flags of `POST /api/v1/upload`, `GET /api/v1/status/{id}` and `GET /api/v1/health`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Routes of async-vision-api")]
pub struct AsyncVisionConfig {
    /// Serve `/api/v1/upload` and `/api/v1/status/{id}`, which accept requests of existing
    /// async-vision-api clients.
    #[arg(
        id = "compat-async-vision",
        long = "compat-async-vision",
        env = "FOVEA_API_COMPAT_ASYNC_VISION",
        action = ArgAction::Set,
        default_value_t = true
    )]
    pub enabled: bool,

    /// Namespace of the jobs that these routes create. Default: --namespace.
    #[arg(
        id = "compat-async-vision-namespace",
        long = "compat-async-vision-namespace",
        env = "FOVEA_API_COMPAT_ASYNC_VISION_NAMESPACE",
        value_parser = label
    )]
    pub namespace: Option<String>,

    /// Serve these routes without authentication although --auth requires a token elsewhere, for
    /// clients that cannot send one: anybody who reaches the API can then submit jobs.
    #[arg(
        id = "compat-async-vision-anonymous",
        long = "compat-async-vision-anonymous",
        env = "FOVEA_API_COMPAT_ASYNC_VISION_ANONYMOUS",
        action = ArgAction::Set,
        default_value_t = false
    )]
    pub anonymous: bool,

    /// Largest accepted `file`, in bytes; a larger one is answered 413. The default is the original
    /// service's limit.
    #[arg(
        id = "compat-async-vision-max-bytes",
        long = "compat-async-vision-max-bytes",
        env = "FOVEA_API_COMPAT_ASYNC_VISION_MAX_BYTES",
        default_value_t = 5 * 1024 * 1024
    )]
    pub max_bytes: usize,

    /// Time in seconds that a finished job of these routes is kept. Default: one day.
    #[arg(
        id = "compat-async-vision-retention-seconds",
        long = "compat-async-vision-retention-seconds",
        env = "FOVEA_API_COMPAT_ASYNC_VISION_RETENTION_SECONDS",
        default_value_t = 24 * 60 * 60
    )]
    pub retention_seconds: u32,

    /// Model that writes the captions, by its name in the RunnerPool. Default: the pool's default
    /// model for image-to-text.
    #[arg(
        id = "compat-captioning-model",
        long = "compat-captioning-model",
        env = "FOVEA_API_COMPAT_CAPTIONING_MODEL",
        value_parser = label
    )]
    pub captioning_model: Option<String>,

    /// HTTP status of the answer while the cluster or the object store is unavailable. The original
    /// service does not document one; 503 is assumed.
    #[arg(
        id = "compat-async-vision-unavailable-status",
        long = "compat-async-vision-unavailable-status",
        env = "FOVEA_API_COMPAT_ASYNC_VISION_UNAVAILABLE_STATUS",
        default_value_t = 503,
        value_parser = clap::value_parser!(u16).range(500..600)
    )]
    pub unavailable_status: u16,
}

/// Flags of `POST /upload-image` and `GET /job-status/{id}`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Routes of AI-image-analysis-service")]
pub struct ImageAnalysisConfig {
    /// Serve `/upload-image` and `/job-status/{id}`, which accept requests of existing
    /// AI-image-analysis-service clients.
    #[arg(
        id = "compat-image-analysis",
        long = "compat-image-analysis",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS",
        action = ArgAction::Set,
        default_value_t = true
    )]
    pub enabled: bool,

    /// Namespace of the jobs that these routes create. Default: --namespace.
    #[arg(
        id = "compat-image-analysis-namespace",
        long = "compat-image-analysis-namespace",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS_NAMESPACE",
        value_parser = label
    )]
    pub namespace: Option<String>,

    /// Serve these routes without authentication although --auth requires a token elsewhere, for
    /// clients that cannot send one: anybody who reaches the API can then submit jobs.
    #[arg(
        id = "compat-image-analysis-anonymous",
        long = "compat-image-analysis-anonymous",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS_ANONYMOUS",
        action = ArgAction::Set,
        default_value_t = false
    )]
    pub anonymous: bool,

    /// Largest accepted `file`, in bytes; a larger one is answered 400. The default is the original
    /// service's `MAX_FILE_SIZE`.
    #[arg(
        id = "compat-image-analysis-max-bytes",
        long = "compat-image-analysis-max-bytes",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS_MAX_BYTES",
        default_value_t = 10 * 1024 * 1024
    )]
    pub max_bytes: usize,

    /// Time in seconds that a finished job of these routes is kept. Default: 30 days, which is
    /// assumed: the original service never deletes one.
    #[arg(
        id = "compat-image-analysis-retention-seconds",
        long = "compat-image-analysis-retention-seconds",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS_RETENTION_SECONDS",
        default_value_t = 30 * 24 * 60 * 60
    )]
    pub retention_seconds: u32,

    /// Model that classifies, by its name in the RunnerPool. Default: the pool's default model for
    /// image-classification.
    #[arg(
        id = "compat-classification-model",
        long = "compat-classification-model",
        env = "FOVEA_API_COMPAT_CLASSIFICATION_MODEL",
        value_parser = label
    )]
    pub classification_model: Option<String>,

    /// Model that detects objects, by its name in the RunnerPool. Default: the pool's default model
    /// for object-detection.
    #[arg(
        id = "compat-object-detection-model",
        long = "compat-object-detection-model",
        env = "FOVEA_API_COMPAT_OBJECT_DETECTION_MODEL",
        value_parser = label
    )]
    pub object_detection_model: Option<String>,

    /// Round the edges of boxes to whole pixels, as Hugging Face's pipeline does. The original
    /// service does not document it; true is assumed.
    #[arg(
        id = "compat-image-analysis-whole-pixels",
        long = "compat-image-analysis-whole-pixels",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS_WHOLE_PIXELS",
        action = ArgAction::Set,
        default_value_t = true
    )]
    pub whole_pixels: bool,
}

fn label(text: &str) -> Result<String, &'static str> {
    if is_label(text) {
        Ok(text.to_owned())
    } else {
        Err("a name is at most 63 of a-z, 0-9 and -, and neither begins nor ends with -")
    }
}
