"""Masks as squares of cells, and back."""

import numpy as np
import pytest

from kmrcnn.data.example import MaskCrop
from kmrcnn.data.mask_cells import from_cells, to_cells


def blob(height, width, top=0, left=0):
    """A ragged mask that touches all four sides of its window."""
    bitmap = np.random.default_rng(height * width).random((height, width)) < 0.7
    bitmap[0] = bitmap[-1] = True
    bitmap[:, 0] = bitmap[:, -1] = True
    return MaskCrop(bitmap, top, left)


def disc(radius, top=0, left=0):
    y, x = np.mgrid[: 2 * radius, : 2 * radius] + 0.5 - radius
    return MaskCrop(np.hypot(x, y) < radius, top, left)


@pytest.mark.parametrize("height, width", [(1, 1), (3, 7), (14, 14), (14, 5), (1, 14), (13, 2)])
@pytest.mark.parametrize("top, left", [(0, 0), (20, 33), (36, 46)])
def test_a_mask_that_fits_is_stored_pixel_by_pixel(height, width, top, left):
    size = (50, 60)
    mask = blob(height, width, top, left)
    cells, window = to_cells(mask, 16)
    assert cells.shape == (16, 16) and cells.dtype == np.uint8
    assert (window[2:] - window[:2]).tolist() == [16, 16]  # a cell is a pixel
    assert not cells[[0, -1]].any() and not cells[:, [0, -1]].any()  # the margin
    x1, y1 = window[:2].astype(int)
    np.testing.assert_array_equal(
        cells[top - y1 : top - y1 + height, left - x1 : left - x1 + width], mask.bitmap
    )
    assert cells.sum() == mask.bitmap.sum()
    np.testing.assert_array_equal(from_cells(cells, window, size).to_full(size), mask.to_full(size))


@pytest.mark.parametrize("height, width", [(15, 15), (15, 3), (4, 100), (333, 210)])
def test_a_larger_mask_has_larger_cells_and_a_margin(height, width):
    mask = MaskCrop(np.ones((height, width), bool), 7, 9)
    cells, window = to_cells(mask, 16)
    sides = window[2:] - window[:2]
    for length, side, axis in ((width, sides[0], 0), (height, sides[1], 1)):
        if length <= 14:
            assert side == 16 and cells.any(axis=axis).sum() == length
        else:
            cell = side / 16
            assert cell >= length / 14  # about a cell of margin on each side
            assert abs(cells.any(axis=axis).sum() * cell - length) <= cell
    assert window[0] <= 9 - 1 and window[1] <= 7 - 1
    assert window[2] >= 9 + width + 1 and window[3] >= 7 + height + 1
    assert not cells[[0, -1]].any() and not cells[:, [0, -1]].any()


def test_a_thin_diagonal_does_not_fall_apart():
    mask = MaskCrop(np.tri(300, k=1, dtype=bool) & ~np.tri(300, k=-2, dtype=bool), 0, 0)
    cells, _ = to_cells(mask, 32)
    rows, columns = np.nonzero(cells)
    assert set(rows) == set(range(1, 31)) and (np.abs(rows - columns) <= 1).all()


@pytest.mark.parametrize("radius", [56, 80, 300])
def test_a_large_disc_comes_back_as_nearly_the_same(radius):
    size = (800, 900)
    mask = disc(radius, 100, 150)
    cells, window = to_cells(mask, 112)
    back, expected = from_cells(cells, window, size).to_full(size), mask.to_full(size)
    iou = (back & expected).sum() / (back | expected).sum()
    assert iou > 0.985
    rows, columns = np.nonzero(back)
    middle = rows.mean() + 0.5, columns.mean() + 0.5
    assert middle == pytest.approx((100 + radius, 150 + radius), abs=0.15)


def test_cells_beyond_the_border_repeat_it():
    """A mask in the lower left corner of the picture: what RoIAlign reads there is the border."""
    bitmap = np.array([[1, 1, 1], [1, 0, 1]], bool)
    cells, window = to_cells(MaskCrop(bitmap, 18, 0), 8, (20, 30))
    assert window.tolist() == [-2, 15, 6, 23]
    assert cells[:3].sum() == 0 and cells[:, 5:].sum() == 0
    assert cells[3].tolist() == [1, 1, 1, 1, 1, 0, 0, 0]
    assert cells[4:].tolist() == [[1, 1, 1, 0, 1, 0, 0, 0]] * 4


def test_cells_are_zero_around_a_mask_inside():
    inside = MaskCrop(np.ones((2, 3), bool), 5, 5)
    cells, _ = to_cells(inside, 8, (20, 30))
    np.testing.assert_array_equal(cells, to_cells(inside, 8)[0])
    assert cells.sum() == 6
