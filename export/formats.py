"""The formats: what each can do, and where its code is."""

from __future__ import annotations

import importlib
from dataclasses import dataclass


@dataclass(frozen=True)
class Format:
    """One runtime's kind of file.

    Attributes:
        module: Has `write(model, folder, options) -> dict`, which fills an empty folder and returns
            what metadata.json says beyond the common part, and `open_artefact(folder, metadata) ->
            run`, where run(images (B, H, W, C) float32 RGB 0-255 zero padded, image_sizes (B, 2)
            int32) gives the outputs of `ServingModule.detect` as NumPy arrays.
        precisions: What `precision` can be.
        fixed_size: Whether `image_size` is fixed in the file.
    """

    module: str
    precisions: tuple[str, ...]
    fixed_size: bool

    def load(self):
        """The module."""
        return importlib.import_module(self.module)


FORMATS = {
    "saved_model": Format("kmrcnn.export.saved_model", ("float32",), fixed_size=False),
    "onnx": Format("kmrcnn.export.onnx", ("float32", "float16"), fixed_size=True),
    "tensorrt": Format("kmrcnn.export.tensorrt", ("float32", "float16", "int8"), fixed_size=True),
    "tflite": Format(
        "kmrcnn.export.tflite", ("float32", "float16", "dynamic_int8", "int8"), fixed_size=True
    ),
}
