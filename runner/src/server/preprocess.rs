//! Turns a picture's bytes into its model's input, on a worker thread.

use super::state::App;
use crate::engine::gone;
use crate::image::{PictureError, PixelValues, inspect};
use crate::inference::ModelFront;
use bytes::Bytes;
use fovea_protocol::{Problem, Reason};
use std::panic::catch_unwind;
use std::sync::Arc;

/// Files up to this size are read through without a thread of their own.
const SMALL_BYTES: usize = 64 * 1024;

/// Decodes and preprocesses on a worker thread, once there is memory for it. A panic in a decoder
/// fails this picture alone: its bytes may be hostile.
pub(super) async fn preprocess(
    app: &App,
    bytes: Bytes,
    front: &Arc<ModelFront>,
    hold: impl Send + 'static,
) -> Result<PixelValues, Problem> {
    let (max_pixels, max_bytes) = (app.max_picture_pixels, app.decode_budget.total_bytes);
    let inspected = {
        let bytes = bytes.clone();
        move || inspect(&bytes, max_pixels, max_bytes)
    };
    let header = if bytes.len() <= SMALL_BYTES {
        catch_unwind(inspected).map_err(|_| crashed())??
    } else {
        run_hostile(inspected).await?
    };
    let working = front
        .preprocessor
        .working_bytes(header.width, header.height);
    let needed = header.decode_bytes.saturating_add(working);
    let memory = app.decode_budget.take(needed).await;
    let memory = memory.ok_or(PictureError::TooMuchMemory { max_bytes })?;
    let front = Arc::clone(front);
    // The semaphore is never closed.
    let _thread = app.preprocess_threads.acquire().await;
    run_hostile(move || {
        // Held until this thread finishes, even if the request is cancelled.
        let _held = (hold, memory);
        front.preprocessor.run(&bytes, max_bytes)
    })
    .await
}

/// Runs `f` on a worker thread.
async fn run_hostile<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, PictureError> + Send + 'static,
) -> Result<T, Problem> {
    match tokio::task::spawn_blocking(f).await {
        Ok(outcome) => Ok(outcome?),
        Err(error) if error.is_panic() => Err(crashed()),
        Err(_) => Err(gone()),
    }
}

fn crashed() -> Problem {
    Problem::new(
        Reason::InvalidPicture,
        "the picture crashed its decoder; save it again with another program",
    )
}

impl From<PictureError> for Problem {
    fn from(error: PictureError) -> Self {
        let reason = match &error {
            PictureError::Empty
            | PictureError::UnknownFormat
            | PictureError::Truncated
            | PictureError::TooThin { .. }
            | PictureError::Undecodable(_) => Reason::InvalidPicture,
            PictureError::TooManyPixels { .. } | PictureError::TooMuchMemory { .. } => {
                Reason::PictureTooLarge
            }
        };
        Self::new(reason, error.to_string())
    }
}
