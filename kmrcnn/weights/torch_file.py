"""Tensors of a PyTorch file (.pth, .pt) without PyTorch: both the zip format and the older stream
of pickles.

In either format a pickle holds the structure, and "persistent ids" in it stand for the storages,
flat typed arrays kept outside the pickle. A tensor is a view of a storage: offset, size and
strides, all counted in elements. Nothing of the pickle is executed (see `restricted_unpickler`).
Formats: torch/serialization.py.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np

from kmrcnn.weights.restricted_unpickler import (
    RestrictedUnpickler,
    damage_named,
    map_leaves,
    read_exactly,
)

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # first object of the older format
_LEGACY_PROTOCOL = 1001

# Storage class -> NumPy dtype without byte order; bfloat16 is kept as its upper 16 bits and widened
# at the end.
_BFLOAT16 = "bfloat16"
_STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": _BFLOAT16,
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "b1",
    "ComplexFloatStorage": "c8",
    "ComplexDoubleStorage": "c16",
    "UntypedStorage": "u1",
}
_DTYPES = {
    "float32": "f4",
    "float64": "f8",
    "float16": "f2",
    "bfloat16": _BFLOAT16,
    "int64": "i8",
    "uint64": "u8",
    "uint32": "u4",
    "uint16": "u2",
    "int32": "i4",
    "int16": "i2",
    "int8": "i1",
    "uint8": "u1",
    "bool": "b1",
    "complex64": "c8",
    "complex128": "c16",
}


class _StorageType(str):
    """Name of a storage class, as it occurs in persistent ids."""


class _Dtype(str):
    """Name of a torch.dtype."""


@dataclass(frozen=True)
class _Storage:
    """A flat array in the byte order of the file, filled now or later."""

    kind: str
    data: np.ndarray

    def view(self, offset: int, size: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
        """The tensor at `offset`; ValueError if it would leave the storage."""
        if 0 in size:
            return np.empty(size, self.data.dtype)
        item = self.data.itemsize
        strides = tuple(item * s for s in stride)
        return np.ndarray(size, self.data.dtype, self.data, item * offset, strides)  # checks bounds


class _Tensor:
    """A tensor whose storage may still be empty while the pickle is read."""

    __slots__ = ("array", "kind")

    def __init__(self, storage: _Storage, offset: int, size: Any, stride: Any):
        self.kind = storage.kind
        self.array = storage.view(int(offset), tuple(map(int, size)), tuple(map(int, stride)))

    def numpy(self) -> np.ndarray:
        """Values in this machine's byte order; bfloat16 widened to float32 without loss."""
        array = self.array
        if not array.dtype.isnative:
            array = array.astype(array.dtype.newbyteorder("="))
        if self.kind == _BFLOAT16:
            return (array.astype(np.uint32) << 16).view(np.float32)
        return array


def read_torch_file(path: str | Path) -> Any:
    """Reads a file written by `torch.save`.

    Args:
        path: File in PyTorch's zip format (1.6 and later) or its older format.

    Returns:
        The saved object: dicts, lists, tuples, sets, numbers, strings, and a NumPy array for every
        tensor (bfloat16 as float32). Arrays that shared a storage may share memory.

    Raises:
        ValueError: The file is damaged or truncated, or holds objects other than tensors and plain
            containers; the message names the file and the object.
        FileNotFoundError: There is no such file.

    Example:
        >>> read_torch_file("resnet50.pth")["conv1.weight"].shape
        (64, 3, 7, 7)
    """
    path = Path(path)
    with path.open("rb") as file, damage_named(path, "PyTorch file"):
        read = _read_zip if file.read(4) == b"PK\x03\x04" else _read_legacy
        file.seek(0)
        return map_leaves(_array, read(file))


def _read_zip(file: BinaryIO) -> Any:
    with zipfile.ZipFile(file) as archive:
        names = archive.namelist()
        pickles = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise ValueError("the archive does not hold one data.pkl")
        root = pickles[0].removesuffix("data.pkl")
        little = root + "byteorder" not in names or archive.read(root + "byteorder") == b"little"
        storages: dict[str, _Storage] = {}

        def load_storage(kind: str, key: str, count: int, view: Any) -> _Storage:
            if key not in storages:
                raw = archive.read(f"{root}data/{key}")
                dtype = _dtype(kind, little)
                if len(raw) != count * dtype.itemsize:
                    raise ValueError(f"storage {key} has {len(raw)} bytes for {count} {dtype}")
                storages[key] = _Storage(kind, np.frombuffer(raw, dtype))
            return storages[key]

        with archive.open(pickles[0]) as pickled:
            return _unpickle(pickled, load_storage)


def _read_legacy(file: BinaryIO) -> Any:
    """Pickles of magic, protocol, system, object and storage keys, then the storages in that
    order.
    """
    size = file.seek(0, 2)
    file.seek(0)
    if RestrictedUnpickler(file, {}).load() != LEGACY_MAGIC:
        raise ValueError("it does not begin as a PyTorch file does")
    if RestrictedUnpickler(file, {}).load() != _LEGACY_PROTOCOL:
        raise ValueError("its protocol version is unknown")
    little = bool(RestrictedUnpickler(file, {}).load()["little_endian"])
    storages: dict[str, _Storage] = {}

    def load_storage(kind: str, key: str, count: int, view: Any) -> _Storage:
        if view is not None:
            raise ValueError("it holds views of storages, which PyTorch stopped writing in 0.4")
        if key not in storages:
            dtype = _dtype(kind, little)
            if not 0 <= count * dtype.itemsize <= size:
                raise ValueError(f"a storage of {count} {dtype} cannot be in {size} bytes")
            storages[key] = _Storage(kind, np.empty(count, dtype))
        return storages[key]

    result = _unpickle(file, load_storage)
    for key in RestrictedUnpickler(file, {}).load():
        _fill(storages.pop(key).data, file, key, "little" if little else "big")
    if storages:
        raise ValueError(f"the storages {sorted(storages)} are missing")
    return result


def _fill(data: np.ndarray, file: BinaryIO, key: str, order: Literal["little", "big"]) -> None:
    count = int.from_bytes(read_exactly(file, 8), order, signed=True)
    if count != len(data):
        raise ValueError(f"storage {key} has {count} elements instead of {len(data)}")
    if file.readinto(data.view(np.uint8)) != data.nbytes:
        raise EOFError(f"the file ends within storage {key}")


def _unpickle(file: BinaryIO, load_storage: Callable[..., _Storage]) -> Any:
    def persistent_load(pid: Any) -> _Storage:
        if (
            not isinstance(pid, tuple)
            or pid[0] != "storage"
            or not isinstance(pid[1], _StorageType)
        ):
            raise pickle.UnpicklingError(f"unknown persistent id {pid!r}")
        _, kind, key, _, count, *view = pid
        return load_storage(_STORAGES[kind], str(key), int(count), view[0] if view else None)

    return RestrictedUnpickler(file, _ALLOWED, persistent_load).load()


def _rebuild_tensor(storage, offset, size, stride, *_ignored) -> _Tensor:
    """`torch._utils._rebuild_tensor(_v2)`; what follows are gradients, hooks and metadata."""
    return _Tensor(storage, offset, size, stride)


def _rebuild_tensor_v3(storage, offset, size, stride, grad, hooks, dtype, *_ignored) -> _Tensor:
    """The same on an untyped storage, for dtypes that have no storage class of their own."""
    typed = _Storage(_DTYPES[dtype], storage.data.view(_dtype(_DTYPES[dtype], little=True)))
    return _Tensor(typed, offset, size, stride)


def _rebuild_parameter(tensor: _Tensor, *_ignored) -> _Tensor:
    """A torch.nn.Parameter is read as its tensor."""
    return tensor


_ALLOWED: dict[tuple[str, str], Any] = {
    ("torch._utils", "_rebuild_tensor"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v2"): _rebuild_tensor,
    ("torch._utils", "_rebuild_tensor_v3"): _rebuild_tensor_v3,
    ("torch._utils", "_rebuild_parameter"): _rebuild_parameter,
    ("torch", "Size"): lambda sizes=(): tuple(sizes),
    ("torch.storage", "UntypedStorage"): _StorageType("UntypedStorage"),
    **{("torch", name): _StorageType(name) for name in _STORAGES},
    **{("torch", name): _Dtype(name) for name in _DTYPES},
}


def _array(leaf: Any) -> Any:
    if isinstance(leaf, _Tensor):
        return leaf.numpy()
    return leaf.data if isinstance(leaf, _Storage) else leaf


def _dtype(kind: str, little: bool) -> np.dtype:
    return np.dtype("u2" if kind == _BFLOAT16 else kind).newbyteorder("<" if little else ">")
