//! The routes of the two services that Fovea stands in for. What a service's own texts do not state
//! is marked "assumed".

use crate::validate::is_label;
use clap::ArgAction;

/// Both services' routes.
#[derive(Clone, Debug, clap::Args)]
pub struct CompatConfig {
    /// Captions under `/api/v1`.
    #[command(flatten)]
    pub async_vision: AsyncVisionConfig,

    /// Labels and boxes under `/upload-image` and `/job-status`.
    #[command(flatten)]
    pub image_analysis: ImageAnalysisConfig,
}

/// `POST /api/v1/upload`, `GET /api/v1/status/{id}`, `GET /api/v1/health`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Routes of async-vision-api")]
pub struct AsyncVisionConfig {
    /// Whether `/api/v1/upload` and `/api/v1/status/{id}` are served.
    #[arg(
        id = "compat-async-vision",
        long = "compat-async-vision",
        env = "FOVEA_API_COMPAT_ASYNC_VISION",
        action = ArgAction::Set,
        default_value_t = true
    )]
    pub enabled: bool,

    /// Namespace of these jobs; left out: that of all others.
    #[arg(
        id = "compat-async-vision-namespace",
        long = "compat-async-vision-namespace",
        env = "FOVEA_API_COMPAT_ASYNC_VISION_NAMESPACE",
        value_parser = label
    )]
    pub namespace: Option<String>,

    /// Whether these routes are open to everybody where the others ask for a token.
    #[arg(
        id = "compat-async-vision-anonymous",
        long = "compat-async-vision-anonymous",
        env = "FOVEA_API_COMPAT_ASYNC_VISION_ANONYMOUS",
        action = ArgAction::Set,
        default_value_t = false
    )]
    pub anonymous: bool,

    /// Largest `file` in bytes; one byte more is answered 413.
    #[arg(
        id = "compat-async-vision-max-bytes",
        long = "compat-async-vision-max-bytes",
        env = "FOVEA_API_COMPAT_ASYNC_VISION_MAX_BYTES",
        default_value_t = 5 * 1024 * 1024
    )]
    pub max_bytes: usize,

    /// Seconds that a finished job is kept: a day.
    #[arg(
        id = "compat-async-vision-retention-seconds",
        long = "compat-async-vision-retention-seconds",
        env = "FOVEA_API_COMPAT_ASYNC_VISION_RETENTION_SECONDS",
        default_value_t = 24 * 60 * 60
    )]
    pub retention_seconds: u32,

    /// Model that captions, as the pool names it; left out: the pool's default.
    #[arg(
        id = "compat-captioning-model",
        long = "compat-captioning-model",
        env = "FOVEA_API_COMPAT_CAPTIONING_MODEL",
        value_parser = label
    )]
    pub captioning_model: Option<String>,

    /// Status of an answer where the cluster or the object store is down (assumed: 503).
    #[arg(
        id = "compat-async-vision-unavailable-status",
        long = "compat-async-vision-unavailable-status",
        env = "FOVEA_API_COMPAT_ASYNC_VISION_UNAVAILABLE_STATUS",
        default_value_t = 503,
        value_parser = clap::value_parser!(u16).range(500..600)
    )]
    pub unavailable_status: u16,
}

/// `POST /upload-image`, `GET /job-status/{id}`.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Routes of AI-image-analysis-service")]
pub struct ImageAnalysisConfig {
    /// Whether `/upload-image` and `/job-status/{id}` are served.
    #[arg(
        id = "compat-image-analysis",
        long = "compat-image-analysis",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS",
        action = ArgAction::Set,
        default_value_t = true
    )]
    pub enabled: bool,

    /// Namespace of these jobs; left out: that of all others.
    #[arg(
        id = "compat-image-analysis-namespace",
        long = "compat-image-analysis-namespace",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS_NAMESPACE",
        value_parser = label
    )]
    pub namespace: Option<String>,

    /// Whether these routes are open to everybody where the others ask for a token.
    #[arg(
        id = "compat-image-analysis-anonymous",
        long = "compat-image-analysis-anonymous",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS_ANONYMOUS",
        action = ArgAction::Set,
        default_value_t = false
    )]
    pub anonymous: bool,

    /// Largest `file` in bytes, the service's `MAX_FILE_SIZE`; one byte more is answered 400.
    #[arg(
        id = "compat-image-analysis-max-bytes",
        long = "compat-image-analysis-max-bytes",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS_MAX_BYTES",
        default_value_t = 10 * 1024 * 1024
    )]
    pub max_bytes: usize,

    /// Seconds that a finished job is kept: 30 days (assumed; the service never forgets one).
    #[arg(
        id = "compat-image-analysis-retention-seconds",
        long = "compat-image-analysis-retention-seconds",
        env = "FOVEA_API_COMPAT_IMAGE_ANALYSIS_RETENTION_SECONDS",
        default_value_t = 30 * 24 * 60 * 60
    )]
    pub retention_seconds: u32,

    /// Model that classifies, as the pool names it; left out: the pool's default.
    #[arg(
        id = "compat-classification-model",
        long = "compat-classification-model",
        env = "FOVEA_API_COMPAT_CLASSIFICATION_MODEL",
        value_parser = label
    )]
    pub classification_model: Option<String>,

    /// Model that finds objects, as the pool names it; left out: the pool's default.
    #[arg(
        id = "compat-object-detection-model",
        long = "compat-object-detection-model",
        env = "FOVEA_API_COMPAT_OBJECT_DETECTION_MODEL",
        value_parser = label
    )]
    pub object_detection_model: Option<String>,

    /// Whether the edges of boxes are whole pixels, as Hugging Face's pipeline gives them
    /// (assumed: true).
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
