//! Measures that no picture exceeds the memory that its header implies. A single test in its own
//! program, since the allocator counts for the whole process.

#![allow(clippy::unwrap_used, reason = "a test's own functions")]

use fovea_runner::image::{ImageProcessor, Preprocessor, decode, inspect};
use image::codecs::{bmp, gif, ico, png, tiff, webp};
use image::{DynamicImage, ExtendedColorType, ImageEncoder};
use libjpeg_turbo_rs::{PixelFormat, Subsampling};
use peak_alloc::PeakAlloc;
use std::path::Path;

#[global_allocator]
static ALLOCATOR: PeakAlloc = PeakAlloc;

const MAX_PIXELS: u64 = 100_000_000;
const MAX_BYTES: u64 = 4 << 30;

/// Peak memory of `f`, in bytes.
fn peak<T>(f: impl FnOnce() -> T) -> (T, u64) {
    ALLOCATOR.reset_peak_usage();
    let before = ALLOCATOR.current_usage();
    let outcome = f();
    let peak = ALLOCATOR.peak_usage().saturating_sub(before);
    (outcome, peak as u64)
}

/// Levels that compress moderately.
fn levels(count: usize) -> Vec<u8> {
    (0..count)
        .map(|at| (at / 97 * 31 + (at * at) % 23).to_le_bytes()[0])
        .collect()
}

/// Large pictures of every format, by name.
fn large() -> Vec<(&'static str, Vec<u8>)> {
    let (width, height) = (1203u32, 907u32);
    let (columns, rows) = (width as usize, height as usize);
    let rgb = levels(columns * rows * 3);
    let rgba = levels(columns * rows * 4);
    let rgba16 = levels(columns * rows * 8);
    let jpeg = |sampling, progressive| {
        let compress = if progressive {
            libjpeg_turbo_rs::compress_progressive
        } else {
            libjpeg_turbo_rs::compress
        };
        compress(&rgb, columns, rows, PixelFormat::Rgb, 80, sampling).unwrap()
    };
    let cmyk = libjpeg_turbo_rs::compress(
        &rgba,
        columns,
        rows,
        PixelFormat::Cmyk,
        80,
        Subsampling::S444,
    );
    let arithmetic = libjpeg_turbo_rs::compress_arithmetic_progressive(
        &rgb,
        columns,
        rows,
        PixelFormat::Rgb,
        80,
        Subsampling::S420,
    );
    let encode = |write: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        write(&mut bytes);
        bytes
    };
    let (opaque, alpha) = (ExtendedColorType::Rgb8, ExtendedColorType::Rgba8);
    let tiff = |out: &mut Vec<u8>| {
        let encoder = tiff::TiffEncoder::new(std::io::Cursor::new(out));
        encoder.write_image(&rgb, width, height, opaque).unwrap();
    };
    let png = |samples: &[u8], kind| {
        encode(&|out| {
            let encoder = png::PngEncoder::new(out);
            encoder.write_image(samples, width, height, kind).unwrap();
        })
    };
    let webp = |samples: &[u8], kind| {
        encode(&|out| {
            let encoder = webp::WebPEncoder::new_lossless(out);
            encoder.write_image(samples, width, height, kind).unwrap();
        })
    };
    let frame = image::RgbaImage::from_raw(width, height, rgba.clone()).unwrap();
    let icon = DynamicImage::new_rgba8(256, 256).into_bytes();
    vec![
        ("444.jpg", jpeg(Subsampling::S444, false)),
        ("420.jpg", jpeg(Subsampling::S420, false)),
        ("progressive 444.jpg", jpeg(Subsampling::S444, true)),
        ("progressive 420.jpg", jpeg(Subsampling::S420, true)),
        ("cmyk.jpg", cmyk.unwrap()),
        ("arithmetic.jpg", arithmetic.unwrap()),
        ("rgb.png", png(&rgb, opaque)),
        ("rgba.png", png(&rgba, alpha)),
        ("rgba-16.png", png(&rgba16, ExtendedColorType::Rgba16)),
        ("rgb.webp", webp(&rgb, opaque)),
        ("rgba.webp", webp(&rgba, alpha)),
        ("rgb.tif", encode(&tiff)),
        (
            "rgb.bmp",
            encode(&|out| {
                let mut encoder = bmp::BmpEncoder::new(out);
                encoder.encode(&rgb, width, height, opaque).unwrap();
            }),
        ),
        (
            "frame.gif",
            encode(&|out| {
                let mut encoder = gif::GifEncoder::new_with_speed(out, 30);
                let frame = image::Frame::new(frame.clone());
                encoder.encode_frame(frame).unwrap();
            }),
        ),
        (
            "icon.ico",
            encode(&|out| {
                let encoder = ico::IcoEncoder::new(out);
                encoder.write_image(&icon, 256, 256, alpha).unwrap();
            }),
        ),
    ]
}

/// The small odd pictures, and a fuzzer's findings.
fn odd() -> Vec<(String, Vec<u8>)> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    ["golden/pictures/files", "hostile"]
        .into_iter()
        .flat_map(|folder| std::fs::read_dir(tests.join(folder)).unwrap())
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, std::fs::read(entry.path()).unwrap())
        })
        .collect()
}

/// A header without a picture.
fn bombs() -> Vec<(&'static str, Vec<u8>)> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
    png.extend_from_slice(&[0, 0, 0x4e, 0x20, 0, 0, 0x4e, 0x20, 8, 2, 0, 0, 0]);
    let mut crc = flate2::Crc::new();
    crc.update(&png[12..]);
    png.extend_from_slice(&crc.sum().to_be_bytes());
    png.extend_from_slice(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
    let mut gif = b"GIF89a\x20\x4e\x20\x4e\0\0\0".to_vec();
    gif.extend_from_slice(b",\0\0\0\0\x20\x4e\x20\x4e\0\x08\x01\0\0;");
    let mut bmp = b"BM\0\0\0\0\0\0\0\0\x36\0\0\0\x28\0\0\0".to_vec();
    bmp.extend_from_slice(&[0x20, 0x4e, 0, 0, 0x20, 0x4e, 0, 0, 1, 0, 8, 0, 1, 0, 0, 0]);
    bmp.resize(54 + 1024, 0);
    // One strip of 20,000 rows.
    let mut tiff = b"II*\0\x08\0\0\0\x07\0".to_vec();
    for (tag, value) in [
        (256u16, 20_000u32),
        (257, 20_000),
        (258, 8),
        (259, 5),
        (262, 1),
        (273, 8),
        (279, 4),
    ] {
        tiff.extend_from_slice(&tag.to_le_bytes());
        tiff.extend_from_slice(&[4, 0, 1, 0, 0, 0]);
        tiff.extend_from_slice(&value.to_le_bytes());
    }
    let mut webp = b"RIFF\x20\0\0\0WEBPVP8L\x10\0\0\0\x2f".to_vec();
    webp.extend_from_slice(&[0xff, 0xff, 0xff, 0x0f]);
    webp.resize(40, 0);
    vec![
        ("20,000 x 20,000.png", png),
        ("20,000 x 20,000.gif", gif),
        ("20,000 x 20,000.bmp", bmp),
        ("20,000 x 20,000.tif", tiff),
        ("16,384 x 16,384.webp", webp),
    ]
}

#[test]
fn no_picture_takes_more_memory_than_its_header_promises() {
    let path = Path::new("preprocessor_config.json");
    let preprocessor = Preprocessor::parse("{}", path, Some(ImageProcessor::Detr)).unwrap();
    let all = (large()
        .into_iter()
        .map(|(name, bytes)| (name.to_owned(), bytes)))
    .chain(odd());
    for (name, bytes) in all {
        let (header, took) = peak(|| inspect(&bytes, MAX_PIXELS, MAX_BYTES));
        assert!(took < (1 << 18) + 16 * bytes.len() as u64, "{name}: {took}");
        let Ok(header) = header else {
            continue;
        };
        let (picture, took) = peak(|| decode(&bytes, MAX_BYTES));
        let promised = header.decode_bytes;
        println!("{name}: {took} of {promised}");
        assert!(took <= promised, "{name}: {took} of {promised}");
        drop(picture);
        let promised = promised + preprocessor.working_bytes(header.width, header.height);
        let (_, took) = peak(|| preprocessor.run(&bytes, MAX_BYTES));
        assert!(
            took <= promised,
            "{name}, preprocessed: {took} of {promised}"
        );
    }
    for (name, bytes) in bombs() {
        // Within the bound on pixels, beyond the bound on memory.
        let (outcome, took) = peak(|| inspect(&bytes, u64::MAX, 256 << 20));
        assert!(outcome.is_err(), "{name}");
        assert!(took < 1 << 20, "{name}: {took}");
        let (outcome, took) = peak(|| inspect(&bytes, 178_956_970, u64::MAX));
        assert!(outcome.is_err(), "{name}");
        assert!(took < 1 << 20, "{name}: {took}");
        // Within both bounds, the file is truncated.
        let (outcome, took) = peak(|| decode(&bytes, MAX_BYTES));
        assert!(outcome.is_err(), "{name}");
        assert!(took <= MAX_BYTES, "{name}: {took}");
    }
}
