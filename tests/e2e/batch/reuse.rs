//! Answers that were given before: in batches, in single jobs, and in neither once they are erased.

use super::*;
use crate::support::visitor;
use fovea_crds::InferenceJobSpec;
use fovea_harness::eventually;
use fovea_store::ObjectKey;
use k8s_openapi::api::core::v1::Namespace;
use kube::Client;
use std::time::Duration;

const PICTURES: u32 = 20;

/// Bound on the time until an answer is kept, which no job waits for.
const KEPT: Duration = Duration::from_secs(30);

/// The jobs of a namespace of its own, whose pictures are below `in/`.
struct Team {
    name: String,
    client: Client,
    store: Store,
}

impl Team {
    async fn new() -> Result<Self> {
        let name = unique("reuse");
        let client = stack().await.control_plane.client().await?;
        create_namespace(&client, &name).await?;
        let store = store().await?;
        let pictures = (0..PICTURES).map(|number| (format!("in/{number:02}.bmp"), picture(number)));
        put_all(&store, &name, pictures).await?;
        Ok(Self {
            name,
            client,
            store,
        })
    }

    async fn run(&self, job: InferenceJob) -> Result<InferenceJobStatus> {
        let jobs: Api<InferenceJob> = Api::namespaced(self.client.clone(), &self.name);
        let created = jobs.create(&PostParams::default(), &job).await?;
        let status = fovea_tests::jobs::ended(&jobs, &created.name_any()).await?;
        ensure!(status.phase == Phase::Succeeded, "{status:?}");
        Ok(status)
    }

    /// Runs all pictures; returns how many had an answer, and the rows.
    async fn batch(&self, change: impl FnOnce(&mut InferenceJobSpec)) -> Result<(u64, Vec<Row>)> {
        let mut job = labels(&unique("batch"), prefix("in"));
        job.spec.reuse = true;
        change(&mut job.spec);
        let status = self.run(job).await?;
        assert_eq!(
            counts(&status),
            [u64::from(PICTURES), u64::from(PICTURES), 0, 0]
        );
        let output = status.output.as_ref().context("no output")?;
        let rows = Written::read(&self.store, &self.name, output)
            .await?
            .rows()?;
        Ok((status.counts.unwrap_or_default().reused, rows))
    }

    /// Runs one of the pictures as a job of its own.
    async fn single(&self, number: u32, reuse: bool) -> Result<InferenceJobStatus> {
        let input = Input::Object {
            key: format!("in/{number:02}.bmp"),
        };
        let mut spec = InferenceJobSpec::new(Task::ImageClassification, input);
        spec.reuse = reuse;
        self.run(InferenceJob::new(&unique("single"), spec)).await
    }

    /// Runs one of the pictures until its answer is reused.
    async fn single_again(&self, number: u32) -> Result<InferenceJobStatus> {
        let again = eventually("the answer to be kept", KEPT, async || {
            let again = self.single(number, true).await?;
            ensure!(again.reused, "{again:?}");
            Ok(again)
        });
        Ok(again.await?)
    }

    /// Erases what is kept for reuse, as the documentation says.
    async fn erase(&self) -> Result<usize> {
        let namespaces: Api<Namespace> = Api::all(self.client.clone());
        let uid = namespaces.get(&self.name).await?.uid().context("a uid")?;
        let page = self.store.list_answers(&self.name, &uid, None).await?;
        for (name, _) in &page.objects {
            let key = ObjectKey::answers(&self.name, &uid, name)?;
            self.store.delete(&key).await?;
        }
        Ok(page.objects.len())
    }
}

#[tokio::test]
async fn the_same_pictures_are_not_run_again_unless_something_differs_or_the_answers_are_erased()
-> Result<()> {
    let team = Team::new().await?;
    let all = u64::from(PICTURES);
    assert_eq!(team.batch(|spec| spec.reuse = false).await?.0, 0);
    // That one has kept nothing.
    let (reused, first) = team.batch(|_| ()).await?;
    assert_eq!(reused, 0);
    assert_eq!(team.batch(|_| ()).await?, (all, first));
    assert_eq!(team.batch(|spec| spec.reuse = false).await?.0, 0);
    let (reused, _) = team.batch(|spec| spec.parameters.top_k = Some(1)).await?;
    assert_eq!(reused, 0);
    let resnet = |spec: &mut InferenceJobSpec| spec.model = Some("resnet-demo".to_owned());
    assert_eq!(team.batch(resnet).await?.0, 0);
    assert_eq!(Team::new().await?.batch(|_| ()).await?.0, 0);
    // A parameter that is written out as its default is no other.
    let (reused, _) = team.batch(|spec| spec.parameters.top_k = Some(5)).await?;
    assert_eq!(reused, all);

    assert!(team.erase().await? > 0);
    assert_eq!(team.batch(|_| ()).await?.0, 0);
    Ok(())
}

#[tokio::test]
async fn a_single_job_and_a_batch_reuse_each_other_s_answers() -> Result<()> {
    let team = Team::new().await?;
    let run = team.single(7, true).await?;
    assert!(!run.reused, "{run:?}");
    let again = team.single_again(7).await?;
    assert!(!team.single(7, false).await?.reused);
    assert_eq!((&again.result, &again.model), (&run.result, &run.model));
    assert_eq!(again.timings.map(|timings| timings.infer_millis), Some(0));

    let (reused, rows) = team.batch(|_| ()).await?;
    assert_eq!(reused, 1);
    let has_size = |row: &Row| (row.width, row.height) == (Some(16), Some(16));
    assert!(rows.iter().all(has_size), "{rows:?}");
    assert!(team.single(8, true).await?.reused);
    assert!(team.erase().await? > 0);
    assert!(!team.single(8, true).await?.reused);
    Ok(())
}

#[tokio::test]
async fn an_upload_over_http_says_that_its_answer_was_given_before() -> Result<()> {
    let visitor = visitor().await;
    // No other test has this picture.
    let picture = picture(0x5eed_0001);
    let fields = [("task", "image-classification"), ("reuse", "true")];
    let first = visitor.submitted_and_ended(&picture, &fields).await?;
    assert_eq!(first["reused"], false, "{first}");
    let again = eventually("the answer to be kept", KEPT, async || {
        let again = visitor.submitted_and_ended(&picture, &fields).await?;
        ensure!(again["reused"] == true, "{again}");
        Ok(again)
    })
    .await?;
    assert_eq!(again["result"], first["result"]);
    let without = visitor.submitted_and_ended(&picture, &fields[..1]).await?;
    assert_eq!(without["reused"], false, "{without}");
    Ok(())
}
