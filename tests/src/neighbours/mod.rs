//! A quiet tenant beside one hostile tenant for each kind of resource: what `tests/neighbours` and
//! `make bench-neighbours` run.
//!
//! Tenants are users with a namespace and a token each. The stack is real: API, operator and a runner with
//! the demo's models.

mod held;
mod hostile;
mod kind;
mod quiet;
mod repeated;
mod setting;
mod submitted;
mod tally;
mod tenant;
mod wire;

pub use kind::{Kind, Size};
pub use quiet::{Fault, Record, Window};
pub use setting::Setting;
pub use tally::Toll;

use anyhow::Result;
use hostile::Hostile;
use quiet::Quiet;

/// What became of the quiet tenant, and of the hostile one beside it.
#[derive(Debug)]
pub struct Turn {
    pub quiet: Record,
    /// At the end of the window; `None` if the quiet tenant was alone.
    pub hostile: Option<Toll>,
    /// Whether the hostile tenant still occupied the resource then.
    pub occupied: bool,
}

/// Lets the quiet tenant work for a window, beside a hostile one or alone. The hostile tenant starts before and
/// ends with the window; afterwards the jobs of both are deleted.
pub async fn beside(setting: &Setting, kind: Option<Kind>, window: Window) -> Result<Turn> {
    let quiet = Quiet::new(&setting.quiet);
    let Some(kind) = kind else {
        let record = quiet.work(window).await;
        setting.quiet.clean().await?;
        return Ok(Turn {
            quiet: record,
            hostile: None,
            occupied: true,
        });
    };
    let hostile = Hostile::start(kind, setting).await?;
    let (record, toll) = match window {
        Window::Rounds(_) => {
            let mut record = quiet.work(window).await;
            record.faults.extend(quiet.also(kind, setting).await.err());
            (record, hostile.stop().await?)
        }
        // What has begun by then ends without the hostile tenant.
        Window::Time(time) => {
            let stopped = async {
                tokio::time::sleep(time).await;
                hostile.stop().await
            };
            let (mut record, also, toll) =
                tokio::join!(quiet.work(window), quiet.also(kind, setting), stopped);
            record.faults.extend(also.err());
            (record, toll?)
        }
    };
    setting.quiet.clean().await?;
    Ok(Turn {
        quiet: record,
        hostile: Some(toll),
        occupied: kind.occupies(&toll),
    })
}
