"""metadata.json: what a client of an artefact has to know."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import keras
import numpy as np

import kmrcnn
from kmrcnn.config.schema import ModelConfig
from kmrcnn.data.files import written_aside
from kmrcnn.weights.canonical import canonical_weights

FILE_NAME = "metadata.json"


def describe(model: Any, config: ModelConfig, format: str, precision: str) -> dict[str, Any]:
    """What is the same for every format.

    Args:
        model: The Keras model that is exported.
        config: Its configuration with the thresholds of the export.
        format: Name of the format.
        precision: Of the artefact.
    """
    names = config.class_names or [str(index) for index in range(config.num_classes)]
    return {
        "format": format,
        "precision": precision,
        "kmrcnn_version": kmrcnn.__version__,
        "model": model.name,
        "weights_sha256": weights_sha256(model),
        "classes": list(names),
        "category_ids": None if config.category_ids is None else list(config.category_ids),
        "preprocessing": {
            "channel_order": "rgb",
            "range": [0, 255],
            "normalised_in_graph": True,
            "resize": config.input.resize,
            "short_side": config.input.short_side,
            "long_side": config.input.long_side,
            "size_rounding": config.input.size_rounding,
            "pad_multiple": config.input.pad_multiple,
            "padding": "zeros below and on the right",
        },
        "score_threshold": config.box.score_threshold,
        "nms_threshold": config.box.nms_threshold,
        "max_detections": config.box.max_detections,
        "mask": None
        if config.mask is None
        else {"threshold": config.mask.threshold, "paste": config.mask.paste},
        "config": config.to_dict(),
    }


def weights_sha256(model: Any) -> str:
    """Of `canonical_weights`' names, shapes and float32 values, by the order of the names."""
    digest = hashlib.sha256()
    for name, weight in sorted(canonical_weights(model).items()):
        digest.update(f"{name}{tuple(weight.shape)}".encode())
        values = keras.ops.convert_to_numpy(weight).astype(np.float32)
        digest.update(np.ascontiguousarray(values).tobytes())
    return digest.hexdigest()


def write(folder: Path, metadata: dict[str, Any]) -> None:
    """Writes metadata.json, with the sizes of the files beside it."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    sizes.pop(FILE_NAME, None)
    with written_aside(folder / FILE_NAME) as aside:
        aside.write_text(json.dumps(metadata | {"files": sizes}, indent=2) + "\n")


def read(folder: str | Path) -> dict[str, Any]:
    """The metadata of an artefact.

    Raises:
        FileNotFoundError: The folder has none.
        ValueError: The file is damaged.
    """
    path = Path(folder) / FILE_NAME
    if not path.is_file():
        raise FileNotFoundError(f"{str(folder)!r} is no exported model: it has no {FILE_NAME}.")
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"{str(path)!r} is damaged: {error}") from error
    if not isinstance(content, dict) or "format" not in content:
        raise ValueError(f"{str(path)!r} is damaged: it does not name a format.")
    return content
