"""The way of an artefact that reads encoded pictures itself."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.config.schema import ModelConfig
from kmrcnn.postprocess.paste_masks import paste_masks
from kmrcnn.structures.detections import Detections

NAME = "serve_bytes"
_BEGINNINGS = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # of JPEG and PNG files


def open_bytes_signature(
    folder: Path, metadata: dict[str, Any], config: ModelConfig
) -> Callable[[bytes, tuple[int, int]], Detections] | None:
    """A function from a JPEG or PNG file and its (height, width) to `Detections`.

    Args:
        folder: The artefact.
        metadata: Its metadata.
        config: Of the model.

    Returns:
        The function; None for formats that take no files.
    """
    if metadata["format"] != "saved_model":
        return None
    import tensorflow as tf

    loaded = tf.saved_model.load(str(folder / str(metadata["version"])))
    if NAME not in loaded.signatures:
        return None
    pasted = metadata["paste_masks"]

    def detect(data: bytes, image_size: tuple[int, int]) -> Detections:
        # `loaded` is held, because a signature alone does not keep its variables alive
        found = loaded.signatures[NAME](image_bytes=tf.constant([data]))
        one = {name: value.numpy()[0] for name, value in found.items()}
        return _to_detections(one, image_size, config, pasted)

    return detect


def can_decode(data: bytes) -> bool:
    """Whether these bytes are of a kind that artefacts read."""
    return data.startswith(_BEGINNINGS)


def _to_detections(
    found: dict[str, np.ndarray], image_size: tuple[int, int], config: ModelConfig, pasted: bool
) -> Detections:
    count = int(found["num_detections"])
    one = {name: found[name][:count] for name in ("boxes", "scores", "classes")}
    masks = None
    if config.mask is not None:
        masks = found["masks"][:count]
        rule, threshold = config.mask.paste, config.mask.threshold
        if pasted:
            masks = masks.astype(bool)
        else:
            masks = paste_masks(masks, one["boxes"], image_size, rule, threshold)
    keypoints = found["keypoints"][:count] if "keypoints" in found else None
    return Detections(
        **one,
        masks=masks,
        keypoints=keypoints,
        image_size=image_size,
        class_names=config.class_names,
    )
