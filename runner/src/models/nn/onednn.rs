//! oneDNN's fused operators, for floats on the CPU.
//!
//! On a CPU, libtorch's own linear layer calls MKL, which does not use the wide vectors of processors that
//! are not Intel's: it took 2.2 times as long as oneDNN on an AMD EPYC with AVX-512. Its convolution packs
//! the weights again in every call and computes the activation in a separate pass. libtorch registers
//! faster operators for its compiler, but its tensor API lacks them. A TorchScript module with one line
//! for each calls them; its source is `models/ops/onednn.py`.

use super::Activation;
use std::sync::LazyLock;
use tch::{CModule, Device, IValue, Kind, TchError, Tensor};

/// Written by `python -m models.ops.onednn`.
const ARCHIVE: &[u8] = include_bytes!("onednn.pt");

/// `None` if libtorch was built without oneDNN. Its own operators are used then.
static MODULE: LazyLock<Option<CModule>> = LazyLock::new(|| {
    if !tch::utils::has_mkldnn() {
        return None;
    }
    match CModule::load_data(&mut &ARCHIVE[..]) {
        Ok(module) => Some(module),
        Err(error) => {
            let error = error.to_string();
            tracing::warn!(error, "this libtorch lacks oneDNN's fused operators");
            None
        }
    }
});

/// Stride, padding and dilation of a convolution, in pixels, the same in both directions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Steps {
    /// Distance between two applications of the kernel.
    pub stride: i64,
    /// Number of zeros added on each side.
    pub padding: i64,
    /// Distance between two pixels of the kernel.
    pub dilation: i64,
}

impl Steps {
    fn values(self) -> [IValue; 3] {
        [self.stride, self.padding, self.dilation].map(IValue::Int)
    }
}

/// Whether the convolutions here accept this tensor.
pub fn takes(tensor: &Tensor) -> bool {
    tensor.device() == Device::Cpu && tensor.kind() == Kind::Float && MODULE.is_some()
}

/// oneDNN's name and algorithm of the activation; `None` if it cannot be fused.
fn fused(activation: Option<Activation>) -> Option<[&'static str; 2]> {
    match activation {
        None => Some(["none", ""]),
        Some(Activation::Relu) => Some(["relu", ""]),
        Some(Activation::Gelu) => Some(["gelu", "none"]),
        Some(Activation::GeluTanh) => Some(["gelu", "tanh"]),
        Some(Activation::QuickGelu) => None,
    }
}

/// Number of input rows that linear weights are packed for. oneDNN has one layout for a single row and one
/// for several rows; the latter is faster even for a single row.
const PACKED_FOR_ROWS: i64 = 64;

/// Packs linear weights `[output, input]` for oneDNN. Without that, oneDNN packs them in each call, which
/// takes 1.5 times as long, and twice as long for a few rows. `None` if oneDNN cannot compute with this
/// type on this CPU.
pub(super) fn pack_linear(weight: &Tensor) -> Option<Tensor> {
    static FLOAT: LazyLock<bool> = LazyLock::new(|| computes(Kind::Float));
    static BFLOAT16: LazyLock<bool> = LazyLock::new(|| computes(Kind::BFloat16));
    let may = weight.device() == Device::Cpu
        // Weights of a tensor list are one number, expanded to the shape: packing would fill memory.
        && weight.is_contiguous()
        && match weight.kind() {
            Kind::Float => *FLOAT,
            Kind::BFloat16 => *BFLOAT16,
            _ => false,
        };
    may.then(|| call("pack_linear", &[tensor(weight), PACKED_FOR_ROWS.into()]).ok())?
}

/// Whether oneDNN computes with this type on this CPU. Tried once on a small layer, because a failed call
/// leaks its arguments.
fn computes(kind: Kind) -> bool {
    const SIDE: i64 = 16;
    let tried = || {
        let zeros = |size: &[i64]| Tensor::f_zeros(size, (kind, Device::Cpu));
        let weight = zeros(&[SIDE, SIDE])?;
        let packed = call("pack_linear", &[tensor(&weight), PACKED_FOR_ROWS.into()])?;
        linear(&zeros(&[1, SIDE])?, &packed, &zeros(&[SIDE])?, None)
    };
    tried()
        .inspect_err(|error| {
            let error = error.to_string();
            let error = error.lines().next().unwrap_or_default();
            tracing::debug!(error, ?kind, "no linear of oneDNN's");
        })
        .is_ok()
}

/// `activation(xs weight^T + bias)`, `[.., input]` to `[.., output]`, with a `weight` from
/// [`pack_linear`].
pub(super) fn linear(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    activation: Option<Activation>,
) -> Result<Tensor, TchError> {
    let [name, algorithm] = fused(activation).unwrap_or(["none", ""]);
    let arguments = [
        tensor(xs),
        tensor(weight),
        tensor(bias),
        name.into(),
        algorithm.into(),
    ];
    let xs = call("linear", &arguments)?;
    match activation {
        Some(activation) if name == "none" => activation.forward_in_place(xs),
        _ => Ok(xs),
    }
}

/// `xs weight^T + bias + residual`, with a `weight` from [`pack_linear`].
pub(super) fn linear_add(
    xs: &Tensor,
    residual: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
) -> Result<Tensor, TchError> {
    call(
        "linear_add",
        &[tensor(xs), tensor(residual), tensor(weight), tensor(bias)],
    )
}

/// `conv2d(xs)`, followed by `max(x, 0)` if `relu`. The weights come from [`pack`] or are channels-last.
/// `xs` must be a tensor that [`takes`] accepts.
pub(super) fn conv(
    xs: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    steps: Steps,
    relu: bool,
) -> Result<Tensor, TchError> {
    let [stride, padding, dilation] = steps.values();
    let activation = if relu { "relu" } else { "none" };
    call(
        "conv",
        &[
            tensor(xs),
            tensor(weight),
            tensor(bias),
            stride,
            padding,
            dilation,
            activation.into(),
        ],
    )
}

/// `relu(conv2d(xs) + residual)`, with the same requirements as [`conv`].
pub(super) fn conv_add_relu(
    xs: &Tensor,
    residual: &Tensor,
    weight: &Tensor,
    bias: &Tensor,
    steps: Steps,
) -> Result<Tensor, TchError> {
    let [stride, padding, dilation] = steps.values();
    call(
        "conv_add_relu",
        &[
            tensor(xs),
            tensor(residual),
            tensor(weight),
            tensor(bias),
            stride,
            padding,
            dilation,
        ],
    )
}

/// Packs `weight` for inputs of this size (batch, channels, height, width). Inputs of another size give
/// correct results but take up to five times as long.
pub(super) fn pack(
    weight: &Tensor,
    steps: Steps,
    input_size: [i64; 4],
) -> Result<Tensor, TchError> {
    let [stride, padding, dilation] = steps.values();
    let input_size = IValue::IntList(input_size.to_vec());
    call(
        "pack_conv",
        &[tensor(weight), stride, padding, dilation, input_size],
    )
}

fn tensor(tensor: &Tensor) -> IValue {
    IValue::Tensor(tensor.shallow_clone())
}

fn call(method: &str, arguments: &[IValue]) -> Result<Tensor, TchError> {
    let lacking = || TchError::Torch(format!("oneDNN's {method} is not in this libtorch"));
    let module = MODULE.as_ref().ok_or_else(lacking)?;
    match module.method_is(method, arguments)? {
        IValue::Tensor(tensor) => Ok(tensor),
        other => Err(TchError::Torch(format!("{method} gave {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn random(size: &[i64]) -> Tensor {
        Tensor::randn(size, (Kind::Float, Device::Cpu))
    }

    #[track_caller]
    fn assert_close(ours: &Tensor, theirs: &Tensor) {
        assert_eq!(ours.size(), theirs.size());
        let difference = (ours - theirs).abs().max().double_value(&[]);
        assert!(difference < 1e-4, "{difference:e}");
    }

    #[test]
    fn the_libtorch_that_we_build_with_has_the_operators() {
        assert!(takes(&random(&[1])));
        assert!(!takes(&random(&[1]).to_kind(Kind::BFloat16)));
    }

    #[test]
    fn linears_are_libtorchs_own_with_every_activation() {
        // Odd sizes, one row and many.
        for (rows, input, output) in [(1, 48, 144), (3, 33, 7), (70, 65, 130)] {
            let xs = random(&[2, rows, input]);
            let (weight, bias) = (random(&[output, input]), random(&[output]));
            let packed = pack_linear(&weight).unwrap();
            let plain = xs.linear(&weight, Some(&bias));
            assert_close(&linear(&xs, &packed, &bias, None).unwrap(), &plain);
            for activation in [
                Activation::Gelu,
                Activation::GeluTanh,
                Activation::QuickGelu,
                Activation::Relu,
            ] {
                let ours = linear(&xs, &packed, &bias, Some(activation)).unwrap();
                assert_close(&ours, &activation.forward(&plain).unwrap());
            }
            let residual = random(&[2, rows, output]);
            let ours = linear_add(&xs, &residual, &packed, &bias).unwrap();
            assert_close(&ours, &(plain + residual));
        }
    }

    #[test]
    fn an_input_of_another_layout_is_taken_as_it_is_meant() {
        let (xs, weight, bias) = (random(&[2, 5, 40]), random(&[24, 40]), random(&[24]));
        let packed = pack_linear(&weight).unwrap();
        let turned = xs.transpose(1, 2).contiguous().transpose(1, 2);
        let last = xs.select(1, -1);
        for xs in [turned, last] {
            let ours = linear(&xs, &packed, &bias, None).unwrap();
            assert_close(&ours, &xs.linear(&weight, Some(&bias)));
        }
    }

    #[test]
    fn what_cannot_be_is_an_error_and_no_panic() {
        let packed = pack_linear(&random(&[24, 40])).unwrap();
        assert!(linear(&random(&[2, 5]), &packed, &random(&[24]), None).is_err());
        assert!(pack_linear(&random(&[24, 40]).to_kind(Kind::Half)).is_none());
    }

    #[test]
    fn bf16_is_off_by_its_roundings_only() {
        let [xs, weight, bias] = [&[70, 65][..], &[30, 65], &[30]].map(random);
        let plain = xs.linear(&weight, Some(&bias));
        let [xs, weight, bias] = [xs, weight, bias].map(|xs| xs.to_kind(Kind::BFloat16));
        // Not every CPU computes in bfloat16.
        if let Some(packed) = pack_linear(&weight) {
            let ours = linear(&xs, &packed, &bias, None).unwrap();
            assert_eq!(ours.kind(), Kind::BFloat16);
            let difference = (ours - plain).abs().max().double_value(&[]);
            assert!(difference < 0.3, "{difference:e}");
        }
    }
}
