//! Turns a picture's bytes into its model's input, on a worker thread.

use super::admission::{Admission, Spent};
use super::state::App;
use crate::engine::gone;
use crate::image::{PictureError, PixelValues, inspect};
use crate::inference::ModelFront;
use bytes::Bytes;
use fovea_protocol::{Problem, Reason};
use std::panic::catch_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::sync::oneshot;

/// Files up to this size are hashed, and their headers read, without a thread of their own.
pub(super) const SMALL_BYTES: usize = 64 * 1024;

/// Niceness of the threads that decode large pictures, beyond the process' own: beside others such a thread gets about
/// a tenth of a core's time.
const BACKGROUND_NICENESS: i32 = 10;

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
    let is_large = turn.is_large;
    let decode = move || {
        // Held until this thread finishes, even if the request is cancelled.
        let spent = admission.spent().clone();
        let _held = (admission, turn);
        let _spending = Spending::begin(spent);
        front.preprocessor.run(&bytes, max_bytes)
    };
    if is_large {
        run_in_background(decode).await
    } else {
        run_hostile(decode).await
    }
}

/// Counts this thread's processor time as spent until it is dropped, also by a panic.
struct Spending {
    spent: Spent,
    before: Duration,
}

impl Spending {
    fn begin(spent: Spent) -> Self {
        let before = cpu_time();
        Self { spent, before }
    }
}

impl Drop for Spending {
    fn drop(&mut self) {
        self.spent.add(cpu_time().saturating_sub(self.before));
    }
}

/// Processor time of this thread: waiting for a core that others use costs them nothing.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// Runs `f` on a thread of its own that leaves the cores to others: a worker thread could not take back its priority.
async fn run_in_background<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, PictureError> + Send + 'static,
) -> Result<T, Problem> {
    let (sender, receiver) = oneshot::channel();
    let work = move || {
        // Every process may become nicer; one that could not would decode the picture all the same.
        let _ = rustix::process::nice(BACKGROUND_NICENESS);
        // A request that was cancelled has no receiver.
        let _ = sender.send(f());
    };
    let thread = thread::Builder::new().name("large-picture".to_owned());
    // Without a thread the machine has none left: the job is retried.
    thread.spawn(work).map_err(|_| gone())?;
    // A panic drops the sender.
    Ok(receiver.await.map_err(|_| crashed())??)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decoder_that_panics_has_spent_its_time() {
        let spent = Spent::default();
        let counted = spent.clone();
        let decode = move || {
            let _spending = Spending::begin(counted);
            let begun = cpu_time();
            while cpu_time() < begun + Duration::from_millis(1) {}
            std::panic::resume_unwind(Box::new("a hostile picture"));
        };
        assert!(catch_unwind(decode).is_err());
        assert!(spent.micros() >= 1000);
    }
}
