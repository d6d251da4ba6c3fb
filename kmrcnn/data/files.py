"""Writing files so that a reader, or an interrupted run, never sees half of one."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def written_aside(path: str | Path) -> Iterator[Path]:
    """Yields a temporary file beside `path` to write; it takes the name `path` when the block ends
    without an error.

    Folders above `path` are made. The temporary file has the suffix of `path`, for writers that go
    by it, and a name that begins with a dot. On an error it is removed and `path` stays as it was.

    Example:
        >>> with written_aside("out/result.json") as aside:
        ...     aside.write_text("{}")
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    aside = Path(name)
    try:
        yield aside
        _set_usual_permissions(aside)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _set_usual_permissions(path: Path) -> None:
    """Gives a file made by `mkstemp` (private) the permissions an ordinary new file would have."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)
