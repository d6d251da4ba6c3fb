"""Pictures too large to read at once: arrays of which windows are read when asked for."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import TiffImagePlugin

from kmrcnn.data.images import read_image

_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _PHOTOMETRIC = 256, 257, 258, 259, 262  # TIFF tags
_STRIP_OFFSETS, _ORIENTATION, _SAMPLES, _STRIP_BYTES = 273, 274, 277, 279
_PLANAR, _PREDICTOR = 284, 317
_BLACK_IS_ZERO, _RGB = 1, 2
_BIG_TIFF = 43
_ADAPTABLE = ((1, 3), (4, 3), (2, 1))  # bands of a file for channels of a model


def open_image(path: str | Path, channels: int = 3) -> np.ndarray:
    """Opens a picture without reading it, where its file allows that.

    An uncompressed 8-bit TIFF (BigTIFF too) is mapped: any size, and only the windows that are
    looked at are read. Every other picture is read as a whole by `read_image`, height x width x
    channels bytes.

    Args:
        path: The file.
        channels: That the model wants.

    Returns:
        (H, W, C) uint8; a read-only `np.memmap` of the file's own bands (1 to 4, which may differ
        from `channels` by an alpha band or grey for colour, as `Predictor` takes them), or an
        array.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file cannot be read as a picture.
    """
    path = Path(path)
    mapped = _mapped_tiff(path, channels) if path.suffix.lower() in (".tif", ".tiff") else None
    return read_image(path, channels) if mapped is None else mapped


def _mapped_tiff(path: Path, channels: int) -> np.ndarray | None:
    """The first page of a TIFF whose pixels lie in the file one after another; None for others."""
    tags = _first_directory(path)
    if tags is None or not _is_plain(tags, channels):
        return None
    offsets, lengths = (np.array(tags[tag], np.int64) for tag in (_STRIP_OFFSETS, _STRIP_BYTES))
    shape = (tags[_HEIGHT], tags[_WIDTH], tags.get(_SAMPLES, 1))
    contiguous = (offsets[1:] == offsets[:-1] + lengths[:-1]).all()
    inside = offsets[0] + np.prod(shape, dtype=np.int64) <= path.stat().st_size
    if not contiguous or not inside or lengths.sum() != np.prod(shape, dtype=np.int64):
        return None
    return np.memmap(path, np.uint8, "r", int(offsets[0]), shape)


def _first_directory(path: Path) -> TiffImagePlugin.ImageFileDirectory_v2 | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        header = file.read(8)
        if len(header) < 8 or header[:2] not in (b"II", b"MM"):
            return None
        header += file.read(8) if _BIG_TIFF in header[2:4] else b""
        try:
            tags = TiffImagePlugin.ImageFileDirectory_v2(header)
            file.seek(tags.next)
            tags.load(file)
        except (SyntaxError, ValueError, OSError, KeyError):
            return None  # `read_image` says what is wrong with it
    return tags


def _is_plain(tags: TiffImagePlugin.ImageFileDirectory_v2, channels: int) -> bool:
    """Whether the bytes of the strips are upright 8-bit grey, RGB or RGBA pixels."""
    samples = tags.get(_SAMPLES, 1)
    return (
        (samples == channels or (samples, channels) in _ADAPTABLE)
        and {_WIDTH, _HEIGHT, _STRIP_OFFSETS, _STRIP_BYTES} <= set(tags)
        and tags.get(_PHOTOMETRIC) == (_BLACK_IS_ZERO if samples < 3 else _RGB)
        and samples <= 4
        and set(tags.get(_BITS, (1,))) == {8}
        and tags.get(_COMPRESSION, 1) == 1
        and tags.get(_PLANAR, 1) == 1
        and tags.get(_ORIENTATION, 1) == 1
        and tags.get(_PREDICTOR, 1) == 1
    )
