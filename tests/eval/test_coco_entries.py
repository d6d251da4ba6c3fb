"""Masks as run lengths: what pycocotools is asked to fill, and what it must not be asked."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from kmrcnn.eval.coco_entries import to_rle

SIZE = (20, 30)
SQUARE = [4.0, 2.0, 10.0, 2.0, 10.0, 8.0, 4.0, 8.0]
FULL = np.zeros(SIZE, np.uint8)
FULL[2:8, 4:10] = 1


@pytest.mark.parametrize(
    "segmentation",
    [
        [SQUARE],
        [SQUARE, [5.0, 3.0, 6.0, 3.0, 6.0, 4.0]],  # a part inside the other
        {"size": list(SIZE), "counts": [82, *[6, 14] * 5, 6, 412]},
        coco_mask.encode(np.asfortranarray(FULL)),
    ],
    ids=["polygon", "polygons", "counts", "compressed"],
)
def test_every_form_of_a_square(segmentation):
    np.testing.assert_array_equal(coco_mask.decode(to_rle(segmentation, SIZE)), FULL)


@pytest.mark.parametrize("value", [1e12, -1e12, float("nan"), float("inf")])
def test_polygons_that_cannot_be_filled_are_refused(value):
    """pycocotools ends the process on them."""
    with pytest.raises(ValueError, match="`segmentation` has a polygon .* data check --fix"):
        to_rle([[*SQUARE[:6], value, 8.0]], SIZE)
