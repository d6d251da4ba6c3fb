"""Mask targets against torchvision (soft) and Detectron2 (binary)."""

import numpy as np
import pytest

from kmrcnn.targets.mask_targets import mask_targets


def whole(images, number, height, width):
    """Windows of crops that are the whole image."""
    return np.tile(np.array([0, 0, width, height], "float32"), (images, number, 1))


@pytest.mark.parametrize(
    "name, size, kind",
    [("tv_targets28", 28, "soft"), ("d2_targets28", 28, "binary"), ("d2_targets14", 14, "binary")],
)
@pytest.mark.parametrize("images", [1, 2])
def test_equals_the_references(cases_dir, name, size, kind, images):
    arrays = np.load(cases_dir / "masks.npz")
    masks, matched = arrays["gt_masks"], arrays["matched"].astype("int32")
    number = len(masks) // images
    got = mask_targets(
        masks.reshape(images, number, 60, 75),
        whole(images, number, 60, 75),
        arrays["proposals"],
        matched // number,
        matched % number,
        size,
        kind,
    )
    got, want = np.asarray(got), arrays[name].astype("float32")
    if kind == "binary":
        np.testing.assert_array_equal(got, want)
    else:
        np.testing.assert_allclose(got, want, atol=1e-5)


@pytest.mark.parametrize("kind", ["soft", "binary"])
def test_whole_mask_of_its_own_box_is_one(kind):
    masks = np.zeros((1, 1, 20, 20), "uint8")
    masks[0, 0, 4:12, 4:12] = 1
    index = np.zeros(1, "int32")
    boxes = np.array([[4.5, 4.5, 11.5, 11.5]], "float32")
    got = np.asarray(mask_targets(masks, whole(1, 1, 20, 20), boxes, index, index, 8, kind))
    assert got.shape == (1, 8, 8) and got.dtype == np.float32
    assert got[0, :6, :6].min() == 1
    assert got.min() == 1 if kind == "binary" else 0.5 < got.min() < 1


def test_no_rois():
    none = np.zeros(0, "int32")
    got = mask_targets(
        np.zeros((1, 1, 9, 9), "uint8"),
        whole(1, 1, 9, 9),
        np.zeros((0, 4), "float32"),
        none,
        none,
        14,
        "soft",
    )
    assert got.shape == (0, 14, 14)


@pytest.mark.parametrize("kind", ["soft", "binary"])
def test_crop_gives_what_the_whole_bitmap_gives(kind):
    """Of an object inside, with a margin of one cell, and of one at two borders of the image."""
    draw = np.random.default_rng(0)
    bitmaps = np.zeros((1, 2, 40, 50), "uint8")
    bitmaps[0, 0, 10:22, 20:33] = draw.random((12, 13)) < 0.6
    bitmaps[0, 1, :9, 40:] = 1
    corners = draw.uniform(0, [35, 25], (30, 2))
    boxes = np.concatenate([corners, corners + draw.uniform(3, 15, (30, 2))], 1).astype("float32")
    image, gt_index = np.zeros(30, "int32"), (np.arange(30) % 2).astype("int32")
    want = mask_targets(bitmaps, whole(1, 2, 40, 50), boxes, image, gt_index, 7, kind)
    # Outside the image a crop repeats the border, which is where the reference clamps.
    extended = np.pad(bitmaps, ((0, 0), (0, 0), (16, 16), (16, 16)), "edge")
    windows = np.array([[[18, 8, 34, 24], [37, -4, 53, 12]]], "float32")
    crops = [
        extended[0, n, int(y) + 16 : int(y) + 32, int(x) + 16 : int(x) + 32]
        for n, (x, y, _, _) in enumerate(windows[0])
    ]
    got = mask_targets(np.stack(crops)[None], windows, boxes, image, gt_index, 7, kind)
    assert np.asarray(want).max() == 1
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_coarse_crop_is_near_the_bitmap():
    """A disc stored at a quarter of its resolution."""
    y, x = np.mgrid[:160, :160] + 0.5
    disc = (((y - 80) ** 2 + (x - 80) ** 2) < 70**2).astype("uint8")
    boxes, none = np.array([[10, 10, 150, 150]], "float32"), np.zeros(1, "int32")
    window = whole(1, 1, 160, 160)
    want = np.asarray(mask_targets(disc[None, None], window, boxes, none, none, 28, "binary"))
    coarse = disc.reshape(40, 4, 40, 4).mean((1, 3)) >= 0.5
    got = np.asarray(mask_targets(coarse[None, None], window, boxes, none, none, 28, "binary"))
    assert (got != want).mean() < 0.02


def test_slots_without_a_mask_give_zeros():
    masks, windows = np.zeros((1, 2, 8, 8), "uint8"), np.zeros((1, 2, 4), "float32")
    one = np.ones(1, "int32")
    got = mask_targets(masks, windows, np.array([[0, 0, 9, 9]], "float32"), one - 1, one, 7, "soft")
    np.testing.assert_array_equal(got, np.zeros((1, 7, 7)))
