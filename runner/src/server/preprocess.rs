//! Turns a picture's bytes into its model's input, on a worker thread.

use super::admission::Admission;
use super::state::App;
use crate::engine::gone;
use crate::image::{PictureError, PixelValues, inspect};
use crate::inference::ModelFront;
use bytes::Bytes;
use fovea_protocol::{Problem, Reason};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Instant;

/// Files up to this size are hashed, and their headers read, without a thread of their own.
pub(super) const SMALL_BYTES: usize = 64 * 1024;

/// Decodes and preprocesses on a worker thread, once there is memory for it. A panic in a decoder
/// fails this picture alone: its bytes may be hostile. The time that it takes is the admission's cost.
pub(super) async fn preprocess(
    app: &App,
    bytes: Bytes,
    front: &Arc<ModelFront>,
    admission: Arc<Admission>,
) -> Result<PixelValues, Problem> {
    let (max_pixels, max_bytes) = (app.max_picture_pixels, app.decoders.most_bytes());
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
    let turn = app.decoders.turn(needed, admission.is_shard()).await;
    let turn = turn.ok_or(PictureError::TooMuchMemory { max_bytes })?;
    let front = Arc::clone(front);
    run_hostile(move || {
        let begun = Instant::now();
        let pixels = front.preprocessor.run(&bytes, max_bytes);
        admission.spend(begun.elapsed());
        // Held until this thread finishes, even if the request is cancelled.
        drop((admission, turn));
        pixels
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
