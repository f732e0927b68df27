//! Hostile and broken pickles: each is refused with the reason.

use crate::archive::{archive, checkpoint, folder};
use crate::pickle::{Pickle, state_dict};
use fovea_runner::weights::{Placement, Weights};

/// The error about a checkpoint with this pickle, and 16 bytes in the storage `0`.
fn refusal(pickle: &[u8]) -> String {
    let dir = folder(&archive(&checkpoint(pickle, &[("0", &[0; 16])])));
    let error = Weights::open(dir.path(), Placement::CPU)
        .unwrap_err()
        .to_string();
    assert!(error.contains("is refused"), "{error}");
    error
}

fn refused(pickle: Pickle, words: &str) {
    let error = refusal(&pickle.end());
    assert!(error.contains(words), "{words:?} is not in: {error}");
}

#[test]
fn a_call_of_anything_but_what_rebuilds_tensors_is_refused_by_its_name() {
    let new = Pickle::new;
    refused(
        new()
            .global("os", "system")
            .raw(b"(")
            .text("true")
            .raw(b"tR"),
        "os.system",
    );
    refused(new().global("posix", "system"), "posix.system");
    refused(
        new().text("builtins").text("eval").raw(b"\x93"),
        "builtins.eval",
    );
    refused(new().global("__builtin__", "exec"), "__builtin__.exec");
    refused(new().global("torch", "load"), "torch.load");
    refused(new().global("torch", "EvilStorage"), "torch.EvilStorage");
    refused(
        new().global("torch._utils", "_rebuild_tensor_v3"),
        "_rebuild_tensor_v3",
    );
    refused(
        new().global("torch.storage", "_load_from_bytes"),
        "_load_from_bytes",
    );
    refused(
        new().global("collections", "defaultdict"),
        "collections.defaultdict",
    );
    // A long name is shortened.
    let error = refusal(&new().global(&"m".repeat(100_000), "n").end());
    assert!(error.len() < 600, "{} bytes", error.len());
    refused(
        new().int(1).int(2).raw(b"\x93"),
        "otherwise than by two texts",
    );
    refused(
        new().global("torch", "FloatStorage").raw(b")R"),
        "calls a type",
    );
    refused(new().text("eval").raw(b")R"), "calls a str");
    refused(
        new()
            .global("collections", "OrderedDict")
            .text("x")
            .raw(b"R"),
        "without a tuple",
    );
}

#[test]
fn instructions_that_make_objects_are_refused_by_their_names() {
    let class = || Pickle::new().global("collections", "OrderedDict");
    refused(Pickle::new().raw(b"(ios\nsystem\n"), "INST");
    refused(Pickle::new().raw(b"(ccollections\nOrderedDict\no"), "OBJ");
    refused(class().raw(b")\x81"), "NEWOBJ");
    refused(class().raw(b")}\x92"), "NEWOBJ_EX");
    refused(Pickle::new().raw(b"\x82\x01"), "EXT1");
    refused(Pickle::new().raw(b"\x83\x01\x00"), "EXT2");
    refused(Pickle::new().raw(b"\x84\x01\x00\x00\x00"), "EXT4");
    refused(Pickle::new().raw(b"Pstorage\n"), "PERSID");
    refused(Pickle::new().raw(b"I1\n"), "as text");
    refused(Pickle::new().raw(b"N2"), "DUP");
    refused(Pickle::new().raw(b"\xff"), "0xff");
    refused(Pickle::new().raw(b"\x80\x09"), "protocol 9");
}

#[test]
fn attributes_are_set_of_nothing_but_a_state_dicts_metadata() {
    let ordered = || {
        Pickle::new()
            .global("collections", "OrderedDict")
            .raw(b")R")
    };
    refused(
        ordered().raw(b"}").text("__class__").raw(b"Nsb"),
        "sets attributes of a dict",
    );
    refused(Pickle::new().raw(b"}}b"), "sets attributes of a dict");
    refused(ordered().raw(b"Nb"), "sets attributes");
    let tensor = Pickle::new().tensor(("FloatStorage", "0", 4), 0, &[4], &[1]);
    refused(tensor.raw(b"}b"), "sets attributes of a tensor");
    refused(
        ordered().raw(b"}").text("_metadata").raw(b"Nsb"),
        "no tensors at its top level",
    );
}

#[test]
fn claims_beyond_the_files_end_and_bombs_are_refused_in_bounded_memory() {
    let new = Pickle::new;
    refused(
        new().raw(b"\x8b\xff\xff\xff\x7f"),
        "claims 2147483647 bytes",
    );
    refused(
        new().raw(b"\x8d").raw(&[0xff; 8]),
        "claims 18446744073709551615 bytes",
    );
    refused(new().raw(b"X\xff\xff\xff\xff"), "claims 4294967295 bytes");
    refused(new().raw(b"\x8a\x09").raw(&[1; 9]), "an integer of 9 bytes");
    refused(new().raw(&vec![b']'; 2_000_000]), "more than");
    refused(new().raw(b")").raw(&vec![0x85; 2_000_000]), "more than");
    refused(new().raw(b"Nq\0").raw(&b"h\0".repeat(1_000_000)), "at once");
    refused(new().raw(&[b'('; 65]), "nested over 64 deep");
    let remembered = (0..1_100_000u32).flat_map(|key| [&b"r"[..], &key.to_le_bytes()].concat());
    refused(
        new().raw(b"N").raw(&remembered.collect::<Vec<_>>()),
        "remembers more than",
    );
    // Ten lists of ten of the one before: ten billion, were any of them copied.
    let mut laughs = new().raw(b"]q\0");
    for level in 0..10u8 {
        let earlier = [b'h', level].repeat(10);
        laughs = laughs
            .raw(b"](")
            .raw(&earlier)
            .raw(&[b'e', b'q', level + 1]);
    }
    refused(laughs, "a list instead of a model's state_dict");
    // A list that holds itself, and tuples a million deep.
    refused(new().raw(b"]q\0h\0a"), "a list instead");
    refused(
        new().raw(b")").raw(&vec![0x85; 1_000_000]),
        "a tuple instead",
    );
    refused(new().raw(&vec![b'N'; 17 << 20]), "data.pkl has 17825");
}

#[test]
fn a_pickle_that_takes_missing_values_is_refused() {
    for (pickle, words) in [
        (&b""[..], "takes a value where there is none"),
        (b"a", "takes a value"),
        (b"t", "ends a collection that was not begun"),
        (b"N(a", "takes a value"),
        (b"\x87", "takes a value"),
        (b"]NNs", "sets items of a list"),
        (b"}Na", "appends to a dict"),
        (b"}(NNNu", "a key without a value"),
        (b"h\x07", "has not remembered"),
        (b"cos", "ends within a name"),
        (b"X\x01\0\0\0\xff", "not UTF-8"),
        (b"NQ", "no storage"),
        (b"N", "None instead"),
    ] {
        refused(Pickle::new().raw(pickle), words);
    }
    assert!(refusal(b"").contains("claims 1 bytes where 0 are left"));
}

#[test]
fn a_tensor_that_reaches_outside_of_its_storage_is_refused_by_its_name() {
    let floats = ("FloatStorage", "0", 4);
    let refused = |pickle: Vec<u8>, words: &str| {
        let error = refusal(&pickle);
        assert!(error.contains(words), "{words:?} is not in: {error}");
    };
    refused(
        state_dict(floats, 1, &[4], &[1]),
        "\"weight\" reaches element 5 of a storage that has 4",
    );
    refused(state_dict(floats, 0, &[2, 2], &[3, 1]), "reaches element 5");
    refused(state_dict(floats, i64::MAX, &[2], &[1]), "reaches element");
    refused(state_dict(floats, 5, &[0], &[1]), "reaches element 5");
    refused(
        state_dict(floats, 0, &[i64::MAX, 4], &[0, 0]),
        "more elements than there can be",
    );
    refused(state_dict(floats, 0, &[2], &[i64::MAX]), "reaches element");
    refused(
        state_dict(floats, 0, &[3, 3], &[i64::MAX, i64::MAX]),
        "more elements than",
    );
    refused(
        state_dict(floats, -1, &[1], &[1]),
        "something else than a storage",
    );
    refused(state_dict(floats, 0, &[-1], &[1]), "something else");
    refused(state_dict(floats, 0, &[1, 1], &[1]), "something else");
    refused(state_dict(floats, 0, &[1; 17], &[1; 17]), "something else");
    refused(
        state_dict(("FloatStorage", "0", 5), 0, &[4], &[1]),
        "a storage of 5 x 4 bytes, where the archive has 16",
    );
    refused(
        state_dict(("FloatStorage", "0", i64::MAX), 0, &[4], &[1]),
        "where the archive has 16",
    );
    refused(
        state_dict(("FloatStorage", "0", -1), 0, &[4], &[1]),
        "no storage",
    );
    refused(
        state_dict(("FloatStorage", "1", 4), 0, &[4], &[1]),
        "not in the archive",
    );
    refused(
        state_dict(("FloatStorage", "../../data.pkl", 4), 0, &[4], &[1]),
        "not in the archive",
    );
    let expanded = state_dict(floats, 0, &[1 << 40], &[0]);
    let dir = folder(&archive(&checkpoint(&expanded, &[("0", &[0; 16])])));
    let weights = Weights::open(dir.path(), Placement::CPU).unwrap();
    let error = weights
        .at("")
        .tensor("weight", &[4])
        .unwrap_err()
        .to_string();
    assert!(error.contains("1099511627776"), "{error}");
}
