"""Writes small files as `torch.save` makes them, and what is in them, for the runner's reader of pytorch_model.bin.

    python -m models.parity.pytorch_files --out runner/tests/golden/pytorch
"""

import argparse
from collections import OrderedDict
from pathlib import Path

import numpy
import torch
from safetensors.torch import save_file


def state_dict() -> OrderedDict:
    """One tensor of each kind that a checkpoint may have."""
    torch.manual_seed(0)
    model = torch.nn.Sequential(OrderedDict(linear=torch.nn.Linear(3, 4), norm=torch.nn.BatchNorm2d(4)))
    tensors = model.state_dict()  # an OrderedDict with _metadata and an int64 buffer, num_batches_tracked
    base = torch.randn(6, 4)
    tensors["shared.whole"] = base
    tensors["shared.tied"] = base
    tensors["shared.row"] = base[2]
    tensors["shared.rows"] = base[1:4]
    tensors["shared.columns"] = base[:, 1:3]
    tensors["shared.transposed"] = base.T
    tensors["shared.every_other"] = base[::2, ::2]
    tensors["expanded"] = torch.randn(1, 3).expand(5, 3)
    tensors["channels_last"] = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    tensors["half"] = torch.randn(7).half()
    tensors["bfloat16"] = torch.randn(7).bfloat16()
    tensors["scalar"] = torch.tensor(2.5)
    tensors["empty"] = torch.zeros(0, 3)
    tensors["parameter"] = torch.nn.Parameter(torch.randn(2, 2))
    tensors["position_ids"] = torch.arange(5).expand(1, -1)
    tensors["mask"] = torch.tensor([True, False])
    tensors["double"] = torch.randn(2).double()
    return tensors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    tensors = state_dict()
    torch.save(tensors, out / "state_dict.bin")
    torch.save(dict(tensors), out / "protocol_5.bin", pickle_protocol=5)
    torch.save(tensors, out / "legacy.bin", _use_new_zipfile_serialization=False)
    torch.save({"state_dict": {"weight": torch.ones(2)}, "epoch": 3}, out / "nested.bin")
    torch.save({"weight": torch.ones(2), "loss": numpy.float64(0.5)}, out / "training.bin")
    torch.save(torch.nn.Linear(2, 2), out / "module.bin")
    floats = {name: tensor for name, tensor in tensors.items() if tensor.is_floating_point()}
    floats = {name: tensor.detach().clone().contiguous() for name, tensor in floats.items()}
    save_file(floats, out / "expected.safetensors")


if __name__ == "__main__":
    main()
