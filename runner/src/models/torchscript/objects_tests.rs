use super::*;
use tch::Device;

fn reader(
    format: BoxFormat,
    unit: BoxUnit,
    labelled: bool,
    activation: Activation,
) -> ObjectReader {
    let place = |key: &str| serde_json::from_str::<Place>(&format!("\"{key}\"")).unwrap();
    ObjectReader {
        places: ObjectPlaces {
            boxes: place("boxes"),
            scores: place("scores"),
            labels: labelled.then(|| place("labels")),
            format,
            unit,
        },
        activation,
        // The middle one is no object.
        known: vec![true, false, true],
    }
}

fn output(boxes: &Tensor, scores: &Tensor, labels: Option<&Tensor>) -> IValue {
    let entry = |key: &str, tensor: &Tensor| {
        (
            IValue::String(key.to_owned()),
            IValue::Tensor(tensor.shallow_clone()),
        )
    };
    let mut entries = vec![entry("boxes", boxes), entry("scores", scores)];
    entries.extend(labels.map(|labels| entry("labels", labels)));
    IValue::GenericDict(entries)
}

fn boxes(four: [f32; 4], count: i64) -> Tensor {
    Tensor::from_slice(&four)
        .reshape([1, 1, 4])
        .repeat([1, count, 1])
}

#[test]
fn every_format_and_unit_comes_to_the_same_corners() {
    let scores = Tensor::from_slice(&[0.25_f32, 0.5, 0.125]).reshape([1, 1, 3]);
    let corners = [0.25, 0.5, 0.75, 1.0];
    for (format, unit, four) in [
        (BoxFormat::Xyxy, BoxUnit::Fractions, corners),
        (BoxFormat::Xywh, BoxUnit::Fractions, [0.25, 0.5, 0.5, 0.5]),
        (BoxFormat::Cxcywh, BoxUnit::Fractions, [0.5, 0.75, 0.5, 0.5]),
        (BoxFormat::Xyxy, BoxUnit::Pixels, [10.0, 10.0, 30.0, 20.0]),
        (BoxFormat::Xywh, BoxUnit::Pixels, [10.0, 10.0, 20.0, 10.0]),
        (BoxFormat::Cxcywh, BoxUnit::Pixels, [20.0, 15.0, 20.0, 10.0]),
    ] {
        let reader = reader(format, unit, false, Activation::None);
        let output = output(&boxes(four, 1), &scores, None);
        let objects = reader.read(&output, 1, (20, 40)).unwrap();
        let (label, score) = (0, 0.25);
        let expected = Object {
            label,
            score,
            corners,
        };
        assert_eq!(objects, [[expected]], "{format:?} {unit:?}");
    }
}

#[test]
fn no_object_takes_its_share_of_softmax_and_is_never_given() {
    let reader = reader(
        BoxFormat::Xyxy,
        BoxUnit::Fractions,
        false,
        Activation::Softmax,
    );
    let scores = Tensor::from_slice(&[0.0_f32, 9.0, 0.0, 1.0, -9.0, 2.0]).reshape([1, 2, 3]);
    let output = output(&boxes([0.0, 0.0, 1.0, 1.0], 2), &scores, None);
    let objects = reader.read(&output, 1, (8, 8)).unwrap().remove(0);
    assert_eq!((objects[0].label, objects[1].label), (0, 2));
    assert!(objects[0].score < 1e-3, "{objects:?}");
    assert!((objects[1].score - 0.731_05).abs() < 1e-3, "{objects:?}");
}

#[test]
fn a_module_may_choose_the_labels_and_fill_up_with_none() {
    let reader = reader(
        BoxFormat::Xyxy,
        BoxUnit::Fractions,
        true,
        Activation::Sigmoid,
    );
    let scores = Tensor::from_slice(&[0.0_f32; 4]).reshape([1, 4]);
    let labels = Tensor::from_slice(&[2_i64, 1, -1, 0]).reshape([1, 4]);
    let output = output(&boxes([0.0, 0.0, 1.0, 1.0], 4), &scores, Some(&labels));
    let objects = reader.read(&output, 1, (8, 8)).unwrap().remove(0);
    let given: Vec<_> = objects
        .iter()
        .map(|object| (object.label, object.score))
        .collect();
    assert_eq!(given, [(2, 0.5), (0, 0.5)]);
}

#[test]
fn impossible_outputs_are_reported() {
    let float = |size: &[i64], value: f64| Tensor::full(size, value, (Kind::Float, Device::Cpu));
    let read = |labelled, boxes: &Tensor, scores: &Tensor, labels: Option<&Tensor>| {
        let reader = reader(BoxFormat::Xyxy, BoxUnit::Pixels, labelled, Activation::None);
        let fault = reader.read(&output(boxes, scores, labels), 1, (8, 8));
        fault.unwrap_err().to_string()
    };
    let (two, three) = (float(&[1, 2], 0.5), float(&[1, 2, 3], 0.5));
    let four = float(&[1, 2, 4], 0.5);
    for (text, words) in [
        (
            read(false, &float(&[2, 2, 4], 0.5), &three, None),
            "[1, objects, 4]",
        ),
        (
            read(false, &float(&[1, 2, 5], 0.5), &three, None),
            "[1, objects, 4]",
        ),
        (
            read(false, &float(&[1, 300_000, 4], 0.5), &three, None),
            "200000",
        ),
        (read(false, &four, &two, None), "not [1, 2, 3]"),
        (read(true, &four, &three, Some(&two)), "not [1, 2]"),
        (read(true, &four, &two, Some(&three)), "labels"),
        (read(true, &four, &two, None), "\"labels\""),
        (
            read(true, &four, &two, Some(&float(&[1, 2], 3.0))),
            "there are 3",
        ),
        (
            read(false, &four, &float(&[1, 2, 3], 7.0), None),
            "activation",
        ),
        (
            read(false, &four, &float(&[1, 2, 3], f64::NAN), None),
            "no numbers",
        ),
        (
            read(false, &float(&[1, 2, 4], f64::NAN), &three, None),
            "no numbers",
        ),
    ] {
        assert!(text.contains(words), "{words}: {text}");
    }
}
