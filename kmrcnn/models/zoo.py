"""From the name of a preset to a model with its published weights: `load_model`."""

from __future__ import annotations

import dataclasses
import importlib.resources
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kmrcnn.config.loader import list_presets, load_preset
from kmrcnn.config.schema import Checkpoint, ModelConfig, Preset
from kmrcnn.weights.adapt import adapt_statistics
from kmrcnn.weights.assign import Report, load_weights
from kmrcnn.weights.download import fetch

_LOG = logging.getLogger(__name__)

__all__ = [
    "checkpoint_path",
    "list_presets",
    "load_checkpoint",
    "load_model",
    "preset_config",
    "require_weights",
]


def load_model(
    preset: str | Path,
    weights: str | Path | None = None,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    image_channels: int = 3,
) -> Any:
    """Builds a preset's model, with weights if wanted.

    Args:
        preset: A name of `list_presets()`, a YAML file, or a .keras file saved by us, which is read
            as it is and takes no further argument.
        weights: None: as initialised. A key of the preset's checkpoints ("coco"): those weights,
            downloaded once. Else the path of a weight file.
        num_classes: Foreground classes; None: those of `class_names`, or else the preset's.
        class_names: Names of the foreground classes, in order. Classes that the published weights
            know by the same name keep what they learned.
        image_channels: Of the images. The stem's kernel and the input's mean and deviation are
            adapted to it (see `kmrcnn.weights.adapt`).

    Returns:
        A keras.Model with its ModelConfig as `model.config` and, where weights were loaded, what
        became of them as `model.weights_report`. Layers that had to be left at their fresh
        initialisation, or were adapted, are also logged as a warning.

    Raises:
        ValueError: Unknown preset or checkpoint, or weights that do not fit.
        OSError: The weights could not be downloaded.

    Example:
        >>> model = load_model("mask_rcnn_R_50_FPN_3x", weights="coco")
        >>> mine = load_model("mask_rcnn_R_50_FPN_3x", "coco", class_names=["person", "helmet"])
    """
    if str(preset).endswith(".keras"):
        given = {"weights": weights, "num_classes": num_classes, "class_names": class_names}
        given = [name for name, value in given.items() if value is not None]
        if given or image_channels != 3:
            raise ValueError(
                f"A .keras file brings its own weights, classes and channels. Received beside "
                f"{str(preset)!r}: {', '.join(given or ['image_channels'])}"
            )
        return _load_keras_model(preset)
    loaded = load_preset(preset)
    if weights is not None:
        require_weights(weights, loaded)  # before the model is built
    from kmrcnn.models.build import build_model

    config = preset_config(loaded, num_classes, class_names, image_channels)
    model = build_model(config, name=loaded.name)
    if weights is not None:
        model.weights_report = load_checkpoint(model, loaded, weights)
        if model.weights_report.reinitialised or model.weights_report.adapted:
            _LOG.warning("%s", model.weights_report)
    return model


def preset_config(
    preset: Preset,
    num_classes: int | None = None,
    class_names: Sequence[str] | None = None,
    image_channels: int = 3,
) -> ModelConfig:
    """A preset's model for other classes or image channels; arguments as for `load_model`."""
    config = preset.model
    if class_names is not None or num_classes not in (None, config.num_classes):
        names = None if class_names is None else tuple(class_names)
        if names is not None and num_classes not in (None, len(names)):
            raise ValueError(
                f"`class_names` must have `num_classes` entries. Received: {len(names)} names, "
                f"num_classes={num_classes}"
            )
        if names != config.class_names:
            config = dataclasses.replace(
                config,
                num_classes=num_classes if names is None else len(names),
                class_names=names,
                category_ids=None,
            )
    if image_channels != config.input.channels:
        if image_channels < 1:
            raise ValueError(f"`image_channels` must be at least 1. Received: {image_channels}")
        config = dataclasses.replace(
            config,
            input=dataclasses.replace(
                config.input,
                channels=image_channels,
                mean=adapt_statistics(config.input.mean, image_channels),
                std=adapt_statistics(config.input.std, image_channels),
            ),
        )
    return config


def load_checkpoint(model: Any, preset: Preset, weights: str | Path) -> Report:
    """Loads a checkpoint of a preset, or a weight file of one's own, into a model.

    Args:
        model: Built from the preset, perhaps for other classes or channels.
        preset: Says which classes its published weights have.
        weights: A key of `preset.checkpoints`, or a path.

    Returns:
        What was loaded; see `kmrcnn.weights.assign.load_weights`, which this calls.
    """
    checkpoint = preset.checkpoints.get(str(weights))
    if checkpoint is None:
        require_weights(weights, preset)
        return load_weights(model, weights)
    path = checkpoint_path(checkpoint)
    return load_weights(model, path, format=checkpoint.format, class_names=preset.model.class_names)


def require_weights(weights: str | Path, preset: Preset) -> None:
    """ValueError unless `weights` is a key of the preset's checkpoints or a file."""
    if str(weights) not in preset.checkpoints and not Path(weights).is_file():
        raise ValueError(
            f"`weights` must be a checkpoint of {preset.name!r} "
            f"({', '.join(map(repr, preset.checkpoints)) or 'it has none'}) or a file. "
            f"Received: {str(weights)!r}"
        )


def checkpoint_path(checkpoint: Checkpoint) -> Path:
    """Local file of a checkpoint: part of the package, or downloaded once and checked."""
    if checkpoint.file is not None:
        return Path(str(importlib.resources.files("kmrcnn.weights") / "files" / checkpoint.file))
    if checkpoint.url is None:
        raise ValueError(f"A checkpoint needs a `url` or a `file`. Received: {checkpoint}")
    return fetch(checkpoint.url, checkpoint.sha256, checkpoint.size, md5=checkpoint.md5)


def _load_keras_model(path: str | Path) -> Any:
    import keras

    import kmrcnn.models.build  # noqa: F401  # registers what the file names

    return keras.models.load_model(path)
