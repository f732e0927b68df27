//! Detections as COCO results, which `pycocotools`' `COCO.loadRes` reads: one list of
//! `{image_id, category_id, bbox: [x, y, width, height], score}`. `category_name` is for people; `loadRes` ignores it.

use super::row::Row;
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::HashMap;

/// COCO's categories with their ids, of which eleven of 1 to 91 are unused (cocodataset.org, `instances_val2017.json`).
const COCO: [(&str, u32); 80] = [
    ("person", 1),
    ("bicycle", 2),
    ("car", 3),
    ("motorcycle", 4),
    ("airplane", 5),
    ("bus", 6),
    ("train", 7),
    ("truck", 8),
    ("boat", 9),
    ("traffic light", 10),
    ("fire hydrant", 11),
    ("stop sign", 13),
    ("parking meter", 14),
    ("bench", 15),
    ("bird", 16),
    ("cat", 17),
    ("dog", 18),
    ("horse", 19),
    ("sheep", 20),
    ("cow", 21),
    ("elephant", 22),
    ("bear", 23),
    ("zebra", 24),
    ("giraffe", 25),
    ("backpack", 27),
    ("umbrella", 28),
    ("handbag", 31),
    ("tie", 32),
    ("suitcase", 33),
    ("frisbee", 34),
    ("skis", 35),
    ("snowboard", 36),
    ("sports ball", 37),
    ("kite", 38),
    ("baseball bat", 39),
    ("baseball glove", 40),
    ("skateboard", 41),
    ("surfboard", 42),
    ("tennis racket", 43),
    ("bottle", 44),
    ("wine glass", 46),
    ("cup", 47),
    ("fork", 48),
    ("knife", 49),
    ("spoon", 50),
    ("bowl", 51),
    ("banana", 52),
    ("apple", 53),
    ("sandwich", 54),
    ("orange", 55),
    ("broccoli", 56),
    ("carrot", 57),
    ("hot dog", 58),
    ("pizza", 59),
    ("donut", 60),
    ("cake", 61),
    ("chair", 62),
    ("couch", 63),
    ("potted plant", 64),
    ("bed", 65),
    ("dining table", 67),
    ("toilet", 70),
    ("tv", 72),
    ("laptop", 73),
    ("mouse", 74),
    ("remote", 75),
    ("keyboard", 76),
    ("cell phone", 77),
    ("microwave", 78),
    ("oven", 79),
    ("toaster", 80),
    ("sink", 81),
    ("refrigerator", 82),
    ("book", 84),
    ("clock", 85),
    ("vase", 86),
    ("scissors", 87),
    ("teddy bear", 88),
    ("hair drier", 89),
    ("toothbrush", 90),
];
/// Id of the first label that is none of COCO's.
const FIRST_OTHER: u32 = 1001;
/// Most labels of one answer that are none of COCO's.
const MAX_OTHERS: usize = 100_000;

/// Ids of the labels so far.
pub(super) struct Categories {
    ids: HashMap<String, u32>,
    others: u32,
}

/// Detections in COCO's format.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "a description")]
pub(crate) struct CocoResults(Vec<Detected<'static>>);

/// One detection.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CocoDetection")]
struct Detected<'a> {
    /// The picture's id: a number if it is written as one.
    image_id: ImageId<'a>,
    /// COCO's own id of its 80 categories; from 1001 on for other labels, in order of appearance.
    category_id: u32,
    /// The label.
    category_name: &'a str,
    /// x, y, width and height in pixels.
    bbox: [f32; 4],
    /// Score from 0 to 1.
    score: f32,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
#[schemars(inline)]
enum ImageId<'a> {
    Number(u64),
    Text(&'a str),
}

impl Categories {
    pub(super) fn new() -> Self {
        let ids = COCO.map(|(name, id)| (name.to_owned(), id)).into();
        Self { ids, others: 0 }
    }

    fn id(&mut self, label: &str) -> Option<u32> {
        if let Some(id) = self.ids.get(label) {
            return Some(*id);
        }
        if self.ids.len() >= COCO.len() + MAX_OTHERS {
            return None;
        }
        let id = FIRST_OTHER + self.others;
        self.others += 1;
        self.ids.insert(label.to_owned(), id);
        Some(id)
    }

    /// Appends a row's detections, each after a comma unless it is the first of all; `None` if there are too many
    /// labels.
    pub(super) fn write(&mut self, row: &Row, first: &mut bool, out: &mut String) -> Option<()> {
        for detection in row.detections.iter().flatten() {
            let corners = detection.bounding_box;
            let detected = Detected {
                image_id: image_id(&row.id),
                category_id: self.id(&detection.label)?,
                category_name: &detection.label,
                bbox: [
                    corners.xmin,
                    corners.ymin,
                    corners.xmax - corners.xmin,
                    corners.ymax - corners.ymin,
                ],
                score: detection.score,
            };
            if !std::mem::take(first) {
                out.push(',');
            }
            out.push('\n');
            out.push_str(&serde_json::to_string(&detected).ok()?);
        }
        Some(())
    }
}

/// An id is a number if it is written as one, as those of COCO's own pictures are.
fn image_id(id: &str) -> ImageId<'_> {
    match id.parse::<u64>() {
        Ok(number) if number.to_string() == id => ImageId::Number(number),
        _ => ImageId::Text(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_detection_is_written_as_pycocotools_reads_it() {
        let mut categories = Categories::new();
        let (mut first, mut out) = (true, String::from("["));
        let boxed = json!({"xmin": 1.0, "ymin": 2.0, "xmax": 11.0, "ymax": 22.5});
        for (id, labels) in [
            ("42", vec!["dog", "red circle"]),
            ("042", vec!["square", "red circle"]),
        ] {
            let detections: Vec<Value> = labels
                .into_iter()
                .map(|label| json!({"label": label, "score": 0.5, "box": boxed}))
                .collect();
            let row = json!({"id": id, "key": "a", "detections": detections});
            let row = serde_json::from_value(row).unwrap();
            categories.write(&row, &mut first, &mut out).unwrap();
        }
        out.push(']');
        let all: Vec<Value> = serde_json::from_str(&out).unwrap();
        let one = json!({"image_id": 42, "category_id": 18, "category_name": "dog", "bbox": [1.0, 2.0, 10.0, 20.5], "score": 0.5});
        assert_eq!(all[0], one);
        let ids: Vec<_> = all.iter().map(|one| one["category_id"].as_u64()).collect();
        assert_eq!(ids, [Some(18), Some(1001), Some(1002), Some(1001)]);
        assert_eq!(all[2]["image_id"], "042");
    }

    #[test]
    fn coco_s_ids_are_distinct_and_leave_out_eleven() {
        let ids: std::collections::BTreeSet<u32> = COCO.iter().map(|(_, id)| *id).collect();
        assert_eq!((ids.len(), ids.last()), (80, Some(&90)));
        for unused in [12, 26, 29, 30, 45, 66, 68, 69, 71, 83] {
            assert!(!ids.contains(&unused), "{unused}");
        }
    }
}
