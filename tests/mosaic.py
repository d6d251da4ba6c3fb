"""A huge picture made of small ones, and how its tiled prediction compares with untiled ones."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
from pycocotools import mask as coco_mask

from kmrcnn.data.images import read_image
from kmrcnn.postprocess.merge_tiles import SeamRule, Tile
from kmrcnn.structures.detections import Detections
from kmrcnn.structures.mask_crop import CroppedMasks

CELL = 256  # pixels of a picture that are taken
MARGIN = SeamRule().margin


def make_mosaic(paths: Iterable[Path], side: int, enlarge: int = 1) -> np.ndarray:
    """(side, side, 3) uint8: corners of the pictures, enlarged, side by side."""
    cell = CELL * enlarge
    mosaic = np.zeros((side, side, 3), np.uint8)
    places = itertools.product(range(0, side, cell), repeat=2)
    for (top, left), path in zip(places, itertools.cycle(sorted(paths))):
        picture = read_image(path, 3)[:CELL, :CELL]
        picture = cv2.resize(picture, None, fx=enlarge, fy=enlarge)
        room = mosaic[top : top + cell, left : left + cell]
        height, width = (min(pair) for pair in zip(picture.shape[:2], room.shape[:2]))
        room[:height, :width] = picture[:height, :width]
    return mosaic


class Inside(NamedTuple):
    """Objects of tiles predicted alone that lie in no other tile."""

    number: int
    equal: int  # the tiled prediction has the same box, score, class and mask


class OnSeams(NamedTuple):
    """Sure, whole objects of windows around the corners of four tiles that reach a seam."""

    number: int
    found: int  # an object of the tiled prediction has a mask IoU of at least 0.5
    # pairs of the tiled prediction's objects on seams whose masks and boxes have such an IoU; NMS
    # leaves none in one tile
    doubles: int


def compare_inside(
    predictor, pixels, found: Detections, tiles: Sequence[Tile], limit: int = 10**9
) -> Inside:
    """Compares away from the seams.

    Args:
        predictor: That predicted the tiles.
        pixels: (H, W, C) the picture.
        found: The tiled prediction.
        tiles: All of them.
        limit: So many tiles at most, evenly spread.
    """
    number = equal = 0
    for one in _spread(tiles, limit):
        others = [tile.common(one) for tile in tiles if tile != one]
        shared = np.array([tile.box() for tile in others if tile]).reshape(-1, 4)
        alone = _moved(predictor.predict(_cut(pixels, one)), one, found.image_size)
        for index in np.flatnonzero(~_touch(alone.boxes, shared)):
            same = np.abs(found.boxes - alone.boxes[index]).max(axis=1, initial=0) < 1e-3
            same &= np.abs(found.scores - alone.scores[index]) < 1e-5
            same &= found.classes == alone.classes[index]
            mask = alone.masks.crop(index)
            number += 1
            equal += any(_is_same(mask, found.masks.crop(i)) for i in np.flatnonzero(same))
    return Inside(number, equal)


def compare_on_seams(
    predictor, pixels, found: Detections, tiles: Sequence[Tile], sure: float, limit: int = 10**9
) -> OnSeams:
    """Compares around corners of four tiles, in windows of a tile's size with the corner inside.

    Args:
        predictor: That predicted the tiles.
        pixels: (H, W, C) the picture.
        found: The tiled prediction.
        tiles: All of them.
        sure: Least score of an object that must be found again.
        limit: So many windows at most, evenly spread.
    """
    seams = [a.common(b) for a, b in itertools.combinations(tiles, 2)]
    regions = np.array([piece.box() for piece in seams if piece]).reshape(-1, 4)
    number = again = 0
    for window in _spread(list(_windows_between(tiles)), limit):
        alone = _moved(predictor.predict(_cut(pixels, window)), window, found.image_size)
        box = window.box() + np.float32([MARGIN, MARGIN, -MARGIN, -MARGIN])
        whole = (alone.boxes[:, :2] > box[:2]).all(1) & (alone.boxes[:, 2:] < box[2:]).all(1)
        chosen = alone[whole & (alone.scores >= sure) & _touch(alone.boxes, regions)]
        number += len(chosen)
        again += sum(masks.max() >= 0.5 for masks, _ in _overlaps(chosen, found))
    reaching = found[_touch(found.boxes, regions)]
    high = sum(
        ((masks >= 0.5) & (boxes >= 0.5)).sum() for masks, boxes in _overlaps(reaching, reaching)
    )
    return OnSeams(number, int(again), int(high - len(reaching)) // 2)


def _cut(pixels: np.ndarray, tile: Tile) -> np.ndarray:
    return np.array(pixels[tile.top : tile.bottom, tile.left : tile.right])


def _moved(found: Detections, tile: Tile, size: tuple[int, int]) -> Detections:
    crops = [crop.moved(tile.top, tile.left) for crop in found.mask_crops()]
    corner = np.float32([tile.left, tile.top] * 2)
    return replace(
        found, boxes=found.boxes + corner, image_size=size, masks=CroppedMasks(crops, size)
    )


def _touch(boxes: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """(N,) bool: boxes (N, 4) that overlap one of the regions (R, 4)."""
    low = np.maximum(boxes[:, None, :2], regions[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    return (low < high).all(axis=2).any(axis=1)


def _is_same(one, other) -> bool:
    return one.box().tolist() == other.box().tolist() and (one.bitmap == other.bitmap).all()


def _windows_between(tiles: Sequence[Tile]) -> Iterator[Tile]:
    """A window between each tile and the next one down and to the right."""
    tops = sorted({tile.top for tile in tiles})
    lefts = sorted({tile.left for tile in tiles})
    height, width = tiles[0].bottom - tiles[0].top, tiles[0].right - tiles[0].left
    for (y, below), (x, beside) in itertools.product(
        itertools.pairwise(tops), itertools.pairwise(lefts)
    ):
        top, left = (y + below) // 2, (x + beside) // 2
        yield Tile(top, left, top + height, left + width)


def _spread(windows: Sequence[Tile], limit: int) -> list[Tile]:
    index = np.linspace(0, len(windows) - 1, min(limit, len(windows)))
    return [windows[i] for i in index.round().astype(int)]


def _overlaps(some: Detections, others: Detections) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields for each of `some` the IoU of its mask, and of its box, with those of `others` whose
    boxes it overlaps.
    """
    size = others.image_size
    runs = [crop.to_rle(size) for crop in others.mask_crops()]
    corners = [np.append(boxes[:, :2], boxes[:, 2:] - boxes[:, :2], axis=1).astype(float)
               for boxes in (some.boxes, others.boxes)]  # fmt: skip
    for row, (box, crop) in enumerate(zip(some.boxes, some.mask_crops())):
        near = np.flatnonzero(_touch(others.boxes, box[None])).tolist()
        if near:
            masks = coco_mask.iou([runs[i] for i in near], [crop.to_rle(size)], [False])[:, 0]
            boxes = coco_mask.iou(corners[1][near], corners[0][[row]], [False])[:, 0]
            yield masks, boxes
