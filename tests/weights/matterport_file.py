"""Writes weight files as Keras 2 wrote Matterport's Mask R-CNN: names and layouts of its layers
(github.com/matterport/Mask_RCNN, mrcnn/model.py), any widths, random values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

DEPTHS = {"resnet50": (3, 4, 6, 3), "resnet101": (3, 4, 23, 3)}


def random_layers(
    num_classes: int,
    blocks: Sequence[int] = DEPTHS["resnet50"],
    width: int = 4,
    pyramid: int = 8,
    rpn: int = 6,
    fc: int = 10,
    anchors: int = 3,
    channels: int = 3,
    seed: int = 0,
) -> dict[str, dict[str, np.ndarray]]:
    """Weights by layer and word; `num_classes` with the background. Layers of `rpn_model` too."""
    rng = np.random.default_rng(seed)
    layers = _backbone(rng, blocks, width, channels)
    for i in range(2, 6):
        layers[f"fpn_c{i}p{i}"] = _conv(rng, 1, width * 2**i, pyramid)
        layers[f"fpn_p{i}"] = _conv(rng, 3, pyramid, pyramid, gain=0.15)
    layers["rpn_conv_shared"] = _conv(rng, 3, pyramid, rpn)
    layers["rpn_class_raw"] = _conv(rng, 1, rpn, 2 * anchors)
    layers["rpn_bbox_pred"] = _conv(rng, 1, rpn, 4 * anchors, gain=0.3)
    layers["mrcnn_class_conv1"] = _conv(rng, 7, pyramid, fc)
    layers["mrcnn_class_conv2"] = _conv(rng, 1, fc, fc)
    layers |= {f"mrcnn_class_bn{i}": _norm(rng, fc) for i in (1, 2)}
    layers["mrcnn_class_logits"] = _dense(rng, fc, num_classes, gain=3.0)
    layers["mrcnn_bbox_fc"] = _dense(rng, fc, 4 * num_classes)
    for i in range(1, 5):
        layers[f"mrcnn_mask_conv{i}"] = _conv(rng, 3, pyramid, pyramid)
        layers[f"mrcnn_mask_bn{i}"] = _norm(rng, pyramid)
    layers["mrcnn_mask_deconv"] = _conv(rng, 2, pyramid, pyramid)
    layers["mrcnn_mask"] = _conv(rng, 1, pyramid, num_classes)
    return layers


def write_file(
    path: Path,
    layers: Mapping[str, Mapping[str, np.ndarray]],
    whole_model: bool = False,
    suffix: str = "",
    chunks: int = 1,
) -> Path:
    """Writes `save_weights`' layout, or `save`'s: below "model_weights", the optimizer beside it.

    Args:
        path: The .h5.
        layers: Of `random_layers`.
        whole_model: As `model.save` does.
        suffix: What Keras appends to the nested layers' names when it builds them a second time.
        chunks: Into how many attributes the list of layers is cut, as Keras does with long ones.
    """
    nested = [name for name in layers if name.startswith("rpn_")]
    plain = [name for name in layers if name not in nested]
    names = ["input_image", *plain, "rpn_model", "ROI"]  # some layers have no weights
    with h5py.File(path, "w") as file:
        group = file.create_group("model_weights") if whole_model else file
        if whole_model:
            file.create_group("optimizer_weights")
        parts = np.array_split(np.array(names, "S"), chunks)
        for i, part in enumerate(parts):
            group.attrs[f"layer_names{i}" if chunks > 1 else "layer_names"] = list(part)
        group.attrs["backend"] = b"tensorflow"
        for name in names:
            one = group.create_group(name)
            members = nested if name == "rpn_model" else [name] if name in layers else []
            added = suffix if name == "rpn_model" else ""
            paths = [f"{m}{added}/{word}:0" for m in members for word in layers[m]]
            one.attrs["weight_names"] = np.array(paths, "S") if paths else np.zeros(0, "S1")
            for member in members:
                for word, array in layers[member].items():
                    one.create_dataset(f"{member}{added}/{word}:0", data=array)
    return path


def _backbone(rng, blocks, width, channels):
    pixels = 1 / 64  # their size, about
    layers = {"conv1": _conv(rng, 7, channels, width, pixels), "bn_conv1": _norm(rng, width)}
    before = width
    for stage, count in enumerate(blocks, start=2):
        inner = width * 2 ** (stage - 2)
        for block in range(count):
            name = f"{stage}{chr(ord('a') + block)}_branch"
            shapes = {
                "2a": (1, before, inner),
                "2b": (3, inner, inner),
                "2c": (1, inner, 4 * inner),
            }
            if block == 0:
                shapes["1"] = (1, before, 4 * inner)
            for branch, (kernel, first, last) in shapes.items():
                layers[f"res{name}{branch}"] = _conv(rng, kernel, first, last)
                layers[f"bn{name}{branch}"] = _norm(rng, last, 0.2 if branch == "2c" else 1.0)
            before = 4 * inner
    return layers


def _conv(rng, kernel, before, after, gain=1.0):
    scale = gain * np.sqrt(2.0 / (kernel * kernel * before))
    return {
        "kernel": np.float32(rng.normal(0, scale, (kernel, kernel, before, after))),
        "bias": np.float32(rng.normal(0, 0.1, after)),
    }


def _dense(rng, before, after, gain=1.0):
    return {
        "kernel": np.float32(rng.normal(0, gain / np.sqrt(before), (before, after))),
        "bias": np.float32(rng.normal(0, 0.1, after)),
    }


def _norm(rng, channels, gain=1.0):
    return {
        "gamma": np.float32(gain * rng.uniform(0.7, 1.3, channels)),
        "beta": np.float32(rng.normal(0, 0.1, channels)),
        "moving_mean": np.float32(rng.normal(0, 0.2, channels)),
        "moving_variance": np.float32(rng.uniform(0.5, 1.5, channels)),
    }
