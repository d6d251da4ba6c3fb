"""A look at many image files without decoding them: do they open, how large are they, which way up,
and which of them are the same.
"""

from __future__ import annotations

import hashlib
import io
import os
import struct
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm import tqdm

from kmrcnn.data.records import Record

_THREADS = 8
_TAIL = 64  # bytes at the end of a file among which its format's end marker is looked for
_END_MARKERS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
_ODD_MODES = ("F", "I")  # floats and 32 bits: whether they can be read only their pixels show
_OPENING_ERRORS = (
    OSError,
    ValueError,
    SyntaxError,
    EOFError,
    LookupError,
    struct.error,
    Image.DecompressionBombError,
)
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257  # tags


@dataclass(frozen=True)
class ImageProbe:
    """What is known of an image file.

    Attributes:
        size: (height, width) as stored, before EXIF turns it; None if it cannot be read.
        orientation: EXIF's: 1 upright, 2-4 mirrored or upside down, 5-8 lying on a side.
        error: Why it cannot be read.
        is_missing: Whether there is no such file.
        num_bytes: Of the file.
    """

    size: tuple[int, int] | None = None
    orientation: int = 1
    error: str | None = None
    is_missing: bool = False
    num_bytes: int = 0

    @property
    def upright_size(self) -> tuple[int, int] | None:
        """(height, width) as the picture is shown, and read."""
        return self.size[::-1] if self.size and self.orientation >= 5 else self.size


def probe_images(
    records: Sequence[Record], decode: bool = False, progress: bool = False
) -> list[ImageProbe]:
    """Looks at the image file of every record, by several threads.

    Args:
        records: Pictures.
        decode: Decode them fully. Otherwise only those are whose end is missing or whose kind of
            pixels may be unreadable; damage in the middle of a file goes unnoticed.
        progress: Show a bar.
    """
    return _in_threads(lambda record: probe_image(record, decode), records, "images", progress)


def find_equal_images(
    records: Sequence[Record], probes: Sequence[ImageProbe], progress: bool = False
) -> list[list[int]]:
    """Groups of indices of records, two or more, whose files are equal byte by byte.

    Only files of equal length are read.
    """
    by_length = defaultdict(list)
    for index, probe in enumerate(probes):
        if probe.error is None:
            by_length[probe.num_bytes].append(index)
    candidates = [index for group in by_length.values() if len(group) > 1 for index in group]
    digests = _in_threads(
        lambda index: _digest(records[index]), candidates, "equal files", progress
    )
    by_digest = defaultdict(list)
    for index, digest in zip(candidates, digests):
        by_digest[digest].append(index)
    return [group for group in by_digest.values() if len(group) > 1]


def probe_image(record: Record, decode: bool = False) -> ImageProbe:
    """Looks at one image file, see `probe_images`."""
    try:
        source, num_bytes = _open(record)
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        missing = isinstance(error, FileNotFoundError)
        return ImageProbe(error=_reason(error), is_missing=missing)
    if num_bytes == 0:
        return ImageProbe(error="it is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about size and damaged EXIF
            with Image.open(source) as image:
                size, orientation = _stored_size(image), _orientation(image)
                doubtful = image.mode in _ODD_MODES or not _has_end(source, image.format)
        if decode or doubtful:
            record.read_image()
    except UnidentifiedImageError:
        return ImageProbe(error="it is not a picture that Pillow can read", num_bytes=num_bytes)
    except _OPENING_ERRORS as error:
        return ImageProbe(error=_reason(error), num_bytes=num_bytes)
    return ImageProbe(size, orientation, num_bytes=num_bytes)


def _open(record: Record) -> tuple[Path | io.BytesIO, int]:
    """What Pillow may open, and its length in bytes."""
    if record.path is not None:
        return record.path, os.stat(record.path).st_size
    data = record.read_bytes()
    return io.BytesIO(data), len(data)


def _stored_size(image: Image.Image) -> tuple[int, int]:
    if image.format == "TIFF":  # Pillow gives the upright size of these
        tags = image.tag_v2
        return int(tags[_TIFF_HEIGHT]), int(tags[_TIFF_WIDTH])
    return image.height, image.width


def _orientation(image: Image.Image) -> int:
    if image.format == "PNG" and "exif" not in image.info:
        return 1  # Pillow would decode the whole picture to look for it behind the pixels
    value = image.getexif().get(ExifTags.Base.Orientation, 1)
    return value if value in range(1, 9) else 1


def _has_end(source: Path | io.BytesIO, image_format: str | None) -> bool:
    """False if the last bytes lack the marker with which files of this format end."""
    marker = _END_MARKERS.get(image_format)
    if marker is None:
        return True
    if isinstance(source, io.BytesIO):
        return marker in source.getvalue()[-_TAIL:]
    with open(source, "rb") as file:
        file.seek(0, os.SEEK_END)
        file.seek(max(file.tell() - _TAIL, 0))
        return marker in file.read()


def _digest(record: Record) -> bytes | int:
    try:
        return hashlib.blake2b(record.read_bytes()).digest()
    except OSError:
        return id(record)  # equal to no other


def _in_threads(
    function: Callable[[Any], Any], items: Iterable[Any], label: str, progress: bool
) -> list[Any]:
    items = list(items)
    with ThreadPoolExecutor(_THREADS) as pool:
        results = pool.map(function, items)
        hidden = None if progress and items else True  # None: shown on a terminal only
        return list(tqdm(results, total=len(items), desc=label, disable=hidden))


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
