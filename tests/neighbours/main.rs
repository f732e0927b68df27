//! Beside one hostile tenant for each kind of resource, a quiet one is granted all that it asks for, and loses
//! nothing. One stack serves all tests, one after another: its limits are scaled down, and so are the hostile
//! tenants. `make bench-neighbours` measures at full size.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use anyhow::{Result, ensure};
use fovea_tests::Shared;
use fovea_tests::neighbours::{Kind, Setting, Size, Window, beside};
use tokio::sync::Mutex;

/// Rounds of the quiet tenant, two of each of its ways.
const ROUNDS: usize = 8;

fn quiet_beside(kind: Kind) -> Result<()> {
    static SHARED: Shared<Mutex<Setting>> = Shared::new();
    let start = async || Ok(Mutex::new(Setting::start(Size::Small, None).await?));
    SHARED.run(start, async |setting| {
        // One at a time: each tenant is to be alone with the quiet one.
        let setting = setting.lock().await;
        let turn = beside(&setting, Some(kind), Window::Rounds(ROUNDS)).await?;
        eprintln!("{kind}: {:?}, {:?}", turn.hostile, turn.quiet);
        ensure!(turn.occupied, "the hostile tenant held nothing: {turn:?}");
        ensure!(turn.quiet.faults.is_empty(), "{:#?}", turn.quiet.faults);
        ensure!(turn.quiet.rounds == ROUNDS, "{turn:?}");
        Ok(())
    })
}

#[test]
fn many_jobs_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::Jobs)
}

#[test]
fn as_many_finished_jobs_as_there_may_be_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::Finished)
}

#[test]
fn uploads_that_hold_their_memory_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::BytesUp)
}

#[test]
fn downloads_that_are_hardly_read_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::BytesDown)
}

#[test]
fn event_streams_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::Streams)
}

#[test]
fn waits_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::Waits)
}

#[test]
fn deletes_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::Deletes)
}

#[test]
fn lists_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::Lists)
}

#[test]
fn lists_that_are_hardly_read_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::SlowLists)
}

#[test]
fn large_pictures_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::LargePictures)
}

#[test]
fn captions_with_many_beams_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::Beams)
}

#[test]
fn callbacks_that_nobody_answers_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::Callbacks)
}

#[test]
fn jobs_that_each_deserve_an_event_cost_a_quiet_tenant_nothing() -> Result<()> {
    quiet_beside(Kind::Events)
}
