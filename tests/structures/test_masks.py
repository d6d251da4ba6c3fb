"""Conversions between bitmap, RLE, polygons and box."""

import json

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from kmrcnn.structures.masks import (
    mask_to_box,
    mask_to_polygons,
    mask_to_rle,
    polygons_to_mask,
    rle_to_mask,
)


def blobs(seed: int, height: int = 60, width: int = 80) -> np.ndarray:
    """A few discs of random size: several parts, curved outlines, parts cut by the border."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    mask = np.zeros((height, width), bool)
    for _ in range(4):
        x, y, r = random.uniform(0, width), random.uniform(0, height), random.uniform(3, 15)
        mask |= (rows - y) ** 2 + (columns - x) ** 2 < r**2
    return mask


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return (a & b).sum() / (a | b).sum()


@pytest.mark.parametrize("seed", range(5))
def test_rle_roundtrip_is_exact_and_json_ready(seed):
    mask = blobs(seed)
    rle = json.loads(json.dumps(mask_to_rle(mask)))
    assert rle["size"] == [60, 80]
    assert np.array_equal(rle_to_mask(rle), mask)
    assert coco_mask.area(rle) == mask.sum()


def test_rle_accepts_bytes_and_plain_runs():
    mask = np.array([[0, 1, 1], [0, 0, 1]], bool)
    runs = {"size": [2, 3], "counts": [2, 1, 1, 2]}  # column by column, background first
    assert np.array_equal(rle_to_mask(runs), mask)
    rle = mask_to_rle(mask)
    assert np.array_equal(rle_to_mask({**rle, "counts": rle["counts"].encode()}), mask)


@pytest.mark.parametrize("rle", [{"size": [2, 2]}, {"size": [2, 2], "counts": [3, 2]}, "abc"])
def test_rle_errors(rle):
    with pytest.raises(ValueError, match="rle"):
        rle_to_mask(rle)


@pytest.mark.parametrize("seed", range(5))
def test_exact_polygons_enclose_exactly_the_pixels(seed):
    mask = blobs(seed)
    polygons = mask_to_polygons(mask)
    area = sum(abs(_shoelace(polygon)) for polygon in polygons)
    assert area == pytest.approx(mask.sum())
    assert np.array_equal(polygons_to_mask(polygons, mask.shape), mask)


@pytest.mark.parametrize("seed", range(5))
def test_simplified_polygons_are_shorter_and_nearly_equal(seed):
    mask = blobs(seed)
    exact, simple = mask_to_polygons(mask), mask_to_polygons(mask, tolerance=1.0)
    assert sum(map(len, simple)) < 0.5 * sum(map(len, exact))
    assert iou(polygons_to_mask(simple, mask.shape), mask) > 0.93


def test_polygon_of_one_pixel_is_its_square():
    mask = np.zeros((5, 6), bool)
    mask[2, 3] = True
    (polygon,) = mask_to_polygons(mask)
    assert {tuple(point) for point in polygon.tolist()} == {(3, 2), (4, 2), (4, 3), (3, 3)}


def test_polygons_drop_tiny_parts_but_never_all():
    mask = np.zeros((20, 20), bool)
    mask[2:10, 2:10] = True
    mask[15, 15] = True
    assert len(mask_to_polygons(mask)) == 1
    assert len(mask_to_polygons(mask, min_area=1.0)) == 2
    mask[2:10, 2:10] = False
    assert len(mask_to_polygons(mask)) == 1


def test_polygons_fill_holes():
    mask = np.ones((9, 9), bool)
    mask[4, 4] = False
    assert polygons_to_mask(mask_to_polygons(mask), (9, 9)).all()


def test_polygons_to_mask_takes_flat_and_paired_points_and_unites_parts():
    flat = [1, 1, 4, 1, 4, 3, 1, 3]
    mask = polygons_to_mask([flat, np.array([[6.0, 5], [8, 5], [8, 9], [6, 9]])], (10, 10))
    expected = np.zeros((10, 10), bool)
    expected[1:3, 1:4] = expected[5:9, 6:8] = True
    assert np.array_equal(mask, expected)


@pytest.mark.parametrize("polygon", [[1, 1, 2, 2], [1, 1, 2, 2, 3, 3, 4]])
def test_polygons_to_mask_rejects_bad_polygons(polygon):
    with pytest.raises(ValueError, match=r"polygons\[0\]"):
        polygons_to_mask([polygon], (10, 10))


def test_box_spans_whole_pixels():
    mask = np.zeros((8, 9), bool)
    mask[2, 3] = mask[4, 6] = True
    assert mask_to_box(mask).tolist() == [3, 2, 7, 5]


def test_empty_mask():
    mask = np.zeros((4, 5), bool)
    assert mask_to_box(mask).tolist() == [0, 0, 0, 0]
    assert mask_to_polygons(mask) == []
    assert not polygons_to_mask([], (4, 5)).any()
    assert not rle_to_mask(mask_to_rle(mask)).any()


@pytest.mark.parametrize("convert", [mask_to_rle, mask_to_polygons, mask_to_box])
@pytest.mark.parametrize("mask", [np.full((3, 3), 0.7), np.zeros((1, 3, 3), bool)])
def test_probabilities_and_stacks_are_rejected(convert, mask):
    with pytest.raises(ValueError, match="`mask`"):
        convert(mask)


def _shoelace(polygon: np.ndarray) -> float:
    x, y = polygon.astype(float).T
    return 0.5 * float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum())
