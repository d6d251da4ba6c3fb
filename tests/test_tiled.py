"""Tiled prediction: a stand-in that finds bright shapes exactly, and the bundled nuclei model."""

import json
import subprocess
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from PIL import Image

from kmrcnn.structures.detections import Detections
from kmrcnn.structures.mask_crop import CroppedMasks
from kmrcnn.structures.masks import mask_to_box
from kmrcnn.tiled import TiledPredictor, tile_picture
from tests.conftest import ROOT
from tests.mosaic import compare_inside, compare_on_seams, make_mosaic


class BrightShapes:
    """Finds connected bright pixels; what is cut scores less."""

    config = SimpleNamespace(input=SimpleNamespace(channels=3))
    score_threshold = 0.5

    def __init__(self, batch_size: int = 1):
        self.batch_size = batch_size
        self.sizes = []

    def predict(self, pictures):
        if isinstance(pictures, np.ndarray):
            return self._one(pictures)
        self.sizes.append(len(pictures))
        return [self._one(picture) for picture in pictures]

    def _one(self, picture) -> Detections:
        size = picture.shape[:2]
        number, labels = cv2.connectedComponents((picture[..., 0] > 128).astype(np.uint8))
        masks = np.stack([labels == i for i in range(number)])[1:]
        boxes = np.array([mask_to_box(mask) for mask in masks], np.float32).reshape(-1, 4)
        cut = (boxes[:, :2] == 0).any(1) | (boxes[:, 2:] == size[::-1]).any(1)
        return Detections(boxes, np.where(cut, 0.6, 0.9), np.zeros(len(boxes), int), size, masks)


def discs(height: int, width: int, seed: int = 0, radius=(3, 14)) -> np.ndarray:
    """Bright discs that do not touch each other."""
    rng = np.random.default_rng(seed)
    picture = np.zeros((height, width, 3), np.uint8)
    taken = np.zeros((height, width), np.uint8)
    for _ in range(height * width // 800):
        r = int(rng.integers(*radius))
        centre = int(rng.integers(0, width)), int(rng.integers(0, height))
        space = cv2.circle(np.zeros_like(taken), centre, r + 3, 1, -1)
        if not (space & taken).any():
            taken |= space
            cv2.circle(picture, centre, r, (255, 255, 255), -1)
    return picture


def assert_same_objects(found: Detections, want: Detections):
    assert len(found) == len(want)
    order, other = (np.lexsort(one.boxes.T) for one in (found, want))
    np.testing.assert_array_equal(found.boxes[order], want.boxes[other])
    np.testing.assert_array_equal(np.asarray(found.masks)[order], np.asarray(want.masks)[other])


@pytest.mark.parametrize("size", [(300, 420), (97, 421), (420, 100)])
@pytest.mark.parametrize("tile, overlap", [(100, 40), (150, 50)])
def test_tiled_prediction_is_the_untiled_one(size, tile, overlap):
    picture = discs(*size)
    tiled = TiledPredictor(BrightShapes(), tile, overlap).predict(picture)
    assert_same_objects(tiled, BrightShapes().predict(picture))
    assert isinstance(tiled.masks, CroppedMasks) and tiled.image_size == size


def test_objects_larger_than_a_tile_are_put_together():
    picture = discs(400, 400, radius=(90, 110))
    tiled = TiledPredictor(BrightShapes(), 100, 40).predict(picture)
    assert_same_objects(tiled, BrightShapes().predict(picture))


def test_whole_objects_keep_the_score_of_the_tile_that_has_them_whole():
    picture = np.zeros((60, 180, 3), np.uint8)
    picture[20:40, 85:110] = 255  # whole in the second of the tiles 0..100, 80..180
    found = TiledPredictor(BrightShapes(), 100, 20).predict(picture)
    assert found.scores.tolist() == pytest.approx([0.9])


@pytest.mark.parametrize("size", [(1024, 1024), (1500, 4000), (10, 3000), (6000, 6000)])
def test_tiles_cover_the_picture_and_share_the_overlap(size):
    tiles = tile_picture(size, 1024, 128)
    covered = np.zeros(size, np.uint8)
    for tile in tiles:
        covered[tile.top : tile.bottom, tile.left : tile.right] = 1
        assert (tile.bottom - tile.top, tile.right - tile.left) == tuple(np.minimum(size, 1024))
    assert covered.all()
    for axis in ("top", "left"):
        starts = sorted({getattr(tile, axis) for tile in tiles})
        assert all(other - one <= 1024 - 128 for one, other in zip(starts, starts[1:]))


def test_pictures_of_one_tile_are_predicted_as_they_are():
    picture = discs(80, 90)
    predictor = BrightShapes()
    assert_same_objects(
        TiledPredictor(predictor, 100, 20).predict(picture), predictor._one(picture)
    )
    assert predictor.sizes == [1]


def test_nothing_found():
    found = TiledPredictor(BrightShapes(), 100, 20).predict(np.zeros((150, 250, 3), np.uint8))
    assert len(found) == 0 and found.masks.shape == (0, 150, 250)


def test_tiles_come_in_batches():
    predictor = BrightShapes(batch_size=4)
    TiledPredictor(predictor, 100, 20).predict(discs(180, 260))
    assert predictor.sizes == [4, 2]


def test_files_and_lists(tmp_path):
    picture = discs(150, 260)
    path = tmp_path / "slide.tif"
    Image.fromarray(picture).save(path)
    tiled = TiledPredictor(BrightShapes(), 100, 20)
    want = tiled.predict(picture)
    from_file = tiled.predict(path)
    assert from_file.source == path and want.source is None
    assert_same_objects(from_file, want)
    for one in tiled.predict([picture, str(path)]):
        assert_same_objects(one, want)


@pytest.mark.parametrize("overlap", [-1, 100, 200])
def test_overlap_must_be_smaller_than_a_tile(overlap):
    with pytest.raises(ValueError, match="`overlap` must be at least 0 and less than `tile`"):
        TiledPredictor(BrightShapes(), 100, overlap)


@pytest.mark.parametrize("shape", [(0, 10, 3), (10,), (1, 10, 10, 3)])
def test_arrays_that_are_no_picture(shape):
    with pytest.raises(ValueError, match=r"must have shape \(H, W\)"):
        TiledPredictor(BrightShapes()).predict(np.zeros(shape, np.uint8))


@pytest.mark.realdata
def test_nuclei_of_a_mosaic(data_dir):
    from kmrcnn import Predictor, load_model

    predictor = Predictor(load_model("mask_rcnn_nuclei", weights="bundled"))
    mosaic = make_mosaic((data_dir / "nuclei/val/images").iterdir(), 432)
    tiled = TiledPredictor(predictor, 256, 64, progress=False)
    found = tiled.predict(mosaic)
    tiles = tile_picture(mosaic.shape[:2], 256, 64)
    inside = compare_inside(predictor, mosaic, found, tiles)
    assert inside.number > 5 and inside.equal == inside.number
    seams = compare_on_seams(predictor, mosaic, found, tiles, sure=0.8)
    assert seams.number > 3 and seams.doubles == 0
    assert seams.found >= 0.95 * seams.number


@pytest.mark.slow
@pytest.mark.realdata
def test_large_mosaic_in_the_memory_of_a_tile(data_dir, tmp_path):
    out = tmp_path / "tiles.json"
    script = [sys.executable, ROOT / "benchmarks" / "tiles.py", data_dir / "nuclei/val/images"]
    subprocess.run([*script, "--side", "3000", "--json", out], check=True)
    result = json.loads(out.read_text())
    mosaic = result["mosaic"]
    assert mosaic["peak_mib"] - result["tile"]["peak_mib"] < 1536
    assert mosaic["inside"]["number"] > 30
    assert mosaic["inside"]["equal"] == mosaic["inside"]["number"]
    assert mosaic["on_seams"]["number"] > 50 and mosaic["on_seams"]["doubles"] == 0
    assert mosaic["on_seams"]["found"] >= 0.95 * mosaic["on_seams"]["number"]
