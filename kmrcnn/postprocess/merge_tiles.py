"""Detections of overlapping tiles to those of the whole picture (NumPy).

Two tiles see the same pixels where they overlap. What they found there is compared by its masks:

- both objects are whole, and overlap: one object found twice, the better score stays;
- one is whole, the other ends at its tile's border and lies mostly under the first: a fragment,
  which goes;
- both end at a border, and overlap: parts of one object that no tile has as a whole; they are
  united.
"""

from __future__ import annotations

import itertools
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
    groups = _united(len(parts.scores), pairs, dropped)
    return _gather(parts, groups, found, image_size)


@dataclass
class _Parts:
    """The detections of all tiles one after another, in the pixels of the picture."""

    tiles: Sequence[Tile]
    boxes: np.ndarray  # (N, 4)
    scores: np.ndarray  # (N,)
    classes: np.ndarray  # (N,)
    tile_index: np.ndarray  # (N,)
    cut: np.ndarray  # (N,) bool: ends at an inner border of its tile
    masks: CroppedMasks | None

    @classmethod
    def of(cls, tiles, found, image_size, margin) -> _Parts:
        counts = [len(one) for one in found]
        index = np.repeat(np.arange(len(tiles)), counts)
        boxes = np.concatenate([one.boxes for one in found])
        corners = np.array([(tile.left, tile.top) for tile in tiles], np.float32)
        boxes = boxes + np.tile(corners, 2)[index]
        return cls(
            tiles=tiles,
            boxes=boxes,
            scores=np.concatenate([one.scores for one in found]),
            classes=np.concatenate([one.classes for one in found]),
            tile_index=index,
            cut=_touch_inner_border(boxes, tiles, index, image_size, margin),
            masks=_moved_masks(tiles, found, image_size),
        )

    def shape(self, index: int) -> MaskCrop:
        """The mask, or the pixels of the box where there is no mask or an empty one."""
        if self.masks is not None:
            crop = self.masks.crop(index)
            if crop.bitmap.any():
                return crop
        x1, y1 = np.floor(self.boxes[index, :2]).astype(int)
        x2, y2 = np.ceil(self.boxes[index, 2:]).astype(int)
        return MaskCrop(np.ones((y2 - y1, x2 - x1), bool), int(y1), int(x1))


class _Pair(NamedTuple):
    """Two detections of one class and different tiles that share pixels."""

    first: int
    second: int
    num_cut: int
    iou: float  # in the common region of the two tiles
    coverage: float  # the part of the cut one that the whole one covers; 0 unless `num_cut` is 1

    def belong_together(self, rule: SeamRule) -> bool:
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


def _moved_masks(tiles, found, image_size) -> CroppedMasks | None:
    if any(one.masks is None for one in found):
        return None
    crops = (
        crop.moved(tile.top, tile.left)
        for tile, one in zip(tiles, found)
        for crop in one.mask_crops()
    )
    return CroppedMasks(crops, image_size)


def _overlapping_pairs(parts: _Parts) -> Iterator[_Pair]:
    for (a, tile_a), (b, tile_b) in itertools.combinations(enumerate(parts.tiles), 2):
        common = tile_a.common(tile_b)
        if common is None:
            continue
        members = [
            np.nonzero((parts.tile_index == number) & _intersect(parts.boxes, common.box()))[0]
            for number in (a, b)
        ]
        for first in members[0].tolist():
            rivals = members[1][parts.classes[members[1]] == parts.classes[first]]
            rivals = rivals[_intersect(parts.boxes[rivals], parts.boxes[first])]
            for second in rivals.tolist():
                yield _compare(parts, first, second, common)


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
    return _Pair(first, second, num_cut, shared / max(union, 1), coverage)


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
    for index in sorted(rivals, key=lambda index: -parts.scores[index]):
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


def _gather(
    parts: _Parts, groups: list[list[int]], found: Sequence[Detections], image_size
) -> Detections:
    groups = [sorted(group, key=lambda index: -parts.scores[index]) for group in groups]
    groups.sort(key=lambda group: -parts.scores[group[0]])
    best = np.array([group[0] for group in groups], np.int64)
    low = np.array([parts.boxes[group, :2].min(axis=0) for group in groups]).reshape(-1, 2)
    high = np.array([parts.boxes[group, 2:].max(axis=0) for group in groups]).reshape(-1, 2)
    masks = None
    if parts.masks is not None:
        masks = CroppedMasks((_union(parts.masks, group) for group in groups), image_size)
    return replace(
        found[0],
        boxes=np.concatenate([low, high], axis=1),
        scores=parts.scores[best],
        classes=parts.classes[best],
        masks=masks,
        image_size=image_size,
    )


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
