//! Real files of `torch.save`.

use crate::archive::{archive, checkpoint, entry, folder, golden, goldens};
use crate::pickle::{Pickle, state_dict};
use crate::support::{self, golden::BF16};
use fovea_runner::models::blip::Blip;
use fovea_runner::weights::{Placement, Weights, WeightsError};
use safetensors::SafeTensors;
use safetensors::tensor::Dtype;
use std::io::{Seek, SeekFrom, Write};
use tch::{Kind, Tensor};

fn signed(shape: &[usize]) -> Vec<i64> {
    let sizes = shape.iter().map(|&size| i64::try_from(size).unwrap());
    sizes.collect()
}

/// Every floating-point tensor of the golden files.
fn expected() -> Vec<(String, Tensor)> {
    let bytes = std::fs::read(goldens().join("expected.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensors = tensors
        .iter()
        .filter(|(_, view)| view.dtype() != Dtype::F64);
    tensors
        .map(|(name, view)| {
            let shape = signed(view.shape());
            let kind = match view.dtype() {
                Dtype::F32 => Kind::Float,
                Dtype::F16 => Kind::Half,
                Dtype::BF16 => Kind::BFloat16,
                other => panic!("{name} is {other:?}"),
            };
            let tensor = Tensor::from_data_size(view.data(), &shape, kind);
            (name.to_owned(), tensor)
        })
        .collect()
}

#[test]
fn every_tensor_of_a_real_file_is_read_whatever_its_storage_strides_and_type() {
    let expected = expected();
    assert_eq!(expected.len(), 20);
    for file in ["state_dict.bin", "protocol_5.bin"] {
        let dir = golden(file);
        let weights = Weights::open(dir.path(), Placement::CPU).unwrap();
        for (name, tensor) in &expected {
            let ours = weights.at("").tensor(name, &tensor.size()).unwrap();
            assert_eq!(ours, tensor.to_kind(Kind::Float), "{file}: {name}");
            assert!(ours.is_contiguous(), "{file}: {name}");
        }
        let integers = ["double", "mask", "norm.num_batches_tracked", "position_ids"];
        assert_eq!(weights.unused(), integers, "{file}");
    }
}

#[test]
fn tensors_are_converted_to_the_placements_type_while_read() {
    let dir = golden("state_dict.bin");
    let weights = Weights::open(dir.path(), BF16).unwrap();
    for (name, tensor) in expected() {
        let ours = weights.at("").tensor(&name, &tensor.size()).unwrap();
        assert_eq!(ours.kind(), Kind::BFloat16);
        assert_eq!(ours, tensor.to_kind(Kind::BFloat16), "{name}");
    }
}

#[test]
fn integer_tensors_are_accepted_unread_and_refused_by_name_when_a_model_reads_them() {
    let dir = golden("state_dict.bin");
    let weights = Weights::open(dir.path(), Placement::CPU).unwrap();
    let error = weights
        .at("")
        .tensor("position_ids", &[1, 5])
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("position_ids") && error.contains("Long"),
        "{error}"
    );
    let error = weights.at("norm").tensor("weight", &[5]).unwrap_err();
    assert!(matches!(error, WeightsError::Shape { .. }), "{error}");
    let error = weights.at("norm").tensor("wait", &[5]).unwrap_err();
    assert!(matches!(error, WeightsError::Missing { .. }), "{error}");
}

#[test]
fn a_file_from_before_pytorch_1_6_is_refused_with_how_to_convert_it() {
    let error = Weights::open(golden("legacy.bin").path(), Placement::CPU).unwrap_err();
    assert!(
        matches!(error, WeightsError::LegacyPyTorch { .. }),
        "{error}"
    );
    assert!(
        error.to_string().contains("torch.save(torch.load("),
        "{error}"
    );
}

#[test]
fn a_file_with_more_than_a_state_dict_is_refused_with_what_is_too_much() {
    for (file, words) in [
        ("nested.bin", ["no tensors at its top level", "state_dict"]),
        ("training.bin", ["numpy", "rebuilds no tensor"]),
        (
            "module.bin",
            ["torch.nn.modules.linear.Linear", "rebuilds no tensor"],
        ),
    ] {
        let error = Weights::open(golden(file).path(), Placement::CPU)
            .unwrap_err()
            .to_string();
        assert!(
            words.iter().all(|word| error.contains(word)),
            "{file}: {error}"
        );
    }
}

#[test]
fn blip_from_pytorch_model_bin_is_blip_from_safetensors() {
    let bytes = std::fs::read(support::checkpoint().join("model.safetensors")).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut pickle = Pickle::new()
        .global("collections", "OrderedDict")
        .raw(b")R(");
    let mut storages = Vec::new();
    for (key, (name, view)) in tensors.iter().enumerate() {
        let shape = signed(view.shape());
        let strides: Vec<i64> = (1..=shape.len())
            .map(|i| shape[i..].iter().product())
            .collect();
        let key = key.to_string();
        let storage = ("FloatStorage", key.as_str(), shape.iter().product());
        pickle = pickle.text(name).tensor(storage, 0, &shape, &strides);
        storages.push((key, view.data().to_vec()));
    }
    // A buffer that the hub's file has.
    let positions = ("LongStorage", "positions", 2);
    pickle = pickle.text("text_decoder.bert.embeddings.position_ids");
    let pickle = pickle
        .tensor(positions, 0, &[1, 2], &[2, 1])
        .raw(b"u")
        .end();
    storages.push(("positions".to_owned(), vec![0; 16]));
    let storages: Vec<(&str, &[u8])> = (storages.iter())
        .map(|(key, data)| (key.as_str(), data.as_slice()))
        .collect();
    let dir = folder(&archive(&checkpoint(&pickle, &storages)));

    let weights = Weights::open(dir.path(), Placement::CPU).unwrap();
    let config = support::config(&support::checkpoint());
    let ours = Blip::new(&config, &weights, Placement::CPU).unwrap();
    assert_eq!(
        weights.unused(),
        ["text_decoder.bert.embeddings.position_ids"]
    );
    let theirs = support::blip(&support::checkpoint());
    let pixels = support::expected_tensor("pixel_values");
    let hidden = |model: &Blip| model.vision().forward(&pixels).unwrap();
    assert_eq!(hidden(&ours), hidden(&theirs));
    let scores = |model: &Blip| {
        let mut cache = model.decoder().begin(&hidden(model), 1).unwrap();
        let input = Tensor::zeros([pixels.size()[0], 1], (Kind::Int64, Placement::CPU.device));
        model.decoder().forward(&input, &mut cache).unwrap()
    };
    assert_eq!(scores(&ours), scores(&theirs));
}

#[test]
fn a_view_that_skips_nearly_all_of_its_storage_is_refused_and_not_read() {
    let pickle = state_dict(("FloatStorage", "0", 1000), 0, &[2], &[999]);
    let dir = folder(&archive(&checkpoint(&pickle, &[("0", &[0; 4000])])));
    let weights = Weights::open(dir.path(), Placement::CPU).unwrap();
    let error = weights
        .at("")
        .tensor("weight", &[2])
        .unwrap_err()
        .to_string();
    assert!(error.contains("2 elements spread over 1000"), "{error}");
}

#[test]
fn a_storage_of_more_than_four_gigabytes_is_read_at_its_end() {
    const ELEMENTS: u64 = (5 << 30) / 4;
    let place = i64::try_from(ELEMENTS).unwrap() - 2;
    let pickle = state_dict(("FloatStorage", "0", place + 2), place, &[2], &[1]);
    // A sparse file: the archive of an empty storage, cut apart, with a hole for the zeros.
    let mut storage = entry("model/data/0", &[]);
    storage.long = Some(4 * ELEMENTS);
    let archive = archive(&[entry("model/data.pkl", &pickle), storage]);
    let directory = archive
        .windows(4)
        .position(|four| four == b"PK\x01\x02")
        .unwrap();
    let (head, tail) = archive.split_at(directory);
    let end = tail.len() - 22;
    let directory = head.len() as u64 + 4 * ELEMENTS;
    let mut record = b"PK\x06\x06".to_vec();
    record.extend([0; 20]);
    for number in [2, 2, end as u64, directory] {
        record.extend(u64::to_le_bytes(number));
    }
    record.extend(b"PK\x06\x07\0\0\0\0");
    record.extend((directory + end as u64).to_le_bytes());
    record.extend([1, 0, 0, 0]);

    let dir = tempfile::tempdir().unwrap();
    let mut file = std::fs::File::create(dir.path().join("pytorch_model.bin")).unwrap();
    file.write_all(head).unwrap();
    file.seek(SeekFrom::Start(directory - 8)).unwrap();
    for number in [1.5f32, -2.0] {
        file.write_all(&number.to_le_bytes()).unwrap();
    }
    file.write_all(&tail[..end]).unwrap();
    file.write_all(&record).unwrap();
    file.write_all(&tail[end..]).unwrap();
    drop(file);

    let weights = Weights::open(dir.path(), Placement::CPU).unwrap();
    let tensor = weights.at("").tensor("weight", &[2]).unwrap();
    assert_eq!(tensor, Tensor::from_slice(&[1.5f32, -2.0]));
}
