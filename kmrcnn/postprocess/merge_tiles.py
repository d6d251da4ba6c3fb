"""Detections of overlapping tiles to those of the whole picture (NumPy).

Two tiles see the same pixels where they overlap. What they found there is compared by its masks:

- both objects are whole, and overlap: one object found twice, the better score stays;
- one is whole, the other ends at its tile's border and lies mostly under the first: a fragment,
  which goes;
- both end at a border, and overlap: parts of one object that no tile has as a whole; they are
  united.

Objects of different classes stay apart, with one exception. The class of a cut object is a guess:
if the mask is just what the tile sees of the other's whole object, it is a fragment of that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from kmrcnn.structures.detections import Detections
from kmrcnn.structures.mask_crop import CroppedMasks, MaskCrop


class Tile(NamedTuple):
    """A window of a picture, in whole pixels."""

    top: int
    left: int
    bottom: int
    right: int

    def box(self) -> np.ndarray:
        """(4,) float32 xyxy."""
        return np.array([self.left, self.top, self.right, self.bottom], np.float32)

    def common(self, other: Tile) -> Tile | None:
        """The pixels that both have; None if there are none."""
        top, left = max(self.top, other.top), max(self.left, other.left)
        bottom, right = min(self.bottom, other.bottom), min(self.right, other.right)
        return Tile(top, left, bottom, right) if top < bottom and left < right else None


@dataclass(frozen=True)
class SeamRule:
    """What decides that detections of two tiles are of one object.

    Attributes:
        min_iou: Least mask IoU, within the common region of the tiles, of two whole objects or two
            cut ones.
        min_coverage: Least part of a cut object that a whole one must cover.
        margin: Pixels; an object whose box comes so near to a tile's inner border counts as cut.
    """

    min_iou: float = 0.5
    min_coverage: float = 0.5
    margin: float = 4.0


def merge_tiles(
    tiles: Sequence[Tile],
    found: Sequence[Detections],
    image_size: tuple[int, int],
    rule: SeamRule,
) -> Detections:
    """Put together what was found in the tiles of one picture.

    Args:
        tiles: Windows that overlap their neighbours.
        found: Detections of each tile in its own pixels.
        image_size: (height, width) of the picture.
        rule: When detections belong together.

    Returns:
        Detections in the pixels of the picture, best score first, masks as `CroppedMasks`. A
        united object has the best score of its parts, and of other fields what the best part has.
    """
    parts = _Parts.of(tiles, found, image_size, rule.margin)
    pairs = [pair for pair in _overlapping_pairs(parts) if pair.belong_together(rule)]
    dropped = _found_twice(parts, pairs) | _fragments_of_whole(parts, pairs)
    groups = _united(len(parts.every), pairs, dropped)
    return _gather(parts, groups)


@dataclass(frozen=True)
class _Parts:
    """The N detections of all tiles."""

    tiles: Sequence[Tile]
    every: Detections  # one tile's after another's, in the pixels of the picture
    tile_index: np.ndarray  # (N,), ascending
    cut: np.ndarray  # (N,) bool: ends at an inner border of its tile

    @classmethod
    def of(cls, tiles, found, image_size, margin) -> _Parts:
        index = np.repeat(np.arange(len(tiles)), [len(one) for one in found])
        every = _moved_to_picture(tiles, found, image_size)
        cut = _touch_inner_border(every.boxes, tiles, index, image_size, margin)
        return cls(tiles, every, index, cut)

    def of_tile(self, number: int) -> np.ndarray:
        """Indices (n,) of a tile's detections."""
        return np.arange(*np.searchsorted(self.tile_index, (number, number + 1)))

    def shape(self, index: int) -> MaskCrop:
        """The mask, or the pixels of the box where there is no mask or an empty one."""
        if self.every.masks is not None:
            crop = self.every.masks.crop(index)
            if crop.bitmap.any():
                return crop
        x1, y1 = np.floor(self.every.boxes[index, :2]).astype(int)
        x2, y2 = np.ceil(self.every.boxes[index, 2:]).astype(int)
        return MaskCrop(np.ones((y2 - y1, x2 - x1), bool), int(y1), int(x1))


class _Pair(NamedTuple):
    """Two detections of different tiles that overlap."""

    first: int
    second: int
    same_class: bool
    num_cut: int
    iou: float  # in the common region of the two tiles
    coverage: float  # the part of the cut one that the whole one covers; 0 unless `num_cut` is 1

    def belong_together(self, rule: SeamRule) -> bool:
        if not self.same_class:
            return self.num_cut == 1 and self.iou >= rule.min_iou
        if self.num_cut == 1:
            return self.coverage >= rule.min_coverage
        return self.iou >= rule.min_iou


def _touch_inner_border(boxes, tiles, index, image_size, margin) -> np.ndarray:
    """(N,) bool: boxes that come within `margin` of a border their tile shares with others."""
    height, width = image_size
    borders = np.array([tile.box() for tile in tiles]).reshape(-1, 4)
    inner = borders != np.array([0, 0, width, height], np.float32)
    near = np.abs(boxes - borders[index]) <= margin
    return (near & inner[index]).any(axis=1)


def _moved_to_picture(tiles, found, image_size) -> Detections:
    first = found[0]
    corners = [np.array([tile.left, tile.top], np.float32) for tile in tiles]
    boxes = [one.boxes + np.tile(corner, 2) for one, corner in zip(found, corners)]
    masks = keypoints = None
    if first.masks is not None:
        crops = (
            crop.moved(tile.top, tile.left)
            for tile, one in zip(tiles, found)
            for crop in one.mask_crops()
        )
        masks = CroppedMasks(crops, image_size)
    if first.keypoints is not None:
        shifts = [np.append(corner, np.float32(0)) for corner in corners]  # x, y, score
        keypoints = np.concatenate([one.keypoints + by for one, by in zip(found, shifts)])
    return replace(
        first,
        boxes=np.concatenate(boxes),
        scores=np.concatenate([one.scores for one in found]),
        classes=np.concatenate([one.classes for one in found]),
        image_size=image_size,
        masks=masks,
        keypoints=keypoints,
    )


def _overlapping_pairs(parts: _Parts) -> Iterator[_Pair]:
    boxes = parts.every.boxes
    for a, b, common in _overlapping_tiles(parts.tiles):
        ours, theirs = (parts.of_tile(tile) for tile in (a, b))
        ours = ours[_intersect(boxes[ours], common.box())]
        theirs = theirs[_intersect(boxes[theirs], common.box())]
        for first in ours.tolist():
            for second in theirs[_intersect(boxes[theirs], boxes[first])].tolist():
                yield _compare(parts, first, second, common)


def _overlapping_tiles(tiles: Sequence[Tile]) -> Iterator[tuple[int, int, Tile]]:
    """Yields the numbers of two tiles, and the pixels that both have."""
    windows = np.array([tile.box() for tile in tiles]).reshape(-1, 4)
    for first, tile in enumerate(tiles):
        later = np.nonzero(_intersect(windows[first + 1 :], windows[first]))[0] + first + 1
        for second in later.tolist():
            yield first, second, tile.common(tiles[second])


def _intersect(boxes: np.ndarray, box: np.ndarray) -> np.ndarray:
    """(N,) bool: boxes (N, 4) that share pixels with the box (4,)."""
    return (boxes[:, :2] < box[2:]).all(axis=1) & (boxes[:, 2:] > box[:2]).all(axis=1)


def _compare(parts: _Parts, first: int, second: int, common: Tile) -> _Pair:
    one, other = parts.shape(first), parts.shape(second)
    shared = _shared_pixels(one, other, common)
    union = _pixels_in(one, common) + _pixels_in(other, common) - shared
    num_cut = int(parts.cut[first]) + int(parts.cut[second])
    coverage = 0.0
    if num_cut == 1:
        coverage = shared / (one if parts.cut[first] else other).bitmap.sum()
    same_class = bool(parts.every.classes[first] == parts.every.classes[second])
    return _Pair(first, second, same_class, num_cut, shared / max(union, 1), coverage)


def _pixels_in(crop: MaskCrop, tile: Tile) -> int:
    return int(_cut_to(crop, tile).sum())


def _shared_pixels(one: MaskCrop, other: MaskCrop, tile: Tile) -> int:
    rows, columns = other.slices()
    both = tile.common(Tile(rows.start, columns.start, rows.stop, columns.stop))
    rows, columns = one.slices()
    both = both and both.common(Tile(rows.start, columns.start, rows.stop, columns.stop))
    return 0 if both is None else int((_cut_to(one, both) & _cut_to(other, both)).sum())


def _cut_to(crop: MaskCrop, tile: Tile) -> np.ndarray:
    """The pixels of a mask that lie in the tile."""
    rows = slice(max(tile.top - crop.top, 0), max(tile.bottom - crop.top, 0))
    columns = slice(max(tile.left - crop.left, 0), max(tile.right - crop.left, 0))
    return crop.bitmap[rows, columns]


def _found_twice(parts: _Parts, pairs: Sequence[_Pair]) -> set[int]:
    """Whole objects of which another tile has a better detection that stays: greedy NMS."""
    rivals: dict[int, set[int]] = {}
    for pair in pairs:
        if pair.num_cut == 0:
            rivals.setdefault(pair.first, set()).add(pair.second)
            rivals.setdefault(pair.second, set()).add(pair.first)
    dropped: set[int] = set()
    for index in sorted(rivals, key=lambda index: -parts.every.scores[index]):
        if index not in dropped:
            dropped |= rivals[index]
    return dropped


def _fragments_of_whole(parts: _Parts, pairs: Sequence[_Pair]) -> set[int]:
    return {
        pair.first if parts.cut[pair.first] else pair.second for pair in pairs if pair.num_cut == 1
    }


def _united(count: int, pairs: Sequence[_Pair], dropped: set[int]) -> list[list[int]]:
    """Indices that stay, those of one object together."""
    leader = list(range(count))

    def find(index: int) -> int:
        while leader[index] != index:
            index = leader[index]
        return index

    for pair in pairs:
        if pair.num_cut == 2 and not {pair.first, pair.second} & dropped:
            leader[find(pair.second)] = find(pair.first)
    groups: dict[int, list[int]] = {}
    for index in range(count):
        if index not in dropped:
            groups.setdefault(find(index), []).append(index)
    return list(groups.values())


def _gather(parts: _Parts, groups: list[list[int]]) -> Detections:
    """One detection per group, the best group first."""
    every = parts.every
    groups = [sorted(group, key=lambda index: -every.scores[index]) for group in groups]
    groups.sort(key=lambda group: -every.scores[group[0]])
    low = np.array([every.boxes[group, :2].min(axis=0) for group in groups]).reshape(-1, 2)
    high = np.array([every.boxes[group, 2:].max(axis=0) for group in groups]).reshape(-1, 2)
    masks = every.masks
    if masks is not None:
        masks = CroppedMasks((_union(every.masks, group) for group in groups), every.image_size)
    best = every[[group[0] for group in groups]]
    return replace(best, boxes=np.concatenate([low, high], axis=1), masks=masks)


def _union(masks: CroppedMasks, group: list[int]) -> MaskCrop:
    crops = [masks.crop(index) for index in group]
    crops = [crop for crop in crops if crop.bitmap.any()] or crops[:1]
    if len(crops) == 1:
        return crops[0]
    windows = np.array([crop.box() for crop in crops]).astype(int)
    left, top = windows[:, :2].min(axis=0).tolist()
    right, bottom = windows[:, 2:].max(axis=0).tolist()
    bitmap = np.zeros((bottom - top, right - left), bool)
    for crop in crops:
        bitmap[crop.moved(-top, -left).slices()] |= crop.bitmap
    return MaskCrop(bitmap, top, left)
