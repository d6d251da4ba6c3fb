"""Arrays of a pickled dict (.pkl), as Detectron2's model zoo publishes them, without running the
pickle.

Written by Python 2 or 3 with protocol 2 or later; the arrays' bytes may be stored as latin1 text.
Only NumPy arrays, scalars, dtypes and plain containers are read (see `restricted_unpickler`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from kmrcnn.weights.restricted_unpickler import RestrictedUnpickler, damage_named, map_leaves

_NUMERIC_KINDS = "biufc"  # of dtypes; neither objects nor records


def read_pickle_file(path: str | Path) -> Any:
    """Reads a pickle of NumPy arrays and plain containers.

    Args:
        path: The file.

    Returns:
        The pickled object.

    Raises:
        ValueError: The file is damaged or truncated, or asks for anything but NumPy arrays and
            plain containers; the message names the file and what it asks for.
        FileNotFoundError: There is no such file.

    Example:
        >>>
        read_pickle_file("model_final_f10217.pkl")["model"]["backbone.fpn_lateral2.weight"].shape
        (256, 256, 1, 1)
    """
    path = Path(path)
    with path.open("rb") as file, damage_named(path, "Pickle"):
        value = RestrictedUnpickler(file, _ALLOWED).load()
        return map_leaves(lambda leaf: leaf.value if isinstance(leaf, _Array) else leaf, value)


class _Dtype:
    """What a pickle says of a `numpy.dtype`: a code such as "f4", then the byte order in its
    state.
    """

    def __init__(self, code: Any, align: Any = False, copy: Any = True):
        self.dtype = np.dtype(code) if isinstance(code, str) else None
        if self.dtype is None or self.dtype.kind not in _NUMERIC_KINDS:
            raise TypeError(f"it holds an array of dtype {code!r}; only numbers are read")

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        order = state[1]
        self.dtype = self.dtype.newbyteorder(order if order in ("<", ">") else "=")


class _Array:
    """What a pickle says of a `numpy.ndarray`: nothing at first, then everything in its state."""

    def __init__(self, *_ignored: Any):
        self.value = np.empty(0)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _frombuffer(raw, dtype, shape, "F" if fortran else "C")


def _frombuffer(raw: Any, dtype: _Dtype, shape: Any, order: Any) -> np.ndarray:
    """`numpy.core.numeric._frombuffer` (pickle protocol 5); native byte order."""
    data = raw.encode("latin1") if isinstance(raw, str) else raw
    array = np.frombuffer(data, dtype.dtype).reshape(shape, order=order)
    return array.astype(array.dtype.newbyteorder("="), copy=False)


def _scalar(dtype: _Dtype, raw: Any) -> Any:
    """`numpy.core.multiarray.scalar`."""
    return _frombuffer(raw, dtype, (), "C")[()]


_ALLOWED: dict[tuple[str, str], Any] = {
    ("numpy", "ndarray"): "numpy.ndarray",  # only ever an argument
    ("numpy", "dtype"): _Dtype,
    **{
        (f"numpy.{core}.{module}", name): function
        for core in ("core", "_core")
        for module, name, function in (
            ("multiarray", "_reconstruct", _Array),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
}
