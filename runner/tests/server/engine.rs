//! The engine's thread, with models whose passes a test controls.

use crate::harness::{
    Lines, PATIENCE, Runner, caption, inline, refusal, request, rgb, settings, until,
};
use crate::store::Store;
use crate::support::picture;
use fovea_protocol::{Line, Reason, Stage};
use fovea_runner::engine::EngineError;
use fovea_runner::inference::{Answer, Item, Model, ModelFault};
use fovea_runner::models::{Loaded, Loader};
use reqwest::StatusCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use tch::TchError;

const QUEUED: Line = Line::Progress {
    stage: Stage::Queued,
};

/// A model that reports the size of every pass and waits for the test's instruction.
struct Puppet {
    real: Box<dyn Model>,
    passes: Arc<Mutex<Vec<usize>>>,
    orders: mpsc::Receiver<Order>,
    /// Set once the warm-up is over.
    armed: Arc<AtomicBool>,
}

#[derive(Clone, Copy)]
enum Order {
    Run,
    Panic,
    Fail(&'static str),
}

impl Model for Puppet {
    fn run(
        &self,
        items: &[Item],
        dropped: &dyn Fn(usize) -> bool,
    ) -> Result<Vec<Answer>, ModelFault> {
        if !self.armed.load(Ordering::SeqCst) {
            return self.real.run(items, dropped);
        }
        self.passes.lock().unwrap().push(items.len());
        match self.orders.recv_timeout(PATIENCE).unwrap() {
            Order::Run => self.real.run(items, dropped),
            Order::Panic => panic!("as ordered"),
            Order::Fail(why) => Err(TchError::Torch(why.to_owned()).into()),
        }
    }
}

struct Strings {
    orders: mpsc::Sender<Order>,
    passes: Arc<Mutex<Vec<usize>>>,
}

impl Strings {
    fn order(&self, order: Order) {
        self.orders.send(order).unwrap();
    }

    fn passes(&self) -> Vec<usize> {
        self.passes.lock().unwrap().clone()
    }
}

async fn puppet(slots: u32) -> (Runner, Strings) {
    let (orders, ordered) = mpsc::channel();
    let passes = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&passes);
    let armed = Arc::new(AtomicBool::new(false));
    let arm = Arc::clone(&armed);
    let mut settings = settings();
    settings.slots = slots;
    let runner = Runner::start_loading(settings, |loader| -> Loader {
        Box::new(move |device| {
            let Loaded { model, revision } = loader(device)?;
            let puppet = Puppet {
                real: model,
                passes: recorded,
                orders: ordered,
                armed,
            };
            Ok(Loaded {
                model: Box::new(puppet),
                revision,
            })
        })
    })
    .await;
    runner.until_ready().await;
    arm.store(true, Ordering::SeqCst);
    (runner, Strings { orders, passes })
}

#[tokio::test]
async fn a_failed_pass_is_the_problem_of_its_pictures_alone() {
    let (runner, strings) = puppet(2).await;
    for (order, reason) in [
        (Order::Panic, Reason::InferenceFailed),
        (
            Order::Fail("shapes do not match\nstack"),
            Reason::InferenceFailed,
        ),
        (
            Order::Fail("CUDA out of memory. Tried to"),
            Reason::OutOfMemory,
        ),
    ] {
        strings.order(order);
        let reported = runner.problem(&rgb()).await;
        assert_eq!(reported.reason, reason);
        assert!(
            reported.retryable && !reported.detail.contains("stack"),
            "{}",
            reported.detail
        );
    }
    strings.order(Order::Run);
    caption(&runner.last_line(&rgb()).await);
}

#[tokio::test]
async fn waiting_pictures_share_the_next_pass_except_those_that_run_alone() {
    let (runner, strings) = puppet(8).await;
    let infer_request = rgb();
    let mut alone = rgb();
    alone.exclusive = true;
    let first = runner.post(&infer_request).await;
    until(async || strings.passes() == [1]).await;
    let mut responses = vec![first];
    for infer_request in [
        &request(inline(&picture("gray.png"))),
        &alone,
        &request(inline(&picture("rgba.png"))),
    ] {
        responses.push(runner.post(infer_request).await);
    }
    // Each answer reports when its picture is queued.
    let mut lines: Vec<_> = responses.into_iter().map(Lines::new).collect();
    for waiting in &mut lines[1..] {
        while waiting.next().await.unwrap() != QUEUED {}
    }
    for _ in 0..3 {
        strings.order(Order::Run);
    }
    let mut batch_sizes = Vec::new();
    for waiting in lines {
        let Line::Result { timings, .. } = waiting.last().await else {
            panic!("no result")
        };
        batch_sizes.push(timings.batch_size);
    }
    assert_eq!(batch_sizes, [1, 2, 1, 2]);
}

/// A presigned URL is valid for minutes, and the wait for a device may be longer.
#[tokio::test]
async fn a_picture_is_downloaded_on_arrival_while_the_device_is_busy() {
    let (runner, strings) = puppet(2).await;
    let store = Store::start().await;
    let busy = runner.post(&request(inline(&picture("rgb.png")))).await;
    until(async || strings.passes() == [1]).await;
    let mut waiting = Lines::new(runner.post(&request(store.url("/picture"))).await);
    while waiting.next().await.unwrap() != QUEUED {}
    assert_eq!(strings.passes(), [1]);
    for _ in 0..2 {
        strings.order(Order::Run);
    }
    caption(&Lines::new(busy).last().await);
    caption(&waiting.last().await);
}

#[tokio::test]
async fn cancelled_pictures_do_not_reach_the_device() {
    let (runner, strings) = puppet(2).await;
    let busy = runner.post(&rgb()).await;
    until(async || strings.passes() == [1]).await;
    let mut impatient = rgb();
    impatient.deadline_millis = 200;
    let reported = runner.problem(&impatient).await;
    assert_eq!(reported.reason, Reason::DeadlineExceeded);
    strings.order(Order::Run);
    caption(&Lines::new(busy).last().await);
    runner.app.idle().await;
    assert_eq!(strings.passes(), [1]);
}

#[tokio::test]
async fn a_loading_runner_is_alive_but_not_ready() {
    let (go, gate) = mpsc::channel::<()>();
    let runner = Runner::start_loading(settings(), |loader| -> Loader {
        Box::new(move |device| {
            gate.recv_timeout(PATIENCE).unwrap();
            loader(device)
        })
    })
    .await;
    assert_eq!(runner.get("/livez").await.status(), StatusCode::OK);
    assert_eq!(
        refusal(runner.get("/readyz").await).await.reason,
        Reason::NotReady
    );
    let reported = runner.refused(&rgb()).await;
    assert_eq!(reported.reason, Reason::NotReady);
    go.send(()).unwrap();
    runner.until_ready().await;
}

#[tokio::test]
async fn a_batch_that_does_not_fit_runs_in_halves_and_later_ones_are_smaller() {
    let (runner, strings) = puppet(8).await;
    let first = runner.post(&rgb()).await;
    until(async || strings.passes() == [1]).await;
    let mut lines = vec![Lines::new(first)];
    for _ in 0..4 {
        lines.push(Lines::new(runner.post(&rgb()).await));
    }
    for waiting in &mut lines[1..] {
        while waiting.next().await.unwrap() != QUEUED {}
    }
    strings.order(Order::Run);
    strings.order(Order::Fail("CUDA out of memory. Tried to"));
    for _ in 0..2 {
        strings.order(Order::Run);
    }
    for waiting in lines {
        caption(&waiting.last().await);
    }
    assert_eq!(strings.passes(), [1, 4, 2, 2]);
}

#[tokio::test]
async fn a_lost_device_is_reported_and_ends_the_engine_and_readiness() {
    let (runner, strings) = puppet(2).await;
    let why = "CUDA error: an illegal memory access was encountered";
    strings.order(Order::Fail(why));
    let infer_request = rgb();
    let reported = runner.problem(&infer_request).await;
    assert_eq!(
        (reported.reason, reported.status),
        (Reason::DeviceLost, 503)
    );
    assert!(
        reported.retryable && reported.detail.contains(why),
        "{}",
        reported.detail
    );
    let refused = refusal(runner.get("/readyz").await).await;
    assert_eq!(refused.reason, Reason::NotReady);
    let ended = tokio::time::timeout(PATIENCE, runner.engine_ended).await;
    let error = ended.unwrap().unwrap().unwrap_err();
    assert!(matches!(error, EngineError::DeviceLost(_)), "{error}");
}

#[tokio::test]
async fn metrics_count_finished_and_refused_requests() {
    let (runner, strings) = puppet(1).await;
    let infer_request = rgb();
    let running = runner.post(&infer_request).await;
    until(async || strings.passes() == [1]).await;
    let mut another = infer_request.clone();
    another.job = "another".to_owned();
    assert_eq!(runner.refused(&another).await.reason, Reason::Busy);
    strings.order(Order::Run);
    caption(&Lines::new(running).last().await);
    let text = runner.get("/metrics").await.text().await.unwrap();
    for line in [
        r#"fovea_runner_attempts_total{model="golden",outcome="success"} 1"#,
        r#"fovea_runner_refusals_total{reason="Busy"} 1"#,
        r#"fovea_runner_stage_seconds_count{model="golden",stage="Preprocess"} 1"#,
        r#"fovea_runner_queue_pictures{model="golden"} 0"#,
        r#"fovea_runner_model_ready{model="golden"} 1"#,
        "fovea_runner_slots 1",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}
