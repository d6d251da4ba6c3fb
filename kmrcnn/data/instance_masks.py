"""Segmentations of annotation files (polygons, run lengths) to masks in their windows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kmrcnn.data.example import MaskCrop
from kmrcnn.structures.masks import polygons_to_mask, rle_to_mask

_PER_PIXEL = 5  # steps of pycocotools when it fills a polygon
_MOST_PIXELS = 2**32 - 1  # that pycocotools can count


def decode_mask(
    segmentation: Sequence[np.ndarray] | Mapping[str, Any] | MaskCrop | None, size: tuple[int, int]
) -> MaskCrop:
    """Decodes a segmentation to a bitmap in its tight window, clipped to the picture.

    Args:
        segmentation: Polygons (P, 2), run lengths, a bitmap in its window, or None.
        size: (height, width) of the picture.

    Returns:
        The mask; a (0, 0) bitmap for None or where nothing lies in the picture.

    Raises:
        ValueError: The run lengths are for a picture of another size, or do not add up to it; a
            polygon has fewer than three points.
    """
    if segmentation is None:
        return _empty()
    if isinstance(segmentation, MaskCrop):
        return _clip(segmentation, size)
    if isinstance(segmentation, Mapping):
        require_rle(segmentation, size)
        return MaskCrop.from_full(rle_to_mask(segmentation))
    return _fill(segmentation, size)


def require_rle(rle: Mapping[str, Any], size: tuple[int, int] | None = None) -> None:
    """Raises ValueError unless run lengths are whole and, with `size`, for a picture of that size.

    Run lengths that end too early would otherwise be decoded to whatever lies in memory.
    """
    try:
        if isinstance(rle["size"], str):
            raise TypeError("`size` is text")
        height, width = (int(side) for side in rle["size"])
        runs = _runs(rle["counts"])
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise ValueError(f"These are no run lengths: {_shortened(rle)}") from error
    if size is not None and (height, width) != tuple(size):
        raise ValueError(
            f"The run lengths are for {height} x {width} (height x width) pixels, "
            f"the picture has {size[0]} x {size[1]}."
        )
    area = height * width
    if min(height, width) < 0 or area > _MOST_PIXELS:
        raise ValueError(
            f"Run lengths must be for at most {_MOST_PIXELS} pixels. "
            f"Received: size={_shortened(rle['size'])}"
        )
    # each by itself first: a sum can overflow
    if runs.ndim != 1 or ((runs < 0) | (runs > area)).any() or runs.sum() != area:
        raise ValueError(
            f"The run lengths must be >= 0 and add up to height * width = {area}. "
            f"Received: sum={runs.astype(float).sum():.16g}"
        )


def rle_box(rle: Mapping[str, Any]) -> tuple[float, float, float, float]:
    """The tight xyxy box of run lengths that `require_rle` accepts, without decoding them; zeros if
    they have no pixel.
    """
    height = int(rle["size"][0])
    runs = _runs(rle["counts"])
    ends = np.cumsum(runs)[1::2]
    starts, ends = (ends - runs[1::2])[runs[1::2] > 0], ends[runs[1::2] > 0]
    if starts.size == 0:
        return (0.0, 0.0, 0.0, 0.0)
    left, right = starts // height, (ends - 1) // height + 1
    in_one = right - left == 1  # the others go through the bottom and the top of a column
    top = np.where(in_one, starts % height, 0)
    bottom = np.where(in_one, (ends - 1) % height + 1, height)
    return float(left.min()), float(top.min()), float(right.max()), float(bottom.max())


def _runs(counts: str | bytes | Sequence[int]) -> np.ndarray:
    """Run lengths (R,) int64, background first."""
    runs = _compressed_runs(counts) if isinstance(counts, (str, bytes)) else counts
    return np.asarray(runs, np.int64)


def _compressed_runs(counts: str | bytes) -> np.ndarray:
    """Run lengths (R,) int64 from COCO's text: six bits a character, low bits first, each run but
    the first three as the difference to the one two before.
    """
    codes = np.frombuffer(counts.encode("ascii") if isinstance(counts, str) else counts, np.uint8)
    values = codes.astype(np.int64) - 48
    if values.size == 0:
        return values
    if ((values < 0) | (values > 63)).any() or values[-1] & 0x20:
        raise ValueError("a character is not of COCO's run lengths, or the last run is cut")
    last = (values & 0x20) == 0  # the other characters have a successor
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    place = np.arange(values.size) - np.repeat(starts, np.diff(np.append(starts, values.size)))
    if place.max() > 11:
        raise ValueError("a run length has too many characters")
    parts = (values & 0x1F) << (5 * place)
    runs = np.add.reduceat(parts, starts)
    negative = (values[last] & 0x10) != 0
    runs[negative] -= 1 << (5 * (place[last][negative] + 1))
    for offset in (1, 2):  # differences chain through the odd and through the even runs
        runs[offset::2] = np.cumsum(runs[offset::2])
    return runs


def _fill(polygons: Sequence[np.ndarray], size: tuple[int, int]) -> MaskCrop:
    """Fills polygons within the window around them, with the pixels of a fill in the picture."""
    points = np.concatenate([np.reshape(polygon, (-1, 2)) for polygon in polygons])
    limits = np.array(size[::-1])
    low = np.clip(np.floor(points.min(axis=0)).astype(int) - 1, 0, limits)
    high = np.clip(np.ceil(points.max(axis=0)).astype(int) + 1, 0, limits)
    if (high <= low).any():
        return _empty()
    left, top = low.tolist()
    width, height = (high - low).tolist()
    moved = [_move(np.reshape(polygon, (-1, 2)), low) for polygon in polygons]
    crop = MaskCrop.from_full(polygons_to_mask(moved, (height, width)))
    return MaskCrop(crop.bitmap, crop.top + top, crop.left + left) if crop.bitmap.size else crop


def _move(points: np.ndarray, low: np.ndarray) -> np.ndarray:
    """Points (P, 2) seen from the pixel `low`, rounded where they are.

    pycocotools rounds to fifths of a pixel. Points halfway between two, which annotations with one
    or two decimals often are, would round differently after the move.
    """
    fifths = np.floor(np.asarray(points, np.float64) * _PER_PIXEL + 0.5)
    return np.where(low > 0, (fifths - _PER_PIXEL * low) / _PER_PIXEL, points)


def _clip(crop: MaskCrop, size: tuple[int, int]) -> MaskCrop:
    height, width = crop.bitmap.shape
    if crop.top >= 0 and crop.left >= 0 and crop.top + height <= size[0]:
        if crop.left + width <= size[1]:
            return crop
    top, left = max(crop.top, 0), max(crop.left, 0)
    inside = crop.bitmap[
        top - crop.top : max(size[0] - crop.top, 0), left - crop.left : max(size[1] - crop.left, 0)
    ]
    return MaskCrop(inside, top, left) if inside.size else _empty()


def _empty() -> MaskCrop:
    return MaskCrop(np.zeros((0, 0), bool), 0, 0)


def _shortened(value: Any, limit: int = 60) -> str:
    text = repr(value)
    return text if len(text) <= limit else f"{text[:limit]}..."
