"""The preset `matterport_coco` against a second implementation of Matterport's rules, from a weight
file in Matterport's format, stage by stage.

No published file took part: the weights are random.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
from keras import ops

from kmrcnn.config.loader import load_preset
from kmrcnn.data.preprocess import pad_to_canvas, to_network
from kmrcnn.models.build import build_model
from kmrcnn.predictor import Predictor
from kmrcnn.weights.assign import load_weights
from kmrcnn.weights.keras2_file import read_keras2_file
from kmrcnn.weights.matterport_config import matterport_config
from tests.models import matterport_reference as theirs
from tests.weights.matterport_file import random_layers, write_file

SETTINGS = theirs.Settings()
CONFIG = {
    "IMAGE_MIN_DIM": SETTINGS.min_dim,
    "IMAGE_MAX_DIM": SETTINGS.max_dim,
    "POST_NMS_ROIS_INFERENCE": SETTINGS.proposals,
    "DETECTION_MIN_CONFIDENCE": SETTINGS.min_confidence,
    "DETECTION_MAX_INSTANCES": SETTINGS.max_instances,
}
BLOCKS = (3, 4, 6, 3)
CLASSES = 5  # with the background
SIDE = SETTINGS.max_dim - 1.0
SIZES = [(150, 231), (230, 101)]  # padding above and below, on both sides; enlarged both


def picture(size: tuple[int, int]) -> np.ndarray:
    """Squares of a colour each, with noise: scikit-image's resizing leaves flat areas a hair below
    their colour, which it then cuts to a whole number.
    """
    rng = np.random.default_rng(sum(size))
    coarse = rng.integers(0, 200, (size[0] // 12 + 2, size[1] // 12 + 2, 3))
    rows, columns = (np.arange(n) // 12 for n in size)
    return (coarse[rows][:, columns] + rng.integers(0, 56, (*size, 3))).astype("uint8")


class Run:
    """One picture through both."""

    def __init__(self, model, layers, size):
        self.model, self.layers, self.image = model, layers, picture(size)
        self.canvas, self.window = theirs.mold(self.image, SETTINGS)
        self.divided_window = theirs.divide(self.window, SETTINGS)
        images, sizes = pad_to_canvas([to_network(self.image, model.config.input)], 256)
        self.placed = model.placement(images, sizes)

    @functools.cached_property
    def ours(self) -> dict:
        """Our pyramid, of their canvas: pixels may differ by one level where a resize rounds."""
        return self.model.neck(self.model.backbone(self.canvas[None]))

    @functools.cached_property
    def pyramid(self) -> dict:
        return theirs.pyramid(self.layers, self.canvas, BLOCKS)

    @functools.cached_property
    def proposals(self) -> np.ndarray:
        return theirs.propose(*theirs.rpn(self.layers, self.pyramid), SETTINGS)

    @functools.cached_property
    def detections(self) -> tuple:
        scores, deltas = theirs.classify(self.layers, self.pyramid, self.proposals, SETTINGS)
        window = self.divided_window
        return theirs.refine(self.proposals, scores, deltas, window, SETTINGS)


@pytest.fixture(scope="module")
def model_and_layers(tmp_path_factory):
    layers = random_layers(CLASSES, BLOCKS, seed=9)  # makes detections of several classes
    path = write_file(tmp_path_factory.mktemp("h5") / "mask_rcnn.h5", layers)
    config = matterport_config(load_preset("matterport_coco").model, read_keras2_file(path), CONFIG)
    model = build_model(config)
    report = load_weights(model, path)
    assert report.format == "matterport" and not report.reinitialised and not report.ignored
    return model, layers


@pytest.fixture(scope="module", params=SIZES)
def run(request, model_and_layers):
    return Run(*model_and_layers, request.param)


def in_pixels(boxes: np.ndarray) -> np.ndarray:
    """Their boxes in our canvas frame: xyxy, numbers of pixels."""
    return np.asarray(boxes)[:, [1, 0, 3, 2]] * SIDE


def test_frame(run):
    got = run.model.normalize(run.placed.images, run.placed.content)[0]
    assert got.shape == run.canvas.shape
    difference = np.abs(got - run.canvas)
    assert difference.max() <= 1 + 1e-3  # a level, where a resize rounds the other way
    assert (difference > 1e-3).mean() < 0.01
    top, left, bottom, right = run.window
    np.testing.assert_array_equal(run.placed.detection_limits, [[left, top, right - 1, bottom - 1]])
    np.testing.assert_array_equal(run.placed.proposal_limits, [[SIDE, SIDE]])


def test_pyramid(run):
    for name, want in run.pyramid.items():
        want = np.asarray(want)
        np.testing.assert_allclose(run.ours[name], want, atol=1e-4 * np.abs(want).max())


def test_anchors(run):
    anchors = np.concatenate(run.model.rpn.make_anchors(run.ours, run.placed.images))
    np.testing.assert_allclose(anchors, in_pixels(theirs.anchors(SETTINGS)), atol=1e-3)


def test_rpn_head(run):
    scores, deltas = theirs.rpn(run.layers, run.pyramid)
    logits, ours = (np.concatenate(v, axis=1)[0] for v in run.model.rpn.predict_boxes(run.ours))
    np.testing.assert_allclose(ops.sigmoid(logits), scores, atol=1e-4)
    scale = np.abs(deltas).max()
    np.testing.assert_allclose(ours, deltas[:, [1, 0, 3, 2]], atol=1e-4 * scale)


def test_proposals(run):
    found = run.model.rpn(run.ours, run.placed.images, run.placed.proposal_limits)
    got = np.asarray(found["boxes"][0])[np.asarray(found["valid"][0])]
    want = in_pixels(run.proposals)
    assert len(want) == SETTINGS.proposals
    distance = np.abs(got[:, None] - want[None]).max(-1)  # near-equal scores may change places
    assert distance.min(0).max() <= 1e-3
    assert distance.min(1).max() <= 1e-3


def boxes_of_all_sizes(number: int = 200) -> np.ndarray:
    """Their boxes, up to the whole canvas."""
    rng = np.random.default_rng(0)
    sides = SIDE * rng.uniform(0.01, 1, (number, 1)) * rng.uniform(0.5, 1, (number, 2))
    corners = rng.uniform(0, 1, (number, 2)) * (SIDE - sides)
    boxes = np.concatenate([corners, corners + sides], 1) / SIDE
    return np.concatenate([boxes, [[0, 0, 1, 1]]]).astype("float32")


def test_levels(run):
    boxes = boxes_of_all_sizes()
    want = theirs.levels_of(boxes, SETTINGS)
    got = run.model.roi_heads.box.pooler.assign_levels(in_pixels(boxes).astype("float32"))
    np.testing.assert_array_equal(got, want)
    assert set(want) == {2, 3, 4}


@pytest.mark.parametrize("size", [7, 14])
def test_pooled_features(run, size):
    heads = run.model.roi_heads
    pooler = heads.box.pooler if size == 7 else heads.branches["mask"].pooler
    boxes = boxes_of_all_sizes()
    got = pooler(run.pyramid, in_pixels(boxes).astype("float32"), np.zeros(len(boxes), "int32"))
    want = theirs.pool(run.pyramid, boxes, size, SETTINGS)
    np.testing.assert_allclose(got, want, atol=1e-4 * np.abs(want).max())


def test_box_head(run):
    boxes = in_pixels(run.proposals)[None].astype("float32")
    valid = np.ones(boxes.shape[:2], bool)
    outputs = run.model.roi_heads.box(run.pyramid, boxes, valid)
    scores, deltas = theirs.classify(run.layers, run.pyramid, run.proposals, SETTINGS)
    got = np.asarray(ops.softmax(outputs["class_logits"]))[0]
    np.testing.assert_allclose(got, np.roll(scores, -1, axis=1), atol=1e-4)
    got = np.asarray(outputs["box_deltas"])[0]
    np.testing.assert_allclose(got, deltas[:, 1:, [1, 0, 3, 2]], atol=1e-4 * np.abs(deltas).max())


def test_refinement(run):
    """Which RoIs become detections, and where, from the same scores and deltas."""
    scores, deltas = theirs.classify(run.layers, run.pyramid, run.proposals, SETTINGS)
    outputs = {
        "class_logits": np.log(np.roll(scores, -1, axis=1))[None],
        "box_deltas": deltas[None, :, 1:, [1, 0, 3, 2]],
    }
    boxes = in_pixels(run.proposals)[None].astype("float32")
    proposals = {"boxes": boxes, "valid": np.ones(boxes.shape[:2], bool)}
    found = run.model.roi_heads.box.decode(outputs, proposals, run.placed.detection_limits)
    valid = np.asarray(found["valid"])[0]
    want_boxes, classes, best = run.detections
    assert len(set(classes)) > 1 and len(classes) > 3
    np.testing.assert_array_equal(np.asarray(found["classes"])[0][valid] + 1, classes)
    np.testing.assert_allclose(np.asarray(found["scores"])[0][valid], best, atol=1e-5)
    np.testing.assert_allclose(
        np.asarray(found["boxes"])[0][valid], in_pixels(want_boxes), atol=1e-3
    )


def test_mask_head(run):
    boxes, classes, _ = run.detections
    want = theirs.masks(run.layers, run.pyramid, boxes, classes, SETTINGS)
    branch = run.model.roi_heads.branches["mask"]
    valid = np.ones((1, len(boxes)), bool)
    logits = branch(run.pyramid, in_pixels(boxes)[None], classes[None] - 1, valid)
    np.testing.assert_allclose(ops.sigmoid(logits)[0], want, atol=1e-4)


def test_predictions(run):
    boxes, classes, scores = run.detections
    small = theirs.masks(run.layers, run.pyramid, boxes, classes, SETTINGS)
    want_boxes, want_masks = theirs.unmold(boxes, small, run.divided_window, run.image.shape[:2])
    found = Predictor(run.model, score_threshold=0.0).predict(run.image)
    assert len(found) == len(boxes)
    np.testing.assert_array_equal(found.classes, classes - 1)
    np.testing.assert_allclose(found.scores, scores, atol=1e-3)
    np.testing.assert_array_equal(found.boxes, want_boxes[:, [1, 0, 3, 2]])
    assert (found.masks == want_masks).mean() > 0.999
