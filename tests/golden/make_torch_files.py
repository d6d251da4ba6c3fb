"""Makes torch_zip.pth and torch_legacy.pth, the samples of tests/weights/test_torch_file.py.

Run with an environment that has PyTorch (made with 2.13.0): python make_torch_files.py
"""

from collections import OrderedDict
from pathlib import Path

import torch


def sample():
    base = torch.arange(24.0).reshape(4, 6)
    tensors = OrderedDict(
        plain=base,
        strided=base[1:3, ::2],  # shares the storage of `plain`, with an offset and strides
        transposed=base.t(),
        expanded=torch.tensor([[1.0, 2.0]]).expand(3, 2),
        scalar=torch.tensor(3.5),
        empty=torch.empty(0, 3),
        half=torch.tensor([0.5, -2.0]).half(),
        bfloat16=torch.tensor([1.5, -3.0, 2.0**100]).bfloat16(),
        double=torch.tensor([0.1], dtype=torch.float64),
        int64=torch.tensor([-1, 2**40]),
        int32=torch.tensor([-7], dtype=torch.int32),
        int16=torch.tensor([-300], dtype=torch.int16),
        int8=torch.tensor([-5], dtype=torch.int8),
        uint8=torch.tensor([200], dtype=torch.uint8),
        uint16=torch.tensor([60000], dtype=torch.uint16),
        bool=torch.tensor([True, False]),
        complex=torch.tensor([1 + 2j]),
        parameter=torch.nn.Parameter(torch.tensor([4.0, 5.0])),
    )
    return {
        "model": tensors,
        "epoch": 3,
        "nested": [1, (2.5, "text"), {"size": torch.Size([1, 2]), "none": None, "set": {1}}],
    }


if __name__ == "__main__":
    folder = Path(__file__).resolve().parent
    torch.save(sample(), folder / "torch_zip.pth")
    torch.save(sample(), folder / "torch_legacy.pth", _use_new_zipfile_serialization=False)
