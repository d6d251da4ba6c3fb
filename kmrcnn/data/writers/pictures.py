"""The pictures of a written dataset: where they are, or new files for those without one."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path

from PIL import Image

from kmrcnn.data.files import written_aside
from kmrcnn.data.records import Record

_SUFFIXES = {"JPEG": ".jpg", "PNG": ".png", "TIFF": ".tif", "WEBP": ".webp", "BMP": ".bmp"}


class PictureFiles:
    """Finds the file of each picture; writes those that lie in shards or in memory.

    Args:
        folder: Where new files go. It is made when the first is written.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.written = 0
        self._names = UniqueNames()

    def path_of(self, record: Record) -> Path:
        """The picture's file.

        Raises:
            OSError: The picture cannot be read, or its file cannot be written.
            ValueError: It is not a picture.
        """
        if record.path is not None:
            return record.path
        data = record.read_bytes()
        path = self.folder / (self._names.take(str(record.image_id)) + _suffix(data, record))
        with written_aside(path) as aside:
            aside.write_bytes(data)
        self.written += 1
        return path


class UniqueNames:
    """File names for ids, no two the same, also where case does not count."""

    def __init__(self):
        self._taken: set[str] = set()

    def take(self, image_id: str) -> str:
        """A file name without suffix: the last part of the id, with a number if that is taken."""
        stem = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", image_id.split("/")[-1]).strip(". ") or "image"
        name, count = stem, 1
        while name.lower() in self._taken:
            count += 1
            name = f"{stem}_{count}"
        self._taken.add(name.lower())
        return name


def relative_name(path: Path, folder: Path) -> str:
    """`path` as seen from `folder`, with forward slashes; absolute on another drive."""
    try:
        return Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # another drive on Windows
        return path.resolve().as_posix()


def _suffix(data: bytes, record: Record) -> str:
    try:
        with Image.open(io.BytesIO(data)) as image:
            return _SUFFIXES.get(image.format, f".{(image.format or 'img').lower()}")
    except OSError as error:
        raise ValueError(f"The picture {record.image_id!r} cannot be read: {error}") from error
