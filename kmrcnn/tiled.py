"""Huge pictures: predicted tile by tile, objects put together across the seams."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from kmrcnn.data.large_images import open_image
from kmrcnn.postprocess.merge_tiles import SeamRule, Tile, merge_tiles
from kmrcnn.structures.detections import Detections
from kmrcnn.structures.mask_crop import CroppedMasks

if TYPE_CHECKING:
    from kmrcnn.predictor import Picture, Predictor


class TiledPredictor:
    """Runs a predictor on overlapping tiles of a picture of any size.

    Memory is that of a tile's prediction, whatever the size of the picture: tiles are read from the
    array or file one after another, and masks are kept as run lengths of their windows
    (`CroppedMasks`). Arrays may be memory maps; of files see `data.large_images.open_image`.

    The model sees each tile as a picture: resized to the network's short side, with the model's
    limit of detections. So the tile decides the scale: choose one in which objects look as they did
    in training.

    Args:
        predictor: Predicts the tiles.
        tile: Height and width of a tile, pixels.
        overlap: Pixels that neighbours share, at least. An object smaller than that is whole in
            some tile; a larger one may be put together from parts.
        rule: When detections of two tiles belong together.
        progress: Show a bar for pictures of more than one tile.

    Example:
        >>> predictor = TiledPredictor(kmrcnn.Predictor(model), tile=1024, overlap=128)
        >>> detections = predictor.predict("slide.tif")
        >>> detections.masks.crop(0)  # the first object, in its window
    """

    def __init__(
        self,
        predictor: Predictor,
        tile: int = 1024,
        overlap: int = 128,
        rule: SeamRule | None = None,
        progress: bool = True,
    ):
        if not 0 <= overlap < tile:
            raise ValueError(
                "`overlap` must be at least 0 and less than `tile`. "
                f"Received: overlap={overlap}, tile={tile}"
            )
        self.predictor = predictor
        self.tile = tile
        self.overlap = overlap
        self.rule = rule or SeamRule()
        self.progress = progress

    @property
    def config(self):
        """The model's configuration."""
        return self.predictor.config

    @property
    def score_threshold(self) -> float:
        """Of the predictor."""
        return self.predictor.score_threshold

    def predict(self, pictures: Picture | Iterable[Picture]) -> Detections | list[Detections]:
        """Find the objects in one picture or several; see `Predictor.predict`.

        Returns:
            `Detections` in the pixels of the original picture, masks as `CroppedMasks`; a list of
            them for several pictures.
        """
        if isinstance(pictures, (str, Path, np.ndarray)):
            return self._predict_one(pictures)
        return [self._predict_one(picture) for picture in pictures]

    def _predict_one(self, picture: Picture) -> Detections:
        pixels, source = _open(picture, self.config.input.channels)
        size = (int(pixels.shape[0]), int(pixels.shape[1]))
        tiles = tile_picture(size, self.tile, self.overlap)
        found = self._predict_tiles(pixels, tiles)
        return replace(merge_tiles(tiles, found, size, self.rule), source=source)

    def _predict_tiles(self, pixels: np.ndarray, tiles: list[Tile]) -> list[Detections]:
        from tqdm import tqdm

        batch_size = self.predictor.batch_size
        found: list[Detections] = []
        hidden = not self.progress or len(tiles) == 1
        with tqdm(
            total=len(tiles), desc="tiles", unit="tile", leave=False, disable=hidden or None,
            file=sys.stderr,
        ) as bar:  # fmt: skip
            for start in range(0, len(tiles), batch_size):
                members = tiles[start : start + batch_size]
                windows = [
                    np.array(pixels[one.top : one.bottom, one.left : one.right]) for one in members
                ]
                found += [_with_cropped_masks(one) for one in self.predictor.predict(windows)]
                bar.update(len(members))
        return found


def tile_picture(image_size: tuple[int, int], tile: int, overlap: int) -> list[Tile]:
    """Windows that cover a picture, row by row.

    All have the same size, so that the model sees all at the same scale: along each axis the last
    one is moved back to end at the picture's border. A picture smaller than a tile is one window.

    Args:
        image_size: (height, width).
        tile: Side of a window.
        overlap: Pixels that neighbours share; the last two along an axis may share more.
    """
    height, width = image_size
    tall, wide = min(tile, height), min(tile, width)
    return [
        Tile(top, left, top + tall, left + wide)
        for top in _starts(height, tile, overlap)
        for left in _starts(width, tile, overlap)
    ]


def _starts(length: int, tile: int, overlap: int) -> list[int]:
    if length <= tile:
        return [0]
    step = tile - overlap
    return [*range(0, length - tile, step), length - tile]


def _open(picture: Picture, channels: int) -> tuple[np.ndarray, Path | None]:
    if isinstance(picture, (str, Path)):
        return open_image(picture, channels), Path(picture)
    if picture.ndim not in (2, 3) or picture.size == 0:
        raise ValueError(
            "A picture must have shape (H, W) or (H, W, C) and pixels. "
            f"Received: shape={picture.shape}"
        )
    return picture, None


def _with_cropped_masks(found: Detections) -> Detections:
    if found.masks is None:
        return found
    return replace(found, masks=CroppedMasks(found.mask_crops(), found.image_size))
