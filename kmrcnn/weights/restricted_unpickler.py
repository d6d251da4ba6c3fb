"""Reading pickles without running what they ask for.

A pickle is a program: its GLOBAL opcode fetches any function by name and REDUCE calls it.
`RestrictedUnpickler` answers only the names in a table given to it, with stand-ins of our own, and
refuses every other by name.
"""

from __future__ import annotations

import pickle
import struct
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

# What a damaged or truncated file makes pickle, zipfile and numpy raise.
_DAMAGE = (
    pickle.UnpicklingError,
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    KeyError,
    IndexError,
    TypeError,
    AttributeError,
    ValueError,
    OverflowError,
    MemoryError,
    RecursionError,
    NotImplementedError,
    UnicodeError,
    SyntaxError,
)


class RefusedGlobalError(ValueError):
    """A pickle asks for a name that is not on the list."""


class _StandIn:
    """A callable that a pickle may call but not alter (BUILD cannot reach anything shared through
    it).
    """

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]):
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)


class RestrictedUnpickler(pickle.Unpickler):
    """An unpickler of plain containers and of what `allowed` adds.

    Args:
        file: Binary file, positioned at the pickle.
        allowed: (module, name) -> what to return for it: a function to call instead, or any inert
            object.
        persistent_load: Receives the tuples that PyTorch stores in place of its storages.
    """

    def __init__(
        self,
        file: BinaryIO,
        allowed: Mapping[tuple[str, str], Any],
        persistent_load: Callable[[Any], Any] | None = None,
    ):
        super().__init__(file, encoding="latin1")  # Python 2 and NumPy wrote bytes as str
        self._allowed = allowed
        self._persistent_load = persistent_load

    def find_class(self, module: str, name: str) -> Any:
        """The stand-in for `module.name`; RefusedGlobalError if there is none."""
        value = self._allowed.get((module, name), PLAIN_CONTAINERS.get((module, name), self))
        if value is self:
            raise RefusedGlobalError(
                f"it asks for {module}.{name}, which is refused because it may run code; "
                f"only tensors and plain containers are read"
            )
        return _StandIn(value) if callable(value) else value

    def persistent_load(self, pid: Any) -> Any:
        """What a persistent id stands for (storages of PyTorch)."""
        if self._persistent_load is None:
            raise pickle.UnpicklingError("it refers to data outside itself")
        return self._persistent_load(pid)


def _encode_latin1(text: str, encoding: str = "latin1") -> bytes:
    """`_codecs.encode` as Python 3 uses it to write bytes with protocol 2, and nothing else."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"it encodes text as {encoding!r}")
    return text.encode("latin1")


PLAIN_CONTAINERS: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): lambda items=(): OrderedDict(items),
    ("_codecs", "encode"): _encode_latin1,
    ("__builtin__", "bytes"): lambda: b"",  # how Python 3 writes empty bytes with protocol 2
    ("builtins", "set"): lambda items=(): set(items),
    ("__builtin__", "set"): lambda items=(): set(items),
}


@contextmanager
def damage_named(path: str | Path, kind: str) -> Iterator[None]:
    """Turns whatever a damaged file raises into a ValueError that names it.

    Args:
        path: The file being read.
        kind: What it was taken for ("PyTorch file").
    """
    try:
        yield
    except RefusedGlobalError as error:
        raise ValueError(f"{kind} {str(path)!r} was not read: {error}.") from error
    except _DAMAGE as error:
        reason = str(error) or type(error).__name__
        raise ValueError(
            f"{kind} {str(path)!r} is damaged, incomplete or not of that kind: {reason}"
        ) from error


def read_exactly(file: BinaryIO, count: int) -> bytes:
    """`count` bytes of `file`; EOFError if it ends before."""
    data = file.read(count)
    if len(data) != count:
        raise EOFError(f"the file ends {count - len(data)} bytes early")
    return data


def map_leaves(function: Callable[[Any], Any], value: Any) -> Any:
    """`value` with `function` applied to whatever is not a dict, list, tuple or set."""
    if isinstance(value, dict):
        return {key: map_leaves(function, entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return type(value)(map_leaves(function, entry) for entry in value)
    return function(value)
