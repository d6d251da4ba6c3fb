"""Writing files and folders so that a reader, or an interrupted run, never sees half of one."""

from __future__ import annotations

import os
import shutil
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


@contextmanager
def folder_written_aside(path: str | Path, overwrite: bool = False) -> Iterator[Path]:
    """Yields a temporary folder beside `path` to fill; it takes the name `path` when the block ends
    without an error.

    An older folder of that name disappears only then. On an error everything stays as it was.

    Args:
        path: The folder to make.
        overwrite: Replace it if it exists.

    Raises:
        FileExistsError: `path` exists, and `overwrite` is False or it is not a folder.
        ValueError: `path` ends in no name, such as ".".
    """
    path = Path(path)
    if path.name in ("", ".."):
        raise ValueError(f"`path` must end in the name of a folder. Received: {str(path)!r}")
    if path.exists() and (not overwrite or not path.is_dir()):
        hint = "it is not a folder" if not path.is_dir() else "pass overwrite=True to replace it"
        raise FileExistsError(f"{str(path)!r} exists; {hint}.")
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    old = aside.with_name(aside.name + "-old")
    try:
        yield aside
        umask = os.umask(0)
        os.umask(umask)
        aside.chmod(0o777 & ~umask)
        if path.exists():
            os.replace(path, old)
        try:
            os.replace(aside, path)
        except OSError:
            if old.exists():
                os.replace(old, path)
            raise
    finally:
        shutil.rmtree(aside, ignore_errors=True)
        if old.is_symlink():  # to a folder elsewhere, which stays
            old.unlink()
        else:
            shutil.rmtree(old, ignore_errors=True)


def _set_usual_permissions(path: Path) -> None:
    """Gives a file made by `mkstemp` (private) the permissions an ordinary new file would have."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)
