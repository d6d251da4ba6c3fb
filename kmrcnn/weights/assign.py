"""Putting a weight file into a model: `load_weights`."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.config.schema import ModelConfig
from kmrcnn.weights.adapt import (
    STEM_KERNEL,
    adapt_stem,
    class_axis,
    shared_classes,
    transfer_classes,
    with_classes,
)
from kmrcnn.weights.canonical import canonical_weights
from kmrcnn.weights.name_map import Source, convert, find_keys
from kmrcnn.weights.native import NATIVE
from kmrcnn.weights.sources import find_source
from kmrcnn.weights.tensor_file import file_kind, read_tensors

_SHOWN = 20  # entries of a list in a printed report
_CLASS_BIAS = "roi_heads/box/class_logits/bias"


@dataclass
class Report:
    """What became of a weight file, and of the model's weights."""

    path: str
    format: str  # a name of kmrcnn.weights.sources.SOURCES
    loaded: list[str] = field(default_factory=list)  # our names of weights taken as they are
    ignored: list[str] = field(default_factory=list)  # keys of the file that no weight needs
    reinitialised: list[str] = field(default_factory=list)  # weights that stay as initialised
    adapted: list[str] = field(default_factory=list)  # weights taken in part or changed, and how

    def __str__(self) -> str:
        lines = [f"{self.path} ({self.format}): {len(self.loaded)} weights loaded as they are"]
        alike = Counter(key.rpartition(".")[2] for key in self.ignored)
        ignored = [f"*.{word} ({n} times)" if n > 1 else word for word, n in alike.items()]
        for title, entries in (
            ("adapted", self.adapted),
            ("left at their fresh initialisation", self.reinitialised),
            ("in the file but not needed", ignored),
        ):
            if entries:
                lines += [f"{title}:", *(f"  {entry}" for entry in entries[:_SHOWN])]
            if len(entries) > _SHOWN:
                lines.append(f"  ... and {len(entries) - _SHOWN} more")
        return "\n".join(lines)


def load_weights(
    model: Any,
    path: str | Path,
    *,
    format: str | None = None,
    class_names: Sequence[str] | None = None,
) -> Report:
    """Loads a published or own weight file into a model.

    The file may be a PyTorch .pth with torchvision's or Detectron2's names, a Detectron2 .pkl, an
    .h5 of Matterport's Mask R-CNN, an .npz of our names, a .keras model or a .weights.h5 file;
    which it is, its content says. A .pth of torchvision's ResNets for ImageNet gives the backbone
    only.

    If the file is of other classes than the model, the layers with outputs per class (class logits,
    box deltas, mask logits) stay freshly initialised, except that with class names on both sides
    the classes of the same name and the background are kept. A file for three-channel images also
    fits models of one or more channels (see `kmrcnn.weights.adapt.adapt_stem`).

    Args:
        model: From `build_model`; `model.config` is its ModelConfig.
        path: The file.
        format: "torchvision", "detectron2", "matterport", "imagenet" or "native"; None tells it
            from the names in the file.
        class_names: Names of the file's classes, in order. None: those a .keras file says, else
            unknown, and equal numbers of classes are taken for equal classes.

    Returns:
        What was loaded, adapted, left alone and ignored.

    Raises:
        ValueError: The file is damaged or refused, or does not fit; the message names both sides.
            The model is unchanged then (but for .weights.h5, which Keras reads).
        FileNotFoundError: There is no such file.

    Example:
        >>> print(load_weights(model, "maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth"))
    """
    path = Path(path)
    kind = file_kind(path)
    config: ModelConfig = model.config
    class_names = None if class_names is None else tuple(class_names)
    if kind == "keras_weights" and class_names in (None, config.class_names):
        return _load_keras_weights(model, path)
    if kind in ("keras_weights", "keras_model"):
        donor = _donor(kind, path, config, class_names)
        class_names = class_names or getattr(donor, "config", config).class_names
        tensors = {name: np.asarray(v) for name, v in canonical_weights(donor).items()}
        source = NATIVE
    else:
        tensors = read_tensors(path)
        source = find_source(tensors, format)
    try:
        return load_tensors(model, tensors, source, class_names, str(path))
    except ValueError as error:
        raise ValueError(f"{str(path)!r} was not loaded. {error}") from error


def load_tensors(
    model: Any,
    tensors: Mapping[str, np.ndarray],
    source: Source,
    class_names: Sequence[str] | None = None,
    path: str = "given tensors",
) -> Report:
    """Puts the tensors of a file into a model; see `load_weights`.

    Args:
        model: From `build_model`.
        tensors: The file's keys and arrays, in the source's layouts.
        source: Whose names they are.
        class_names: Names of the file's classes, in order, if known.
        path: What the report calls them.
    """
    config: ModelConfig = model.config
    tensors = source.prepare(tensors)
    variables = canonical_weights(model)
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    num_classes = _num_classes(tensors, config, source, class_names)
    in_file = with_classes(shapes, num_classes, config)
    channels = _num_channels(tensors, config, source)
    if STEM_KERNEL in shapes and channels is not None:
        kernel = shapes[STEM_KERNEL]
        in_file[STEM_KERNEL] = (*kernel[:2], channels, kernel[3])
    fresh = [n for n in in_file if source.partial and find_keys(n, config, source)[0] is None]
    for name in fresh:
        del in_file[name]
    converted = convert(tensors, in_file, config, source)
    report = Report(path, source.name, ignored=converted.ignored, reinitialised=fresh)
    report.adapted += [f"{name}: not in the file, set to the identity" for name in converted.filled]
    arrays = dict(converted.arrays)
    _fit_classes(arrays, variables, class_names, num_classes, config, report)
    _fit_stem(arrays, shapes, report)
    changed = {entry.partition(":")[0] for entry in report.adapted}
    report.loaded = [name for name in arrays if name not in changed]
    for name, array in arrays.items():
        variables[name].assign(array)
    return report


def _num_classes(
    tensors: Mapping[str, np.ndarray],
    config: ModelConfig,
    source: Source,
    class_names: tuple[str, ...] | None,
) -> int:
    """Foreground classes of the file, from the bias of its class logits."""
    bias = _find(tensors, _CLASS_BIAS, config, source)
    num_classes = config.num_classes if bias is None else len(bias) - 1
    if class_names is not None and len(class_names) != num_classes:
        raise ValueError(
            f"`class_names` must name the {num_classes} classes of the file. Received "
            f"{len(class_names)} names."
        )
    return num_classes


def _num_channels(
    tensors: Mapping[str, np.ndarray], config: ModelConfig, source: Source
) -> int | None:
    """Image channels the file's stem expects."""
    kernel = _find(tensors, STEM_KERNEL, config, source)
    if kernel is None or kernel.ndim != 4:
        return None
    return kernel.shape[source.input_axis]


def _find(
    tensors: Mapping[str, np.ndarray], name: str, config: ModelConfig, source: Source
) -> np.ndarray | None:
    _, keys = find_keys(name, config, source)
    return next((tensors[key] for key in keys if key in tensors), None)


def _fit_classes(
    arrays: dict[str, np.ndarray],
    variables: Mapping[str, Any],
    class_names: tuple[str, ...] | None,
    num_classes: int,
    config: ModelConfig,
    report: Report,
) -> None:
    """Brings the layers with outputs per class to the model's classes, or drops them."""
    both_named = class_names is not None and config.class_names is not None
    if both_named and class_names == config.class_names:
        return
    if not both_named and num_classes == config.num_classes:
        return
    pairs = shared_classes(class_names, config.class_names) if both_named else []
    for name in [name for name in arrays if class_axis(name, config)]:
        if not pairs:
            del arrays[name]
            report.reinitialised.append(name)
            continue
        fresh = np.asarray(variables[name], np.float32)
        arrays[name] = transfer_classes(arrays[name], fresh, pairs, class_axis(name, config))
        report.adapted.append(
            f"{name}: {len(pairs)} of {config.num_classes} classes kept by name, "
            f"{config.num_classes - len(pairs)} fresh"
        )


def _fit_stem(
    arrays: dict[str, np.ndarray], shapes: Mapping[str, tuple[int, ...]], report: Report
) -> None:
    """Brings the stem to the model's image channels."""
    if STEM_KERNEL not in arrays:
        return
    before, after = arrays[STEM_KERNEL].shape[2], shapes[STEM_KERNEL][2]
    if before != after:
        arrays[STEM_KERNEL], how = adapt_stem(arrays[STEM_KERNEL], after)
        report.adapted.append(f"{STEM_KERNEL}: from {before} to {after} image channels ({how})")


def _load_keras_weights(model: Any, path: Path) -> Report:
    """A .weights.h5 file of the same architecture and classes."""
    try:
        model.load_weights(path)
    except (ValueError, KeyError, OSError) as error:
        raise ValueError(
            f"{str(path)!r} was not loaded: it is damaged or of another model. A file of other "
            f"classes needs `class_names`, or can be given as .keras. Keras says: {error}"
        ) from error
    return Report(str(path), NATIVE.name, loaded=list(canonical_weights(model)))


def _donor(kind: str, path: Path, config: ModelConfig, class_names: tuple[str, ...] | None) -> Any:
    """The model a Keras file was saved from, with its weights."""
    from kmrcnn.models.build import build_model  # registers what .keras files name

    if kind == "keras_model":
        import keras

        return keras.models.load_model(path, compile=False)
    config = dataclasses.replace(
        config, num_classes=len(class_names), class_names=class_names, category_ids=None
    )
    donor = build_model(config)
    _load_keras_weights(donor, path)
    return donor
