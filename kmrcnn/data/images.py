"""Pictures from disk: finding the files, and reading any of them as RGB as a viewer shows it."""

from __future__ import annotations

import glob
import io
import struct
import warnings
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from kmrcnn.data.videos import VIDEO_SUFFIXES

IMAGE_SUFFIXES = frozenset(
    ".bmp .gif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tga .tif .tiff .webp".split()
)
_EXIF_ORIENTATION, _TIFF_WIDTH, _TIFF_HEIGHT = 0x0112, 0x0100, 0x0101  # tags
_SIDEWAYS = (5, 6, 7, 8)  # orientations that swap height and width
_DECODING_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    IndexError,
    struct.error,
    zlib.error,
)


def read_image(path: str | Path, channels: int = 3) -> np.ndarray:
    """Reads a picture as 8-bit RGB.

    What is done to the many kinds of files, so that every one gives what the eye expects:

    - EXIF orientation is applied: a photograph stands upright, its size is the upright one;
    - palettes, grey, 1-bit, CMYK and YCbCr become RGB; embedded colour profiles are ignored;
    - transparency is dropped and the stored colours are kept as they are, nothing is blended;
    - 16-bit grey is divided by 257, so that 0..65535 becomes 0..255 and white stays white; no
      contrast stretching (stretch microscope data with few bits used yourself, and pass the array).
      Pillow reads 16-bit colour as its high bytes;
    - the first frame of an animation, the first page of a document.

    Args:
        path: The file.
        channels: 3 gives RGB; 1 gives grey (ITU-R 601 luma of a colour picture); 4 wants a picture
            with four bands, RGBA or CMYK as stored; any other number wants a file with that many
            grey pages, one per channel.

    Returns:
        (H, W, channels) uint8, contiguous and writable.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: The file is a folder, empty, truncated, not a picture, or has not as many
            channels; names the file.
    """
    path = Path(path)
    _require_file(path)
    return _decode(path, str(path), channels)


def decode_image(data: bytes, name: str = "The picture", channels: int = 3) -> np.ndarray:
    """Decodes the bytes of a picture's file as `read_image` reads a file.

    Args:
        data: A whole file: JPEG, PNG, ...
        name: What error messages call it.
        channels: See `read_image`.

    Returns:
        (H, W, channels) uint8, contiguous and writable.

    Raises:
        ValueError: It is truncated, not a picture, or has not as many channels.
    """
    return _decode(io.BytesIO(data), name, channels)


def read_size(source: str | Path | bytes) -> tuple[int, int]:
    """(height, width) of the upright picture in a file or in the bytes of one, from its header.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not a picture.
    """
    in_memory = isinstance(source, bytes)
    if not in_memory:
        _require_file(Path(source))
    try:
        with Image.open(io.BytesIO(source) if in_memory else source) as image:
            return _upright_size(image)
    except (*_DECODING_ERRORS, Image.DecompressionBombError) as error:
        name = "The picture" if in_memory else source
        raise ValueError(f"{name} is not a picture that Pillow can read: {error}") from error


def find_images(inputs: str | Path | Iterable[str | Path]) -> list[Path]:
    """Lists the files meant by files, folders and patterns, in that order, without duplicates.

    Args:
        inputs: One or several of: a file, taken as it is, picture, video or not; a folder, for the
            pictures directly in it, by name; a pattern such as ``photos/**/*.jpg``, for the
            pictures and videos it matches, by name. ``**`` goes through sub-folders. Hidden files
            are left out of folders and patterns.

    Returns:
        Paths. One that does not exist, or a pattern without a match, is listed as given, and fails
        when it is read: one wrong name must not stop the others.

    Raises:
        ValueError: A folder has no pictures.
    """
    if isinstance(inputs, (str, Path)):
        inputs = [inputs]
    found = [path for entry in inputs for path in _expand(Path(entry).expanduser())]
    return list(dict.fromkeys(found))


def _upright_size(image: Image.Image) -> tuple[int, int]:
    """(height, width) of a picture that is open but not decoded."""
    width, height = image.size
    if image.format == "TIFF":  # Pillow gives the upright size of these, depending on its version
        width, height = image.tag_v2[_TIFF_WIDTH], image.tag_v2[_TIFF_HEIGHT]
    if image.format == "PNG" and "exif" not in image.info:
        return height, width  # Pillow would decode the picture to look for a mark behind it
    sideways = image.getexif().get(_EXIF_ORIENTATION, 1) in _SIDEWAYS
    return (width, height) if sideways else (height, width)


def _decode(source: Path | io.BytesIO, name: str, channels: int) -> np.ndarray:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(source) as image:
                pixels = _pixels(image, channels)
    except UnidentifiedImageError as error:
        raise ValueError(f"{name} is not a picture that Pillow can read.") from error
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{name} is too large: {error} An uncompressed 8-bit TIFF of any size can be predicted "
            "in tiles."
        ) from error
    except _DECODING_ERRORS as error:
        raise ValueError(
            f"{name} cannot be read as a picture, it may be damaged: {error}"
        ) from error
    if pixels.size == 0:
        raise ValueError(f"{name} has no pixels. Received: shape={pixels.shape}")
    return np.ascontiguousarray(pixels)


def _require_file(path: Path) -> None:
    if not path.exists():
        raise FileNotFoundError(f"There is no file {path}")
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not a picture.")
    if path.stat().st_size == 0:
        raise ValueError(f"{path} is empty (0 bytes).")


def _pixels(image: Image.Image, channels: int) -> np.ndarray:
    if channels == 3:
        return np.array(_eight_bits(image).convert("RGB"))  # (H, W, 3)
    if channels == 1:
        return np.array(_eight_bits(image).convert("L"))[..., None]  # (H, W, 1)
    if channels == 4 and len(image.getbands()) == 4:
        return np.array(ImageOps.exif_transpose(image))  # (H, W, 4)
    return _pages(image, channels)


def _pages(image: Image.Image, channels: int) -> np.ndarray:
    pages = getattr(image, "n_frames", 1)
    if pages != channels:
        raise ValueError(
            f"it has {pages} page(s) of {len(image.getbands())} band(s), but {channels} channels "
            "are wanted. Read it yourself and pass the array."
        )
    planes = []
    for page in range(pages):
        image.seek(page)
        planes.append(np.array(_eight_bits(image).convert("L")))
    if len({plane.shape for plane in planes}) > 1:
        raise ValueError("its pages differ in size.")
    return np.stack(planes, axis=-1)  # (H, W, channels)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Upright picture with 8 bits per band; 16-bit grey is divided by 257."""
    image.load()
    image = ImageOps.exif_transpose(image)
    if image.mode == "F":
        raise ValueError(
            "its pixels are floats of unknown range. Scale them yourself and pass the array."
        )
    if not image.mode.startswith("I"):
        return image
    values = np.array(image)
    if values.min() < 0 or values.max() > 65535:
        raise ValueError(
            f"its pixels range over {values.min()}..{values.max()}, beyond 16 bits. "
            "Scale them yourself and pass the array."
        )
    return Image.fromarray(((values.astype(np.uint32) + 128) // 257).astype(np.uint8))


def _expand(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(entry for entry in path.iterdir() if _is_listed(entry, IMAGE_SUFFIXES))
        if not found:
            raise ValueError(
                f"The folder {path} has no pictures. "
                f"Its sub-folders are reached by a pattern: '{path}/**/*.jpg'"
            )
        return found
    if path.exists() or not glob.has_magic(str(path)):
        return [path]
    matches = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    return [match for match in matches if _is_listed(match, IMAGE_SUFFIXES | VIDEO_SUFFIXES)] or [
        path
    ]


def _is_listed(path: Path, suffixes: Iterable[str]) -> bool:
    return path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
