//! A residual network (He et al. 2015, <https://arxiv.org/abs/1512.03385>) up to its feature map:
//! a wide convolution and a pooling, then stages of blocks, each added to its own input.

use super::config::{LayerType, REDUCTION, ResNetConfig};
use super::names::{Names, Naming};
use crate::models::nn::{Activation, ConvShape, FoldedConv};
use crate::weights::{Scope, WeightsError};
use tch::{TchError, Tensor};

/// Sides of the first convolution's kernel and of the pooling's window, in pixels.
const STEM_KERNEL: i64 = 7;
const POOL_KERNEL: i64 = 3;

/// The last stage's dilation where it does not halve its input (DETR's DC5 models).
const DILATION: i64 = 2;

/// Convolutions whose output is added to the input, which goes through one of its own where the
/// sizes differ.
#[derive(Debug)]
struct Block {
    inner: Vec<FoldedConv>,
    last: FoldedConv,
    shortcut: Option<FoldedConv>,
    activation: Activation,
}

/// What differs between the blocks of a network.
#[derive(Clone, Copy)]
struct BlockShape {
    input: i64,
    output: i64,
    stride: i64,
    /// Of the convolutions of 3 x 3: a bottleneck's only one, or a basic block's two.
    dilations: [i64; 2],
    /// Height and width of the input, where it always is the same.
    size: Option<[i64; 2]>,
}

impl Block {
    fn new(
        config: &ResNetConfig,
        shape: BlockShape,
        names: impl Fn(usize) -> Names,
        shortcut_names: &Names,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let BlockShape {
            input,
            output,
            stride,
            dilations: [first_dilation, dilation],
            size,
        } = shape;
        let conv = |input, output, kernel, stride, dilation| ConvShape {
            input,
            output,
            kernel,
            stride,
            dilation,
        };
        let (inner_shapes, last_shape) = match config.layer_type {
            LayerType::Basic => (
                vec![conv(input, output, 3, stride, first_dilation)],
                conv(output, output, 3, 1, dilation),
            ),
            LayerType::Bottleneck => {
                let reduced = output / REDUCTION;
                let (early, late) = if config.downsample_in_bottleneck {
                    (stride, 1)
                } else {
                    (1, stride)
                };
                (
                    vec![
                        conv(input, reduced, 1, early, 1),
                        conv(reduced, reduced, 3, late, first_dilation),
                    ],
                    conv(reduced, output, 1, 1, 1),
                )
            }
        };
        let mut inner = Vec::new();
        let mut inner_size = size;
        for shape in inner_shapes {
            let conv = FoldedConv::new(shape, inner_size, &names(inner.len()), weights)?;
            inner_size = inner_size.map(|size| conv.output_size(size));
            inner.push(conv);
        }
        let last = FoldedConv::new(last_shape, inner_size, &names(inner.len()), weights)?;
        let shortcut = (input != output || stride != 1)
            .then(|| {
                let shape = conv(input, output, 1, stride, 1);
                FoldedConv::new(shape, size, shortcut_names, weights)
            })
            .transpose()?;
        Ok(Self {
            inner,
            last,
            shortcut,
            activation: config.hidden_act,
        })
    }

    fn forward(&self, xs: &Tensor) -> Result<Tensor, TchError> {
        let around = match &self.shortcut {
            Some(shortcut) => shortcut.forward(xs, false)?,
            None => xs.shallow_clone(),
        };
        let mut xs = xs.shallow_clone();
        for conv in &self.inner {
            xs = conv.forward(&xs, true)?;
        }
        if self.activation == Activation::Relu {
            return self.last.forward_add_relu(&xs, &around);
        }
        let sum = self.last.forward(&xs, false)?.f_add_(&around)?;
        self.activation.forward(&sum)
    }

    /// The size of what it gives for an input of this height and width.
    fn output_size(&self, input: [i64; 2]) -> [i64; 2] {
        (self.inner.iter().chain([&self.last])).fold(input, |size, conv| conv.output_size(size))
    }
}

#[derive(Debug)]
pub struct Backbone {
    stem: FoldedConv,
    activation: Activation,
    blocks: Vec<Block>,
}

impl Backbone {
    /// Loads from `weights`. `dilate_last`: the last stage keeps its input's size, and its
    /// convolutions reach as much further. `picture`: height and width where all pictures have the
    /// same, see [`FoldedConv::new`].
    pub fn new(
        config: &ResNetConfig,
        naming: Naming,
        dilate_last: bool,
        picture: Option<[i64; 2]>,
        weights: &Scope<'_>,
    ) -> Result<Self, WeightsError> {
        let shape = ConvShape {
            input: config.num_channels,
            output: config.embedding_size,
            kernel: STEM_KERNEL,
            stride: 2,
            dilation: 1,
        };
        let stem = FoldedConv::new(shape, picture, &naming.stem(), weights)?;
        // The pooling halves once more.
        let mut size = picture.map(|size| stem.output_size(size).map(|side| (side - 1) / 2 + 1));
        let mut blocks = Vec::new();
        let mut input = config.embedding_size;
        let last_stage = config.depths.len() - 1;
        for (stage, (&output, &depth)) in
            (config.hidden_sizes.iter().zip(&config.depths)).enumerate()
        {
            let dilated = dilate_last && stage == last_stage;
            for block in 0..usize::try_from(depth).unwrap_or_default() {
                let halves =
                    block == 0 && !dilated && (stage > 0 || config.downsample_in_first_stage);
                let dilation = if dilated { DILATION } else { 1 };
                let shape = BlockShape {
                    input,
                    output,
                    stride: if halves { 2 } else { 1 },
                    dilations: [if block == 0 { 1 } else { dilation }, dilation],
                    size,
                };
                let names = |index| naming.convolution(stage, block, index);
                let shortcut = naming.shortcut(stage, block);
                let block = Block::new(config, shape, names, &shortcut, weights)?;
                size = size.map(|size| block.output_size(size));
                blocks.push(block);
                input = output;
            }
        }
        Ok(Self {
            stem,
            activation: config.hidden_act,
            blocks,
        })
    }

    /// `pixel_values` `[batch, 3, height, width]` to the last stage's feature map
    /// `[batch, output_size, height / 32, width / 32]`, rounded up.
    pub fn forward(&self, pixel_values: &Tensor) -> Result<Tensor, TchError> {
        let mut xs = match self.activation {
            Activation::Relu => self.stem.forward(pixel_values, true)?,
            other => other.forward(&self.stem.forward(pixel_values, false)?)?,
        };
        xs = xs.f_max_pool2d(
            [POOL_KERNEL; 2],
            [2; 2],
            [POOL_KERNEL / 2; 2],
            [1; 2],
            false,
        )?;
        for block in &self.blocks {
            xs = block.forward(&xs)?;
        }
        Ok(xs)
    }
}
