"""Training RoIs of the second stage."""

import keras
import numpy as np
import pytest

from kmrcnn.targets.roi_sampler import sample_rois

K = 7
GT = np.array([[10, 10, 40, 40], [50, 50, 90, 90], [0, 0, 0, 0]], "float32")


def sets(valid_gt=(True, True, False), proposals=60):
    """Two images: proposals near the ground truth and far from it; the last ten slots unused."""
    draw = np.random.default_rng(0)
    near = GT[draw.integers(0, 2, (2, proposals // 2))] + draw.uniform(
        -2, 2, (2, proposals // 2, 4)
    )
    corners = draw.uniform(100, 200, (2, proposals // 2, 2))
    boxes = np.concatenate([near, np.concatenate([corners, corners + 20], -1)], 1).astype("float32")
    valid = np.ones((2, proposals), bool)
    valid[:, -10:] = False
    targets = {
        "boxes": np.stack([GT, GT]),
        "classes": np.array([[3, 5, 0], [1, 2, 0]], "int32"),
        "valid": np.array([valid_gt, valid_gt]),
    }
    return {"boxes": boxes, "valid": valid}, targets


def rois(proposals, targets, number=16, seed=0):
    generator = keras.random.SeedGenerator(seed)
    samples = sample_rois(proposals, targets, K, number, 0.25, 0.5, generator)
    return type(samples)(*(np.asarray(v) for v in samples))


def test_samples_are_balanced_and_labelled():
    proposals, targets = sets()
    samples = rois(proposals, targets)
    assert samples.boxes.shape == (2, 16, 4) and samples.valid.all()
    assert (samples.foreground.sum(axis=1) == 4).all()
    assert samples.foreground[:, :4].all()  # first
    assert (samples.classes[~samples.foreground] == K).all()
    for image in range(2):
        front = samples.foreground[image]
        matched = samples.gt_index[image][front]
        np.testing.assert_array_equal(
            samples.classes[image][front], targets["classes"][image][matched]
        )
        assert np.abs(samples.boxes[image][front] - GT[matched]).max() <= 2


def test_ground_truth_is_among_the_candidates():
    proposals, targets = sets()
    proposals["valid"][:] = False
    samples = rois(proposals, targets)
    assert samples.valid.sum(axis=1).tolist() == [2, 2]
    for image in range(2):
        found = samples.boxes[image][samples.foreground[image]]
        np.testing.assert_array_equal(found[np.argsort(found[:, 0])], GT[:2])


def test_without_objects_everything_is_background():
    proposals, targets = sets(valid_gt=(False, False, False))
    samples = rois(proposals, targets)
    assert samples.valid.all() and not samples.foreground.any() and (samples.classes == K).all()


@pytest.mark.parametrize("number, rows", [(16, 16), (512, 63)])
def test_never_more_rows_than_candidates_and_no_unused_slot(number, rows):
    proposals, targets = sets()
    proposals["boxes"][~proposals["valid"]] = -999
    samples = rois(proposals, targets, number)
    assert samples.boxes.shape[1] == rows
    assert (samples.boxes[samples.valid] > -10).all()
    assert (samples.valid | ~samples.foreground).all()


def test_seed_decides():
    first, again, other = (rois(*sets(), seed=s).boxes for s in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
