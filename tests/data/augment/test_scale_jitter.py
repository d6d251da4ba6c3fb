"""Large-scale jitter."""

import numpy as np
import pytest

from kmrcnn.data.augment.scale_jitter import FILL, ScaleJitter, pad
from tests.data.augment.painted import painted, require_agreement


def test_scale_one_fits_the_picture_in():
    fitted = ScaleJitter((80, 80), 1.0, 1.0)(painted(), np.random.default_rng(0))
    assert fitted.size == (80, 80)
    np.testing.assert_allclose(fitted.boxes, painted().boxes * (80 / 60), atol=0.3)
    assert (fitted.image[53:] == FILL).all() and not (fitted.image[:53] == FILL).any()


def test_smaller_pictures_are_filled():
    small = ScaleJitter((80, 120), 0.5, 0.5)(painted(), np.random.default_rng(0))
    np.testing.assert_array_equal(small.boxes, painted().boxes)  # 40 x 60, as it was
    np.testing.assert_array_equal(small.image[:40, :60], painted().image)
    assert (small.image[40:] == FILL).all() and (small.image[:, 60:] == FILL).all()


def test_larger_pictures_are_cut_anywhere():
    rng, starts = np.random.default_rng(0), set()
    for _ in range(30):
        cut = ScaleJitter((40, 60), 2.0, 2.0)(painted(), rng)
        assert cut.size == (40, 60) and not (cut.image == FILL).any()
        for box, mask in zip(cut.boxes, cut.masks):
            np.testing.assert_array_equal(box, mask.box())
        starts.add(cut.image.tobytes())
    assert len(starts) > 20


def test_scales_are_drawn_between_the_limits():
    rng, widths = np.random.default_rng(0), []
    for _ in range(100):
        jittered = ScaleJitter((40, 60), 0.25, 1.0)(painted(((0, 0, 40, 60),)), rng)
        widths.append(jittered.boxes[0, 2])
    assert min(widths) < 20 and max(widths) > 54 and 30 < np.mean(widths) < 45


def test_pad_leaves_objects_where_they_are():
    padded = pad(painted(), (50, 61), 0)
    assert padded.size == (50, 61)
    require_agreement(padded)
    np.testing.assert_array_equal(padded.keypoints, painted().keypoints)
    with pytest.raises(ValueError, match="must hold the image of size"):
        pad(painted(), (39, 100), 0)
