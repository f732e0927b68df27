//! A store that serves https with a certificate of its own authority, all the way.

use anyhow::Result;
use fovea_harness::{Stack, StackOptions};
use fovea_tests::Visitor;
use fovea_tests::demo::first;

#[tokio::test]
async fn a_picture_is_captioned_over_a_store_with_an_authority_of_its_own() -> Result<()> {
    let options = StackOptions {
        private_store: true,
        without_controller_manager: true,
        ..StackOptions::default()
    };
    let stack = Stack::start(options, |line| eprintln!("{line}")).await?;
    assert!(stack.minio.endpoint().starts_with("https://"));
    let (picture, caption) = first::<String>("captions.json");
    let visitor = Visitor::plain(stack.api_url())?;
    let job = visitor.submitted_and_ended(&picture, &[]).await?;
    assert_eq!(job["result"]["caption"], caption, "{job}");
    stack.stop().await?;
    Ok(())
}
