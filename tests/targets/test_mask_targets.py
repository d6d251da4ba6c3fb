"""Mask targets against torchvision (soft) and Detectron2 (binary)."""

import numpy as np
import pytest

from kmrcnn.targets.mask_targets import mask_targets


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
    got = np.asarray(mask_targets(masks, boxes, index, index, 8, kind))
    assert got.shape == (1, 8, 8) and got.dtype == np.float32
    assert got[0, :6, :6].min() == 1
    assert got.min() == 1 if kind == "binary" else 0.5 < got.min() < 1


def test_no_rois():
    none = np.zeros(0, "int32")
    got = mask_targets(
        np.zeros((1, 1, 9, 9), "uint8"), np.zeros((0, 4), "float32"), none, none, 14, "soft"
    )
    assert got.shape == (0, 14, 14)
