"""Test-time augmentation: one view is the model itself; more views agree on a picture's mirror."""

import dataclasses

import numpy as np
import pytest

from kmrcnn.augmented_inference import (
    DEFAULT_SCALES,
    PAPER_SCALES,
    AugmentedModel,
    InferenceAugmentation,
)
from kmrcnn.config.schema import InputConfig, KeypointConfig
from kmrcnn.data.preprocess import network_size
from kmrcnn.predictor import Predictor
from tests.tiny import tiny_config, tiny_model

KEYPOINT = KeypointConfig(
    num_keypoints=3, names=("nose", "left", "right"), flip_pairs=((1, 2),), num_convs=1, channels=16
)
ONE_VIEW = InferenceAugmentation(short_sides=(96,), flip=False)
BOTH_WAYS = InferenceAugmentation(short_sides=(96,))


@pytest.fixture(scope="module")
def model():
    return tiny_model(keypoint=KEYPOINT)


def picture(height=96, width=128, seed=0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


@pytest.fixture(scope="module")
def predictors(model):
    """By views: alone, one view, both ways."""
    views = {"alone": None, "one": ONE_VIEW, "both": BOTH_WAYS}
    return {
        name: Predictor(model, score_threshold=0.1, augmentation=augmentation)
        for name, augmentation in views.items()
    }


def assert_same(got, want, atol=1e-2):
    assert len(got) == len(want) > 0
    np.testing.assert_allclose(got.boxes, want.boxes, atol=atol)
    np.testing.assert_allclose(got.scores, want.scores, atol=1e-4)
    np.testing.assert_array_equal(got.classes, want.classes)
    assert (got.masks == want.masks).mean() > 0.999
    np.testing.assert_allclose(got.keypoints, want.keypoints, atol=1.0)


@pytest.mark.parametrize("size", [(96, 128), (120, 150)])
def test_one_view_is_the_model_alone(predictors, size):
    image = picture(*size)
    assert_same(predictors["one"].predict(image), predictors["alone"].predict(image))


def test_mirrored_picture_gives_the_mirrored_answer(predictors):
    """Both look at the same two pictures; left and right keypoints change places."""
    image = picture()
    found, mirrored = predictors["both"].predict([image, image[:, ::-1]])
    assert len(found) == len(mirrored) > 0
    x1, y1, x2, y2 = mirrored.boxes.T
    boxes = np.stack([128 - x2, y1, 128 - x1, y2], axis=1)
    order = [np.abs(boxes - box).max(axis=1).argmin() for box in found.boxes]
    assert sorted(order) == list(range(len(found)))
    np.testing.assert_allclose(boxes[order], found.boxes, atol=1e-2)
    np.testing.assert_allclose(mirrored.scores[order], found.scores, atol=1e-4)
    assert (mirrored.masks[order][..., ::-1] == found.masks).mean() > 0.999
    swapped = mirrored.keypoints[order][:, [0, 2, 1]]
    swapped[..., 0] = 128 - swapped[..., 0]
    close = np.abs(swapped - found.keypoints).max(axis=2) < 1.5  # a point may sit on a tie
    assert close.mean() > 0.9


def test_the_best_box_of_all_views_stays(predictors):
    images = [picture(), picture()[:, ::-1]]
    best = [one.scores[0] for one in predictors["alone"].predict(images)]
    assert abs(best[0] - best[1]) > 1e-3  # the views differ
    found = predictors["both"].predict(images[0])
    assert found.scores[0] == pytest.approx(max(best), abs=1e-4)
    assert len(found) <= predictors["alone"].config.box.max_detections


def test_masks_are_averaged_in_the_frame_of_the_merged_box(model):
    """By hand from what the branches say in each view, in the middle of two scales."""
    augmentation = InferenceAugmentation(short_sides=(96, 120), flip=False)
    augmented = AugmentedModel(model, augmentation)
    image = picture()
    found = augmented.detect(image)
    views = list(augmented._views(image))
    probabilities = []
    for view in views:
        boxes = view.from_frame(found["boxes"][None], (96, 128))
        detections = {name: found[name][None] for name in ("scores", "classes", "valid")}
        said = augmented._describe.predict_on_batch(
            {"seen": view.seen, "detections": detections | {"boxes": boxes}}
        )
        probabilities.append(1 / (1 + np.exp(-said["mask"][0])))
    valid = found["valid"]
    want = np.mean(probabilities, axis=0)[valid]
    assert np.abs(probabilities[0] - probabilities[1])[valid].max() > 1e-3
    np.testing.assert_allclose(found["masks"][valid], want, atol=1e-4)


def test_settings_of_the_views():
    config = InputConfig(short_side=800, long_side=1333)
    sides = [one.short_side for one in InferenceAugmentation().inputs(config)]
    assert sides == [800 * scale for scale in DEFAULT_SCALES]
    paper = [round(800 * scale) for scale in PAPER_SCALES]
    assert (paper[0], paper[-1], len(paper)) == (400, 1200, 9)
    (one,) = InferenceAugmentation(short_sides=(400,)).inputs(config)
    assert (one.short_side, one.long_side) == (400, round(1333 / 2))
    (one,) = InferenceAugmentation(short_sides=(400,), long_side=4000).inputs(config)
    assert one.long_side == 4000
    assert network_size((400, 500), dataclasses.replace(config, short_side=400)) == (400, 500)


@pytest.mark.parametrize("sides", [(), (0,), (400, -1)])
def test_wrong_sides_are_refused(sides):
    with pytest.raises(ValueError, match="`short_sides` must be positive numbers"):
        InferenceAugmentation(short_sides=sides)


def test_nothing_found():
    box = dataclasses.replace(tiny_config().box, score_threshold=0.99)
    found = Predictor(tiny_model(box=box), augmentation=ONE_VIEW).predict(picture())
    assert len(found) == 0 and found.masks.shape == (0, 96, 128)


def test_boxes_only():
    model = tiny_model(mask=None)
    found = Predictor(model, score_threshold=0.1, augmentation=ONE_VIEW).predict(picture())
    assert len(found) > 0 and found.masks is None and found.keypoints is None
