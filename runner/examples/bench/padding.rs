//! Pictures of several sizes in one pass, each padded to the largest height and width, against a
//! pass for each size.
//!
//! The padded pass is timed on blank pictures: what is in them does not change its time, and the
//! masking that it would also need is omitted, which favours padding.

use crate::stopwatch::{Stopwatch, median};
use fovea_runner::image::PixelValues;
use fovea_runner::inference::{Item, Model};
use serde_json::json;
use std::collections::BTreeMap;

/// Both take turns; the ratio is the median of the turns' own.
pub(crate) fn compare(
    model: &dyn Model,
    items: Vec<Item>,
    runs: usize,
) -> anyhow::Result<serde_json::Value> {
    let side = |item: &Item, dimension: usize| u32::try_from(item.pixels.shape()[dimension]);
    let (mut height, mut width) = (0, 0);
    for item in &items {
        height = height.max(side(item, 1)?);
        width = width.max(side(item, 2)?);
    }
    let padded: Vec<Item> = (items.iter())
        .map(|item| Item {
            pixels: PixelValues::blank((height, width)),
            query: item.query.clone(),
        })
        .collect();
    let mut sizes: BTreeMap<[i64; 3], Vec<Item>> = BTreeMap::new();
    for item in items {
        sizes.entry(item.pixels.shape()).or_default().push(item);
    }
    let timed = |batches: &mut dyn Iterator<Item = &Vec<Item>>| {
        let begun = Stopwatch::start();
        for batch in batches {
            model.run(batch, &|_| false)?;
        }
        anyhow::Ok(begun.wall_ms())
    };
    let (mut apart, mut together) = (Vec::new(), Vec::new());
    for run in 0..=runs {
        let apart_ms = timed(&mut sizes.values())?;
        let together_ms = timed(&mut std::iter::once(&padded))?;
        // The first one also sets things up.
        if run > 0 {
            apart.push(apart_ms);
            together.push(together_ms);
        }
    }
    let ratios = (together.iter().zip(&apart)).map(|(together, apart)| together / apart);
    Ok(json!({
        "sizes": sizes.len(),
        "padded_to": [height, width],
        "padded_over_apart": median(ratios.collect()),
        "median_apart_ms": median(apart),
        "median_padded_ms": median(together),
    }))
}
