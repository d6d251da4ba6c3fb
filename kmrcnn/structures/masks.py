"""Instance masks in their four forms: bitmap, run lengths (RLE), polygons, bounding box.

Polygons run along the pixel edges in continuous coordinates (pixel i covers [i, i + 1)), so that
they enclose exactly the pixels of the bitmap, and are filled by pycocotools' rule, so that COCO
annotations give the bitmaps COCO means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import numpy as np
from pycocotools import mask as coco_mask


def mask_to_rle(mask: np.ndarray) -> dict[str, Any]:
    """Encodes a bitmap as compressed run lengths, ready for JSON.

    Args:
        mask: (H, W) bool, or integers whose non-zero pixels belong to the object.

    Returns:
        ``{"size": [H, W], "counts": str}``, the form of COCO result files.
    """
    bitmap = np.asfortranarray(_require_bitmap(mask), dtype=np.uint8)
    rle = coco_mask.encode(bitmap)
    return {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}


def rle_to_mask(rle: Mapping[str, Any]) -> np.ndarray:
    """Decodes run lengths.

    Args:
        rle: ``{"size": [H, W], "counts": ...}`` with compressed counts (str or bytes) or, as in the
            crowds of COCO, a plain list of run lengths, column by column, starting with background.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: A key is missing, or the runs do not add up to H * W.
    """
    if not isinstance(rle, Mapping) or "size" not in rle or "counts" not in rle:
        raise ValueError(f"`rle` must be a dict with 'size' and 'counts'. Received: rle={rle!r}")
    height, width = (int(side) for side in rle["size"])
    counts = rle["counts"]
    if isinstance(counts, (str, bytes)):
        counts = counts.encode("ascii") if isinstance(counts, str) else counts
        return coco_mask.decode({"size": [height, width], "counts": counts}).astype(bool)
    runs = np.asarray(counts, dtype=np.int64)
    if runs.sum() != height * width or (runs < 0).any():
        raise ValueError(
            f"The runs of `rle` must add up to height * width = {height * width}. "
            f"Received: sum={runs.sum()}"
        )
    values = np.arange(runs.size) % 2 == 1  # background first
    return np.repeat(values, runs).reshape(width, height).T  # (H, W), from column order


def mask_to_polygons(
    mask: np.ndarray, tolerance: float = 0.0, min_area: float = 4.0
) -> list[np.ndarray]:
    """Outlines every part of a bitmap.

    Holes are filled: neither COCO's nor LabelMe's polygons can express them. Pixels that touch at a
    corner belong to one part. Parts smaller than `min_area` are dropped, except the largest: a mask
    with pixels always has a polygon.

    Args:
        mask: (H, W) bool or integer.
        tolerance: Largest distance in pixels between the exact outline and the simplified one
            (Douglas-Peucker). 0 keeps the outline exact, a staircase along the pixel edges; about 1
            turns stairs into slopes.
        min_area: Square pixels, holes included.

    Returns:
        One (P, 2) float32 array of x, y per part, P >= 3, the largest part first. Empty for an
        empty mask.
    """
    bitmap = _require_bitmap(mask)
    if not bitmap.any():
        return []
    left, top, right, bottom = mask_to_box(bitmap).astype(int)
    lattice = _corner_lattice(bitmap[top:bottom, left:right])
    contours, _ = cv2.findContours(lattice, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    polygons = [_corner_path(contour[:, 0]) for contour in contours]  # (P, 2) px
    areas = [cv2.contourArea(polygon) for polygon in polygons]
    order = sorted(range(len(polygons)), key=lambda i: -areas[i])
    kept = [i for rank, i in enumerate(order) if rank == 0 or areas[i] >= min_area]
    offset = np.array([left, top], np.float32)
    return [_simplify(polygons[i], tolerance) + offset for i in kept]


def polygons_to_mask(
    polygons: Sequence[Sequence[float] | np.ndarray], image_size: tuple[int, int]
) -> np.ndarray:
    """Fills polygons; the mask is the union of the parts.

    Args:
        polygons: Per part either (P, 2) points or COCO's flat ``[x0, y0, x1, y1, ...]``; pixels, P
            >= 3.
        image_size: (height, width) of the bitmap.

    Returns:
        (H, W) bool.

    Raises:
        ValueError: A part has fewer than three points or an odd number of coordinates.
    """
    height, width = (int(side) for side in image_size)
    flat = [np.asarray(polygon, np.float64).reshape(-1) for polygon in polygons]
    for index, polygon in enumerate(flat):
        if polygon.size < 6 or polygon.size % 2:
            raise ValueError(
                "Each polygon must have at least three x, y points. "
                f"Received: polygons[{index}] with {polygon.size} numbers"
            )
    if not flat:
        return np.zeros((height, width), bool)
    rles = coco_mask.frPyObjects([polygon.tolist() for polygon in flat], height, width)
    return coco_mask.decode(coco_mask.merge(rles)).astype(bool)


def mask_to_box(mask: np.ndarray) -> np.ndarray:
    """Finds the tightest box around a bitmap.

    Args:
        mask: (H, W) bool or integer.

    Returns:
        (4,) float32 xyxy, continuous coordinates: one pixel at column 3 spans 3..4. Zeros for an
        empty mask.
    """
    bitmap = _require_bitmap(mask)
    rows = np.flatnonzero(bitmap.any(axis=1))
    if rows.size == 0:
        return np.zeros(4, np.float32)
    columns = np.flatnonzero(bitmap[rows[0] : rows[-1] + 1].any(axis=0))
    return np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)


def _corner_lattice(bitmap: np.ndarray) -> np.ndarray:
    """(H, W) bool -> (2H + 1, 2W + 1) uint8: pixels at odd indices, edges and corners between."""
    height, width = bitmap.shape
    lattice = np.zeros((2 * height + 1, 2 * width + 1), np.uint8)
    lattice[1::2, 1::2] = bitmap
    return cv2.dilate(lattice, np.ones((3, 3), np.uint8))


def _corner_path(contour: np.ndarray) -> np.ndarray:
    """(N, 2) nodes along an outline -> (P, 2) float32 px, the corners where it turns.

    OpenCV walks over the corner node at inner corners, from edge to edge: it is put back in.
    """
    following = np.roll(contour, -1, axis=0)
    skipped = np.where(contour % 2 == 0, contour, following)  # the one of the two with even x and y
    nodes = np.stack([contour, skipped], axis=1).reshape(-1, 2)
    corners = nodes[(nodes % 2 == 0).all(axis=1)]
    corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
    arriving = corners - np.roll(corners, 1, axis=0)
    leaving = np.roll(corners, -1, axis=0) - corners
    return corners[(arriving != leaving).any(axis=1)].astype(np.float32) / 2


def _simplify(polygon: np.ndarray, tolerance: float) -> np.ndarray:
    if tolerance <= 0:
        return polygon
    simplified = cv2.approxPolyDP(polygon[:, None], tolerance, closed=True)[:, 0]  # (P, 2)
    return simplified if len(simplified) >= 3 else polygon


def _require_bitmap(mask: np.ndarray) -> np.ndarray:
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.dtype.kind not in "bui":
        raise ValueError(
            "`mask` must be a (H, W) array of bool or integers; threshold probabilities first. "
            f"Received: shape={mask.shape}, dtype={mask.dtype}"
        )
    return mask if mask.dtype == bool else mask != 0
