//! Waits for conditions, so that tests never sleep. An error says what was waited for.

use std::fmt::Display;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};

const POLL: Duration = Duration::from_millis(50);

#[derive(Debug, thiserror::Error)]
#[error("waited {} s in vain for {what}; last seen: {last}", waited.as_secs_f32())]
pub struct WaitError {
    pub what: String,
    pub waited: Duration,
    /// The last error of the check.
    pub last: String,
}

/// Calls `check` until it returns `Ok`. Its error says what it found instead.
///
/// ```no_run
/// # async fn example(job: kube::Api<k8s_openapi::api::core::v1::ConfigMap>) -> anyhow::Result<()> {
/// use std::time::Duration;
/// let map = fovea_harness::eventually("the map to have data", Duration::from_secs(10), || async {
///     let map = job.get("settings").await?;
///     anyhow::ensure!(map.data.is_some(), "no data yet");
///     Ok(map)
/// })
/// .await?;
/// # Ok(()) }
/// ```
pub async fn eventually<T, E, F>(
    what: &str,
    timeout: Duration,
    mut check: impl FnMut() -> F,
) -> Result<T, WaitError>
where
    F: Future<Output = Result<T, E>>,
    E: Display,
{
    let deadline = Instant::now() + timeout;
    let mut last = "no answer".to_owned();
    loop {
        match timeout_at(deadline, check()).await {
            Ok(Ok(value)) => return Ok(value),
            // `#` adds the causes of an anyhow error.
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => break,
        }
        if Instant::now() + POLL > deadline {
            break;
        }
        sleep(POLL).await;
    }
    Err(WaitError {
        what: what.to_owned(),
        waited: timeout,
        last,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::Cell;

    #[tokio::test]
    async fn a_condition_is_checked_until_it_holds() {
        let checks = Cell::new(0);
        let value = eventually("the third check", Duration::from_secs(1), || async {
            checks.set(checks.get() + 1);
            if checks.get() < 3 {
                Err("not yet")
            } else {
                Ok(checks.get())
            }
        });
        assert_eq!(value.await.unwrap(), 3);
    }

    #[tokio::test]
    async fn a_wait_in_vain_says_what_for_and_what_was_seen_instead() {
        let error = eventually("the moon", Duration::from_millis(200), || async {
            Err::<(), _>("only clouds")
        });
        let text = error.await.unwrap_err().to_string();
        assert_eq!(
            text,
            "waited 0.2 s in vain for the moon; last seen: only clouds"
        );
    }

    #[tokio::test]
    async fn a_check_that_never_answers_does_not_hold_up_the_wait() {
        let never = || std::future::pending::<Result<(), String>>();
        let error = eventually("an answer", Duration::from_millis(20), never)
            .await
            .unwrap_err();
        assert_eq!(error.last, "no answer");
    }
}
