//! Memory while a checkpoint of BLIP-base's full size is loaded: files of the right length in which
//! all numbers are holes of the file system, so that they cost no disk.

use crate::archive::end;
use crate::pickle::Pickle;
use fovea_runner::models::blip::{Blip, BlipConfig};
use fovea_runner::weights::{Placement, TensorList, Weights};
use std::fs::File;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::Path;
use std::process::Command;

/// Upper bound on the peak beyond an empty process, relative to the weights.
const MOST: f64 = 1.3;

/// Environment variable with the folder of the only checkpoint that a process is to load.
const FOLDER: &str = "FOVEA_TEST_LOAD_PEAK_OF";

fn list() -> TensorList {
    let checkpoints = Path::new(env!("CARGO_MANIFEST_DIR")).join("checkpoints");
    TensorList::read(&checkpoints.join("blip-image-captioning-base.json")).unwrap()
}

/// Name, shape, type and length in bytes of each tensor.
fn tensors(list: &TensorList) -> Vec<(&str, &[usize], &str, usize)> {
    let tensors = list.tensors().map(|(name, dtype, shape)| {
        let element = if dtype == "I64" { 8 } else { 4 };
        (
            name,
            shape,
            dtype,
            element * shape.iter().product::<usize>(),
        )
    });
    tensors.collect()
}

fn write_safetensors(path: &Path) {
    let list = list();
    let mut header = serde_json::Map::new();
    let mut place = 0;
    for (name, shape, dtype, bytes) in tensors(&list) {
        let offsets = [place, place + bytes];
        let tensor = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": offsets});
        header.insert(name.to_owned(), tensor);
        place += bytes;
    }
    let header = serde_json::to_vec(&header).unwrap();
    let mut file = File::create(path).unwrap();
    file.write_all(&(header.len() as u64).to_le_bytes())
        .unwrap();
    file.write_all(&header).unwrap();
    file.set_len((8 + header.len() + place) as u64).unwrap();
}

fn write_pytorch(path: &Path) {
    let list = list();
    let mut pickle = Pickle::new().raw(b"}(");
    let signed = |sizes: &[usize]| -> Vec<i64> {
        sizes
            .iter()
            .map(|&size| i64::try_from(size).unwrap())
            .collect()
    };
    let mut entries = vec![];
    for (key, (name, shape, dtype, bytes)) in tensors(&list).into_iter().enumerate() {
        let strides: Vec<usize> = (1..=shape.len())
            .map(|i| shape[i..].iter().product())
            .collect();
        let elements = i64::try_from(shape.iter().product::<usize>()).unwrap();
        let of = if dtype == "I64" {
            "LongStorage"
        } else {
            "FloatStorage"
        };
        let key = key.to_string();
        let storage = (of, key.as_str(), elements);
        pickle = pickle
            .text(name)
            .tensor(storage, 0, &signed(shape), &signed(&strides));
        entries.push((format!("model/data/{key}"), vec![], bytes));
    }
    let pickle = pickle.raw(b"u").end();
    let length = pickle.len();
    entries.insert(0, ("model/data.pkl".to_owned(), pickle, length));

    let mut file = File::create(path).unwrap();
    let mut directory = Vec::new();
    for (name, data, bytes) in &entries {
        let header = u32::try_from(file.stream_position().unwrap()).unwrap();
        let length = u32::try_from(*bytes).unwrap().to_le_bytes();
        let name_length = u16::try_from(name.len()).unwrap().to_le_bytes();
        let common = [&[0; 12][..], &length, &length, &name_length, &[0; 2]].concat();
        file.write_all(&[b"PK\x03\x04\x2d\0", &common[..], name.as_bytes(), data].concat())
            .unwrap();
        let hole = i64::try_from(bytes - data.len()).unwrap();
        file.seek(SeekFrom::Current(hole)).unwrap();
        directory.extend(b"PK\x01\x02\x2d\0\x2d\0");
        directory.extend(
            [
                &common[..],
                &[0; 10],
                &header.to_le_bytes(),
                name.as_bytes(),
            ]
            .concat(),
        );
    }
    let start = u32::try_from(file.stream_position().unwrap()).unwrap();
    file.write_all(&directory).unwrap();
    file.write_all(&end(entries.len(), directory.len(), start))
        .unwrap();
}

/// A line of `/proc/self/status` that counts memory, in bytes.
fn status_bytes(name: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .unwrap();
    line.split_whitespace()
        .next()
        .unwrap()
        .parse::<u64>()
        .unwrap()
        * 1024
}

/// Run by [`peak`] in a process of its own: memory counts for the whole of one.
#[test]
#[ignore = "the other tests of this file start it"]
fn loading_in_a_process_of_its_own() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        return;
    };
    let config: BlipConfig = serde_json::from_value(list().config().clone()).unwrap();
    let before = status_bytes("VmRSS:");
    let weights = Weights::open(Path::new(&folder), Placement::CPU).unwrap();
    let model = Blip::new(&config, &weights, Placement::CPU).unwrap();
    println!("peak {}", status_bytes("VmHWM:") - before);
    drop(model);
}

/// The peak beyond an empty process, relative to the weights file.
#[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
fn peak(file: &str, write: fn(&Path)) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join(file);
    write(&path);
    let weights_bytes = path.metadata().unwrap().len();
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "peak::loading_in_a_process_of_its_own",
            "--exact",
            "--ignored",
            "--nocapture",
        ])
        .env(FOLDER, dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find_map(|line| line.split_once("peak "));
    let (_, bytes) = line.unwrap_or_else(|| panic!("{text}"));
    let ratio = bytes.trim().parse::<u64>().unwrap() as f64 / weights_bytes as f64;
    println!("{file}: {weights_bytes} bytes, peak {ratio:.3} of them");
    ratio
}

#[test]
fn loading_safetensors_of_full_size_takes_little_more_than_the_weights() {
    let ratio = peak("model.safetensors", write_safetensors);
    assert!((0.8..MOST).contains(&ratio), "{ratio}");
}

#[test]
fn loading_pytorchs_file_of_full_size_takes_little_more_than_the_weights() {
    let ratio = peak("pytorch_model.bin", write_pytorch);
    assert!((0.8..MOST).contains(&ratio), "{ratio}");
}
