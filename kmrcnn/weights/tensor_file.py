"""What kind of weight file a path holds, told from its content, and the named tensors in it."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from kmrcnn.weights.keras2_file import is_keras2_file, read_keras2_file
from kmrcnn.weights.pickle_file import read_pickle_file
from kmrcnn.weights.restricted_unpickler import damage_named
from kmrcnn.weights.torch_file import LEGACY_MAGIC, read_torch_file

FileKind = Literal["torch", "pickle", "npz", "keras2", "keras_model", "keras_weights"]

_LEGACY_TORCH = pickle.dumps(LEGACY_MAGIC, protocol=2)
_WRAPPERS = ("model", "state_dict", "model_state_dict")  # keys under which checkpoints keep weights
_PARALLEL = "module."  # what data-parallel training puts before every key


def file_kind(path: str | Path) -> FileKind:
    """Kind of a weight file by its first bytes (and, in an archive, its members).

    Raises:
        ValueError: None of the kinds.
        FileNotFoundError: There is no such file.
    """
    path = Path(path)
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"PK\x03\x04"):
        return _archive_kind(path)
    if start.startswith(b"\x89HDF\r\n\x1a\n"):
        return "keras2" if is_keras2_file(path) else "keras_weights"
    if start.startswith(_LEGACY_TORCH):
        return "torch"
    if start.startswith(b"\x80"):
        return "pickle"
    raise ValueError(
        f"{str(path)!r} is no weight file: it must be a PyTorch .pth, a Detectron2 .pkl, a .npz, a "
        f".keras or a .weights.h5 file, or an .h5 of Keras 2. It begins with {start[:8]!r}"
    )


def _archive_kind(path: Path) -> FileKind:
    with damage_named(path, "Archive"), zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    if any(name.endswith("data.pkl") for name in names):
        return "torch"
    if "model.weights.h5" in names and "config.json" in names:
        return "keras_model"
    if names and all(name.endswith(".npy") for name in names):
        return "npz"
    raise ValueError(
        f"{str(path)!r} is an archive but holds no weights. It contains: {', '.join(names[:5])}"
    )


def read_tensors(path: str | Path) -> dict[str, np.ndarray]:
    """Named tensors of a PyTorch, pickle, npz or Keras 2 file.

    Of a training checkpoint only the weights count, that is what it keeps under "model",
    "state_dict" or "model_state_dict".

    Raises:
        ValueError: The file is damaged, refused, of another kind, or holds no named tensors.
    """
    kind = file_kind(path)
    if kind == "torch":
        return _named_tensors(read_torch_file(path), path)
    if kind == "pickle":
        return _named_tensors(read_pickle_file(path), path)
    if kind == "keras2":
        return read_keras2_file(path)
    if kind == "npz":
        with damage_named(path, "npz file"), np.load(path, allow_pickle=False) as arrays:
            return dict(arrays)
    raise ValueError(f"{str(path)!r} is a Keras file, which Keras reads.")


def _named_tensors(value: Any, path: str | Path) -> dict[str, np.ndarray]:
    if isinstance(value, Mapping):
        for key in _WRAPPERS:
            if isinstance(value.get(key), Mapping):
                return _named_tensors(value[key], path)
        if "blobs" in value:
            raise ValueError(
                f"{str(path)!r} is a Caffe2 (Detectron 1) file, whose names are not understood."
            )
        tensors = {key: t for key, t in value.items() if isinstance(t, np.ndarray)}
        if tensors and all(isinstance(key, str) for key in tensors):
            if all(key.startswith(_PARALLEL) for key in tensors):
                return {key.removeprefix(_PARALLEL): t for key, t in tensors.items()}
            return tensors
    raise ValueError(f"{str(path)!r} holds no dict of named tensors, as a state_dict is.")
