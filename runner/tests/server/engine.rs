//! The engine's thread, with models that do what no real one can be brought to.

use crate::harness::{
    PATIENCE, Runner, caption, inline, problem, refusal, request, settings, until,
};
use crate::support::picture;
use fovea_protocol::{Line, Reason};
use fovea_runner::models::{Answer, Item, Loaded, Loader, Model, ModelFault};
use reqwest::StatusCode;
use std::sync::{Arc, Mutex, mpsc};
use tch::TchError;

/// Asks a test what to do at every pass, and tells how large the pass is.
struct Puppet {
    real: Box<dyn Model>,
    passes: Arc<Mutex<Vec<usize>>>,
    orders: mpsc::Receiver<Order>,
    warm: std::cell::Cell<bool>,
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
        if !self.warm.replace(true) {
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
    let told = Arc::clone(&passes);
    let mut settings = settings();
    settings.slots = slots;
    let runner = Runner::start_loading(settings, |loader| -> Loader {
        Box::new(move |device| {
            let Loaded { model, revision } = loader(device)?;
            let puppet = Puppet {
                real: model,
                passes: told,
                orders: ordered,
                warm: std::cell::Cell::new(false),
            };
            Ok(Loaded {
                model: Box::new(puppet),
                revision,
            })
        })
    })
    .await;
    runner.until_ready().await;
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
        let told = problem(
            runner
                .last_line(&request(inline(&picture("rgb.png"))))
                .await,
        );
        assert_eq!(told.reason, reason);
        assert!(
            told.retryable && !told.detail.contains("stack"),
            "{}",
            told.detail
        );
    }
    strings.order(Order::Run);
    caption(
        &runner
            .last_line(&request(inline(&picture("rgb.png"))))
            .await,
    );
}

#[tokio::test]
async fn what_waits_while_the_device_is_busy_shares_the_next_pass_but_for_what_runs_alone() {
    let (runner, strings) = puppet(8).await;
    let asked = request(inline(&picture("rgb.png")));
    let mut alone = request(inline(&picture("rgb.png")));
    alone.exclusive = true;
    let first = runner.post(&asked).await;
    until(async || strings.passes() == [1]).await;
    let mut responses = vec![first];
    for asked in [
        &request(inline(&picture("gray.png"))),
        &alone,
        &request(inline(&picture("rgba.png"))),
    ] {
        responses.push(runner.post(asked).await);
    }
    // Each is in the queue when its answer says so.
    let mut lines: Vec<_> = responses
        .into_iter()
        .map(crate::harness::Lines::new)
        .collect();
    for waiting in &mut lines[1..] {
        let queued = Line::Progress {
            stage: fovea_protocol::Stage::Queued,
        };
        while waiting.next().await.unwrap() != queued {}
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

#[tokio::test]
async fn what_nobody_waits_for_any_more_does_not_reach_the_device() {
    let (runner, strings) = puppet(2).await;
    let busy = runner.post(&request(inline(&picture("rgb.png")))).await;
    until(async || strings.passes() == [1]).await;
    let mut impatient = request(inline(&picture("rgb.png")));
    impatient.deadline_millis = 200;
    let told = problem(runner.last_line(&impatient).await);
    assert_eq!(told.reason, Reason::DeadlineExceeded);
    strings.order(Order::Run);
    caption(&crate::harness::Lines::new(busy).last().await);
    runner.app.idle().await;
    assert_eq!(strings.passes(), [1]);
}

#[tokio::test]
async fn a_runner_that_loads_is_alive_but_not_ready() {
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
    let told = refusal(runner.post(&request(inline(&picture("rgb.png")))).await).await;
    assert_eq!(told.reason, Reason::NotReady);
    go.send(()).unwrap();
    runner.until_ready().await;
}
