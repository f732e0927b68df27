//! `POST /v1/questions`: which question a request asks. Nothing is decoded and nothing is run.

use super::infer::{read, ready_model};
use super::installations::Sender;
use super::question::{question, sha256};
use super::reply::problem_response;
use super::state::App;
use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use fovea_protocol::{InferRequest, MAX_REQUEST_BYTES, Problem, Question, Reason};
use std::sync::Arc;

pub(super) async fn ask(State(app): State<Arc<App>>, body: Body) -> Response {
    match answer(&app, body).await {
        Ok(question) => Json(question).into_response(),
        Err(problem) => problem_response(&problem),
    }
}

/// The picture is downloaded if the request does not name its digest. As many are at once as there are slots.
async fn answer(app: &App, body: Body) -> Result<Question, Problem> {
    let request: InferRequest = read(body, MAX_REQUEST_BYTES).await?;
    if let Some(problem) = app.draining() {
        return Err(problem);
    }
    (app.admissions).observe(Sender::of(&request.installation, request.epoch))?;
    let model = ready_model(app, &request.model, request.task)?;
    let query = model.front.head.query(&request.parameters)?;
    let picture = if let Some(sha256) = request.input.sha256 {
        sha256
    } else {
        let _turn = (app.questions.try_acquire())
            .map_err(|_| Problem::new(Reason::Busy, "there are as many questions as slots"))?;
        sha256(app.fetcher.fetch(&request.input).await?).await?
    };
    let question = question(&model, &query, &picture);
    let unknown = || Problem::new(Reason::NotReady, "the model has no revision");
    let question = question.ok_or_else(unknown)?;
    Ok(Question { question })
}
