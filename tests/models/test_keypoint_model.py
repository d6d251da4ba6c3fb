"""Keypoints beside masks in one model: outputs, training, saving, and the way to the original
picture."""

import dataclasses

import keras
import numpy as np
import pytest

from kmrcnn.config.schema import KeypointConfig
from kmrcnn.predictor import Predictor
from tests.tiny import tiny_inputs, tiny_model, tiny_targets

JOINTS = 4
KEYPOINT = KeypointConfig(
    num_keypoints=JOINTS, names=("a", "b", "c", "d"), skeleton=((0, 1),), num_convs=1, channels=16
)


@pytest.fixture(scope="module")
def model():
    return tiny_model(keypoint=KEYPOINT)


def training_inputs() -> dict:
    inputs = tiny_inputs()
    targets = tiny_targets(inputs)
    keypoints = np.zeros((*targets["boxes"].shape[:2], JOINTS, 3), np.float32)
    corners = targets["boxes"].reshape(*targets["boxes"].shape[:2], 2, 2)
    keypoints[..., :2] = corners.mean(axis=2)[:, :, None]
    keypoints[..., :2, 2] = 2
    return inputs | {"targets": targets | {"keypoints": keypoints}}


def test_outputs_beside_masks(model):
    outputs = {name: np.asarray(v) for name, v in model.predict_on_batch(tiny_inputs()).items()}
    assert outputs["masks"].shape == (2, 12, 28, 28)
    assert outputs["keypoints"].shape == (2, 12, JOINTS, 3)
    assert outputs["keypoint_heatmaps"].shape == (2, 12, 28, 28, JOINTS)
    valid, boxes = outputs["valid"], outputs["boxes"]
    points = outputs["keypoints"][valid]
    assert len(points) and not outputs["keypoints"][~valid].any()
    low, high = boxes[valid][:, None, :2], boxes[valid][:, None, 2:]
    assert ((points[..., :2] >= low) & (points[..., :2] <= np.maximum(high, low + 1))).all()


def test_both_losses_have_gradients(model):
    tf = pytest.importorskip("tensorflow")
    with tf.GradientTape() as tape:
        losses = model(training_inputs(), training=True)
        total = sum(losses.values())
    assert {"loss_mask", "loss_keypoint"} <= set(losses)
    assert all(np.isfinite(float(value)) and float(value) > 0 for value in losses.values())
    gradients = tape.gradient(total, [v.value for v in model.trainable_variables])
    assert not [v.path for v, g in zip(model.trainable_variables, gradients) if g is None]


def test_save_and_reload(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.config == model.config
    for name, value in model.predict_on_batch(tiny_inputs()).items():
        got = np.asarray(again.predict_on_batch(tiny_inputs())[name], "float32")
        np.testing.assert_allclose(got, np.asarray(value, "float32"), atol=1e-3)


def test_predictor_gives_keypoints_of_the_original_picture(model):
    image = np.random.default_rng(0).integers(0, 255, (60, 80, 3)).astype(np.uint8)
    found = Predictor(model, score_threshold=0.1).predict(image)
    assert len(found) and found.keypoints.shape == (len(found), JOINTS, 3)
    assert found.masks.shape == (len(found), 60, 80)
    assert found.keypoint_layout.names == KEYPOINT.names
    low, high = found.boxes[:, None, :2], found.boxes[:, None, 2:]
    points = found.keypoints[..., :2]
    assert ((points >= low - 1) & (points <= high + 1)).all()
    assert (found.keypoints[..., 2] > 0).all()  # probabilities
    one = found[0]
    assert one.keypoints.shape == (JOINTS, 3)


def test_keypoints_alone():
    inputs = training_inputs()
    for name in ("masks", "mask_windows"):
        del inputs["targets"][name]
    model = tiny_model(keypoint=dataclasses.replace(KEYPOINT, score="logit"), mask=None)
    assert "masks" not in model.output and "keypoints" in model.output
    assert "loss_mask" not in model(inputs, training=True)
