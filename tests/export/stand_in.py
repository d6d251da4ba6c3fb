"""A format that runs in this process: fast, and errors can be planted in what it returns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from kmrcnn.export.formats import FORMATS, Format
from kmrcnn.export.lowered_model import lowered_model
from kmrcnn.export.serving_module import ServingModule
from kmrcnn.structures.lowering import Lowering

NAME = "stand_in"
LOWERING = Lowering("crop_and_resize", "combined")
_twins: dict[str, Callable] = {}  # by the content of the artefact's only file
planted: list[Callable] = []  # what happens to outputs before they are returned
during_write: list[Callable] = []  # what happens in the middle of writing


def register(monkeypatch) -> None:
    """For the time of a test or a module."""
    precisions = ("float32", "float16", "int8")
    monkeypatch.setitem(FORMATS, NAME, Format(__name__, precisions, fixed_size=True))


def write(model, folder: Path, options) -> dict:
    key = f"twin {len(_twins)}"
    _twins[key] = _traced_once(model, **options.detection_changes())
    (folder / "first_half").write_text(key)
    for happens in during_write:
        happens()
    (folder / "model.txt").write_text(key)
    return {"image_size": list(options.image_size), "batch_size": options.batch_size or 1}


@functools.lru_cache
def _traced_once(model, **changes) -> Callable:
    """The same function for all artefacts of a model and its options."""
    return tf.function(ServingModule(lowered_model(model, LOWERING, **changes)).detect)


def open_artefact(folder: Path, metadata: dict) -> Callable:
    detect = _twins[(folder / "model.txt").read_text()]

    def run(images: np.ndarray, image_sizes: np.ndarray) -> dict[str, np.ndarray]:
        assert images.shape[:3] == (metadata["batch_size"], *metadata["image_size"])
        assert images.dtype == np.float32 and image_sizes.dtype == np.int32
        found = detect(tf.constant(images), tf.constant(image_sizes))
        outputs = {name: value.numpy() for name, value in found.items()}
        for error in planted:
            outputs = error(outputs)
        return outputs

    return run
