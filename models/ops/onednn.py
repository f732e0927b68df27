"""oneDNN's fused operators as a TorchScript module: libtorch registers them for its own compiler, and gives them no
place in the tensor API that the runner's binding covers. The runner embeds the archive.

    python -m models.ops.onednn --out runner/src/models/nn/onednn.pt
"""

import argparse
import io
import zipfile
from pathlib import Path

import torch


class OneDnn(torch.nn.Module):
    """Each method is one operator; tensors are floats on the CPU, pictures channels-last."""

    @torch.jit.export
    def conv(
        self,
        xs: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        stride: int,
        padding: int,
        dilation: int,
        activation: str,
    ) -> torch.Tensor:
        """activation(conv2d(xs))"""
        return torch.ops.mkldnn._convolution_pointwise(
            xs, weight, bias, [padding, padding], [stride, stride], [dilation, dilation], 1, activation, [], ""
        )

    @torch.jit.export
    def conv_add_relu(
        self,
        xs: torch.Tensor,
        residual: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor,
        stride: int,
        padding: int,
        dilation: int,
    ) -> torch.Tensor:
        """relu(conv2d(xs) + residual)"""
        return torch.ops.mkldnn._convolution_pointwise(
            xs,
            residual,
            weight,
            bias,
            [padding, padding],
            [stride, stride],
            [dilation, dilation],
            1,
            "add",
            1.0,
            "relu",
            [],
            None,
        )

    @torch.jit.export
    def pack_conv(
        self, weight: torch.Tensor, stride: int, padding: int, dilation: int, input_size: list[int]
    ) -> torch.Tensor:
        """`weight` in the layout that oneDNN prefers for inputs of `input_size` (batch, channels, height, width)."""
        return torch.ops.mkldnn._reorder_convolution_weight(
            weight, [padding, padding], [stride, stride], [dilation, dilation], 1, input_size
        )

    @torch.jit.export
    def linear(
        self, xs: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, activation: str, algorithm: str
    ) -> torch.Tensor:
        """activation(xs weight^T + bias)"""
        return torch.ops.mkldnn._linear_pointwise(xs, weight, bias, activation, [], algorithm)

    @torch.jit.export
    def linear_add(
        self, xs: torch.Tensor, residual: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        """xs weight^T + bias + residual"""
        return torch.ops.mkldnn._linear_pointwise(xs, residual, weight, bias, "add")

    @torch.jit.export
    def pack_linear(self, weight: torch.Tensor, rows: int) -> torch.Tensor:
        """`weight` in the layout that oneDNN prefers for so many rows."""
        return torch.ops.mkldnn._reorder_linear_weight(weight, rows)


def archive() -> bytes:
    """What `torch.jit.save` writes, without its debug tables: those hold the paths of the machine it ran on."""
    saved = io.BytesIO()
    torch.jit.save(torch.jit.script(OneDnn()), saved)
    kept = io.BytesIO()
    with zipfile.ZipFile(saved) as whole, zipfile.ZipFile(kept, "w", zipfile.ZIP_STORED) as lean:
        for name in sorted(whole.namelist()):
            path = name.split("/", 1)[1]
            if path in ("data.pkl", "constants.pkl", "code/__torch__.py", "version", "byteorder"):
                # A fixed time, so that the same code makes the same bytes.
                lean.writestr(zipfile.ZipInfo(f"onednn/{path}"), whole.read(name))
    return kept.getvalue()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    args.out.write_bytes(archive())


if __name__ == "__main__":
    main()
