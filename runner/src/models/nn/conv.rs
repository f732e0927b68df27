//! A convolution whose weights include the batch normalisation that follows it.
//!
//! In evaluation a batch normalisation (Ioffe and Szegedy 2015) multiplies each channel by a factor and adds
//! an offset. Multiplied into the convolution's weights, it costs nothing. Activations and weights are
//! channels-last, the layout that oneDNN and cuDNN compute fastest.

use super::onednn::{self, Steps};
use crate::weights::{Placement, Scope, WeightsError, short_lived};
use tch::{Kind, TchError, Tensor};

/// Added to the variance. It is torch's default, which no configuration changes, and the constant of DETR's
/// frozen normalisation.
const EPS: f64 = 1e-5;

/// Settings of a square convolution. Padding keeps the size at stride 1.
#[derive(Clone, Copy, Debug)]
pub struct ConvShape {
    /// Number of input channels.
    pub input: i64,
    /// Number of output channels.
    pub output: i64,
    /// Side of the kernel in pixels, an odd number.
    pub kernel: i64,
    /// Distance in pixels between two applications of the kernel.
    pub stride: i64,
    /// Distance between two pixels of the kernel; 1 means that they are adjacent.
    pub dilation: i64,
}

#[derive(Debug)]
pub struct FoldedConv {
    weight: Tensor,
    bias: Tensor,
    kernel: i64,
    steps: Steps,
    by_onednn: bool,
}

impl FoldedConv {
    /// Loads the `weight` of `convolution`, which has no bias, and multiplies the `weight`, `bias`,
    /// `running_mean` and `running_var` of `normalization` into it, each `[output]`. Both names are relative
    /// to `weights`. If all inputs have the same `size` (height, width), the weights are packed for it;
    /// inputs of other sizes then take much longer.
    pub fn new(
        shape: ConvShape,
        size: Option<[i64; 2]>,
        [convolution, normalization]: &[String; 2],
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let ConvShape {
            input,
            output,
            kernel,
            stride,
            dilation,
        } = shape;
        let steps = Steps {
            stride,
            padding: dilation * (kernel / 2),
            dilation,
        };
        let weight = weights
            .at(convolution)
            .short_lived("weight", &[output, input, kernel, kernel])?;
        let normalization = weights.at(normalization);
        let channels = |name| normalization.tensor(name, &[output]);
        let [factor, offset, mean, variance] = [
            channels("weight")?,
            channels("bias")?,
            channels("running_mean")?,
            channels("running_var")?,
        ];
        let by_onednn = onednn::takes(&weight);
        let size = size.filter(|_| by_onednn);
        let made = || {
            let (weight, bias) = fold(
                &weight,
                [&factor, &offset, &mean, &variance],
                size.is_some(),
            )?;
            let weight = match size {
                Some([height, width]) => onednn::pack(&weight, steps, [1, input, height, width])?,
                None => weight,
            };
            Ok((weight, bias))
        };
        let (weight, bias) = made().map_err(|source| WeightsError::Device {
            name: convolution.clone(),
            source,
        })?;
        Ok(Self {
            weight,
            bias,
            kernel,
            steps,
            by_onednn,
        })
    }

    /// The output's size for an input of this height and width.
    pub fn output_size(&self, input: [i64; 2]) -> [i64; 2] {
        let Steps {
            stride,
            padding,
            dilation,
        } = self.steps;
        let reach = dilation * (self.kernel - 1) + 1;
        input.map(|side| (side + 2 * padding - reach) / stride + 1)
    }

    /// `[batch, input, height, width]` to `[batch, output, ..]`, followed by `max(x, 0)` if `relu`.
    pub fn forward(&self, xs: &Tensor, relu: bool) -> Result<Tensor, TchError> {
        if self.by_onednn {
            return onednn::conv(xs, &self.weight, &self.bias, self.steps, relu);
        }
        let mut xs = self.plain(xs)?;
        if relu { xs.f_relu_() } else { Ok(xs) }
    }

    /// `relu(forward(xs) + residual)`.
    pub fn forward_add_relu(&self, xs: &Tensor, residual: &Tensor) -> Result<Tensor, TchError> {
        if self.by_onednn {
            return onednn::conv_add_relu(xs, residual, &self.weight, &self.bias, self.steps);
        }
        self.plain(xs)?.f_add_(residual)?.f_relu_()
    }

    fn plain(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        let Steps {
            stride,
            padding,
            dilation,
        } = self.steps;
        let (stride, padding, dilation) = ([stride; 2], [padding; 2], [dilation; 2]);
        xs.f_conv2d(&self.weight, Some(&self.bias), stride, padding, dilation, 1)
    }
}

/// Computes the convolution's weights, channels-last, and its bias from the file's tensors, in 32 bits
/// whatever the model's type is. `to_be_packed`: the caller frees the weights soon.
fn fold(
    weight: &Tensor,
    [factor, offset, mean, variance]: [&Tensor; 4],
    to_be_packed: bool,
) -> Result<(Tensor, Tensor), TchError> {
    let (kind, device) = (weight.kind(), weight.device());
    let float = |tensor: &Tensor| tensor.f_to_kind(Kind::Float);
    let scale = float(variance)?
        .f_add_scalar(EPS)?
        .f_rsqrt()?
        .f_mul(&float(factor)?)?;
    let bias = float(offset)?.f_sub(&float(mean)?.f_mul(&scale)?)?;
    let (output, input, height, width) = weight.size4()?;
    let size = [output, height, width, input];
    let channels_last = if to_be_packed {
        short_lived(&size, Placement { device, kind })?
    } else {
        Tensor::f_empty(size, (kind, device))?
    };
    let channels_last = channels_last.f_permute([0, 3, 1, 2])?;
    let scale = scale.f_reshape([-1, 1, 1, 1])?;
    Ok((
        weight.f_mul_out(&channels_last, &scale)?,
        bias.f_to_kind(kind)?,
    ))
}
