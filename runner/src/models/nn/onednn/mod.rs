//! oneDNN's linear layers over weights that were packed once: in every libtorch for x86, and bound
//! by nobody.
//!
//! On a CPU `f_linear` goes to MKL, which keeps to AVX2 where the CPU is not Intel's, and which
//! lays the weights out anew in each call. oneDNN does neither: on an AMD EPYC of the Zen 5 kind
//! it is twice as fast at 577 rows, at one row, and four times at three. Its operators, those that
//! torch's own compiler calls, are registered for `TorchScript`, so a `TorchScript` module of four
//! lines reaches them, without C++ and without `unsafe`.

mod archive;

use std::sync::LazyLock;
use tch::{CModule, Device, Kind, TchError, Tensor};

/// The module's class, as an archive holds it.
const OPERATORS: &str = include_str!("operators.torchscript");

/// oneDNN's operators; weights are `[output, input]`, packed.
#[derive(Debug)]
pub(super) struct OneDnn {
    module: CModule,
}

/// The operators for numbers of this kind on this device; none where libtorch lacks them or the
/// CPU cannot compute so.
pub(super) fn onednn(kind: Kind, device: Device) -> Option<&'static OneDnn> {
    static FLOAT: LazyLock<Option<OneDnn>> = LazyLock::new(|| OneDnn::tried(Kind::Float));
    static BFLOAT16: LazyLock<Option<OneDnn>> = LazyLock::new(|| OneDnn::tried(Kind::BFloat16));
    match (kind, device) {
        (Kind::Float, Device::Cpu) => FLOAT.as_ref(),
        (Kind::BFloat16, Device::Cpu) => BFLOAT16.as_ref(),
        _ => None,
    }
}

impl OneDnn {
    /// Loaded, and tried on a small layer.
    fn tried(kind: Kind) -> Option<Self> {
        let tried = || -> Result<(Self, bool), TchError> {
            let module = CModule::load_data(&mut archive::archive(OPERATORS).as_slice())?;
            let operators = Self { module };
            let right = operators.adds_up(kind)?;
            Ok((operators, right))
        };
        match tried() {
            Ok((operators, true)) => Some(operators),
            Ok((_, false)) => {
                tracing::warn!(
                    ?kind,
                    "oneDNN's linear is wrong on this CPU; using libtorch's"
                );
                None
            }
            Err(error) => {
                let why = error.to_string();
                let why = why.lines().next().unwrap_or_default();
                tracing::info!(?kind, why, "no oneDNN linear; using libtorch's");
                None
            }
        }
    }

    /// Whether a small layer gives what it must.
    fn adds_up(&self, kind: Kind) -> Result<bool, TchError> {
        let _no_grad = tch::no_grad_guard();
        let ones = |shape: &[i64]| Tensor::f_ones(shape, (kind, Device::Cpu));
        let (xs, bias) = (ones(&[3, 16])?, ones(&[32])?);
        let weight = self.pack(&ones(&[32, 16])?)?;
        let plain = self.linear(&xs, &weight, &bias)?;
        let gelu = self.linear_gelu(&xs, &weight, &bias)?;
        let added = self.linear_add(&xs, &weight, &bias, &plain)?;
        let all = |xs: &Tensor, value: f64| -> Result<bool, TchError> {
            let is = xs.f_to_kind(Kind::Float)?.f_eq(value)?.f_all()?;
            Ok(xs.size() == [3, 32] && is.f_int64_value(&[])? == 1)
        };
        // GELU of 17 is 17 in every kind.
        Ok(all(&plain, 17.0)? && all(&gelu, 17.0)? && all(&added, 34.0)?)
    }

    /// `[output, input]` as oneDNN wants it; takes as much memory again.
    pub(super) fn pack(&self, weight: &Tensor) -> Result<Tensor, TchError> {
        self.module.method_ts("pack", &[weight])
    }

    /// `xs W^T + b`.
    pub(super) fn linear(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
    ) -> Result<Tensor, TchError> {
        self.module.method_ts("linear", &[xs, weight, bias])
    }

    /// GELU, with the error function, of `xs W^T + b`.
    pub(super) fn linear_gelu(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
    ) -> Result<Tensor, TchError> {
        self.module.method_ts("linear_gelu", &[xs, weight, bias])
    }

    /// `xs W^T + b + other`; `other` has the output's shape.
    pub(super) fn linear_add(
        &self,
        xs: &Tensor,
        weight: &Tensor,
        bias: &Tensor,
        other: &Tensor,
    ) -> Result<Tensor, TchError> {
        self.module
            .method_ts("linear_add", &[xs, weight, bias, other])
    }
}
