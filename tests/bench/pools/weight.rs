//! Memory of the operator by the number of pools.

use anyhow::Result;
use fovea_tests::Pods;
use fovea_tests::measure::{kib, memory_bytes};
use fovea_tests::pods::{PATIENCE, condition};
use serde_json::json;

pub(crate) async fn weigh(it: &Pods) -> Result<()> {
    println!("\nmemory of the operator with pools of no replicas");
    let mut there = 0;
    let mut first = None;
    for count in [1, 10, 100] {
        for number in there..count {
            it.apply(&format!("many-{number}"), &json!({"replicas": 0}))
                .await?;
        }
        for number in there..count {
            let pool = format!("many-{number}");
            it.pool_where(&pool, "to be told of", PATIENCE, |status| {
                condition(status, "Ready")[1] == "NoReplicas"
            })
            .await?;
        }
        there = count;
        let bytes = memory_bytes(it.operator.pid())?;
        let (few, fewer) = *first.get_or_insert((bytes, count));
        let each = kib(bytes.saturating_sub(few), count - fewer);
        println!(
            "  {count:3} pools: {:.1} MiB, {each:.0} KiB for each more",
            kib(bytes, 1024)
        );
    }
    Ok(())
}
