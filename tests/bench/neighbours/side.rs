//! One build: its stack, and what was measured with it.

use crate::peak::Peak;
use anyhow::{Context as _, Result};
use fovea_tests::measure::percentile;
use fovea_tests::neighbours::{Fault, Kind, Setting, Size, Toll, Window, beside};
use std::path::PathBuf;
use std::time::Duration;

/// Faults of a turn that are shown.
const SHOWN: usize = 3;

/// What one turn has shown.
#[derive(Clone, Debug)]
pub(crate) struct Measured {
    pub(crate) kind: Option<Kind>,
    /// Rounds of the quiet tenant.
    pub(crate) per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    pub(crate) refused: usize,
    pub(crate) lost: usize,
    pub(crate) hostile: Option<Toll>,
    pub(crate) operator_mib: f64,
    pub(crate) api_mib: f64,
}

pub(crate) struct Side {
    pub(crate) name: &'static str,
    setting: Setting,
    pub(crate) turns: Vec<Measured>,
}

impl Side {
    pub(crate) async fn start(name: &'static str, programs: PathBuf) -> Result<Self> {
        eprintln!("{name}: the programs of {}", programs.display());
        let setting = Setting::start(Size::Full, Some(programs.clone())).await;
        let mut side = Self {
            name,
            setting: setting.with_context(|| format!("{}", programs.display()))?,
            turns: Vec::new(),
        };
        // Warms up.
        side.measure(None, Duration::from_secs(5)).await?;
        side.turns.clear();
        Ok(side)
    }

    pub(crate) async fn measure(&mut self, kind: Option<Kind>, window: Duration) -> Result<()> {
        let stack = &self.setting.stack;
        let peak = Peak::watch([stack.operator.pid(), stack.api.pid()]);
        let turn = beside(&self.setting, kind, Window::Time(window)).await;
        let what = kind.map_or("alone", Kind::name);
        let turn = turn.with_context(|| format!("{}, {what}", self.name))?;
        let [operator_mib, api_mib] = peak.mib();
        let faults = &turn.quiet.faults;
        let lost = |fault: &&Fault| matches!(fault, Fault::Lost(_));
        let lost = faults.iter().filter(lost).count();
        let times = |percent| percentile(turn.quiet.rounds_ms.clone(), percent);
        let measured = Measured {
            kind,
            per_second: turn.quiet.per_second,
            p50_ms: times(50),
            p99_ms: times(99),
            refused: faults.len() - lost,
            lost,
            hostile: turn.hostile,
            operator_mib,
            api_mib,
        };
        eprintln!("{}, {what}: {measured:?}", self.name);
        for fault in faults.iter().take(SHOWN) {
            eprintln!("  {fault:?}");
        }
        if !turn.occupied {
            eprintln!("  the hostile tenant held nothing at the end");
        }
        self.turns.push(measured);
        Ok(())
    }

    /// The turns alone (`None`) or beside a kind.
    pub(crate) fn of(&self, kind: Option<Kind>) -> impl Iterator<Item = &Measured> {
        self.turns.iter().filter(move |turn| turn.kind == kind)
    }

    pub(crate) async fn stop(self) -> Result<()> {
        Ok(self.setting.stack.stop().await?)
    }
}
