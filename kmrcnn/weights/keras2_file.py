"""Reads weight files of Keras 2 (HDF5, `save_weights` and `save`) without Keras 2.

A file is a group per layer; the attribute `layer_names` lists them, `weight_names` of a group the
datasets in it, such as "conv1/kernel:0". A nested model is one layer whose weights' names begin
with those of its own layers. A whole model keeps all this under "model_weights".
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.weights.restricted_unpickler import damage_named

_COPY = re.compile(r"_\d+$")  # what Keras adds to the names of a graph that is built a second time


def is_keras2_file(path: str | Path) -> bool:
    """Whether an HDF5 file has the layout of Keras 2; False if it cannot be read."""
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _weights_group(file) is not None
    except OSError:
        return False


def read_keras2_file(path: str | Path) -> dict[str, np.ndarray]:
    """Weights by "layer/word": {"conv1/kernel": (7, 7, 3, 64), "bn_conv1/gamma": (64,), ...}.

    Raises:
        ValueError: The file is damaged, or has not the layout of Keras 2, or a weight that is not
            of numbers, or two of the same name.
    """
    with damage_named(path, "HDF5 file"), _open(path) as file:
        group = _weights_group(file)
        if group is None:
            raise ValueError("it has no attribute `layer_names`, as files of Keras 2 have")
        weights: dict[str, np.ndarray] = {}
        for layer in _names(group, "layer_names"):
            for key, dataset in _layer_weights(layer, group[layer]):
                if key in weights or not np.issubdtype(dataset.dtype, np.number):
                    raise ValueError(f"{dataset.name!r} is there twice or not of numbers")
                weights[key] = np.asarray(dataset, np.float32)
    return weights


def _open(path: str | Path) -> Any:
    """An HDF5 file; ValueError if it is there but is none."""
    import h5py

    try:
        return h5py.File(path, "r")
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except OSError as error:
        raise ValueError(str(error)) from error


def _weights_group(file: Any) -> Any:
    """The group that lists layers, or None."""
    for group in (file, file.get("model_weights")):
        if group is not None and ({"layer_names", "layer_names0"} & set(group.attrs)):
            return group
    return None


def _layer_weights(layer: str, group: Any) -> list[tuple[str, Any]]:
    """("layer/word", dataset) of every weight of a layer or of a nested model."""
    paths = _names(group, "weight_names")
    words = [path.split("/")[-1].partition(":")[0] for path in paths]
    nested = len(set(words)) < len(words)
    owners = [path.split("/")[-2:-1] if nested else [layer] for path in paths]
    return [
        (f"{_COPY.sub('', owner[0]) if owner else layer}/{word}", group[path])
        for path, word, owner in zip(paths, words, owners)
    ]


def _names(group: Any, attribute: str) -> list[str]:
    """A list of names that Keras may have cut into several attributes: NAME0, NAME1, ..."""
    if attribute in group.attrs:
        values = list(group.attrs[attribute])
    else:
        chunks = [key for key in group.attrs if re.fullmatch(rf"{attribute}\d+", key)]
        chunks.sort(key=lambda key: int(key.removeprefix(attribute)))
        values = [value for key in chunks for value in group.attrs[key]]
    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
