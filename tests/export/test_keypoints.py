"""Keypoints come out of every format, in the pixels of the picture."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.config.schema import KeypointConfig
from kmrcnn.export import ArtefactPredictor, export
from kmrcnn.export.lowered_model import lowered_model
from kmrcnn.export.serving_module import OUTPUTS, ServingModule
from kmrcnn.predictor import Predictor
from kmrcnn.structures.lowering import Lowering
from tests.tiny import tiny_inputs, tiny_model

JOINTS = 4
SIZE = (96, 160)


@pytest.fixture(scope="module")
def model():
    keypoint = KeypointConfig(
        num_keypoints=JOINTS, names=("a", "b", "c", "d"), num_convs=1, channels=16
    )
    return tiny_model(keypoint=keypoint)


def test_module_gives_points_and_no_heatmaps(model):
    module = ServingModule(lowered_model(model, Lowering("reference", "combined")))
    inputs = {name: tf.constant(value) for name, value in tiny_inputs().items()}
    found = module.detect(inputs["images"], inputs["image_sizes"])
    assert set(found) == set(OUTPUTS)
    want = model.predict_on_batch(inputs)
    np.testing.assert_allclose(found["keypoints"], want["keypoints"], atol=1e-2)


@pytest.mark.slow
@pytest.mark.parametrize(
    "format, package",
    [("saved_model", "tensorflow"), ("onnx", "tf2onnx"), ("tflite", "tensorflow")],
)
def test_artefact_finds_the_models_keypoints(model, tmp_path, format, package):
    pytest.importorskip(package)
    picture = np.random.default_rng(0).integers(0, 255, (*SIZE, 3)).astype(np.uint8)
    folder = tmp_path / "artefact"
    export(model, folder, format=format, image_size=None if format == "saved_model" else SIZE)
    found = ArtefactPredictor(folder, score_threshold=0.1).predict(picture)
    want = Predictor(model, score_threshold=0.1).predict(picture)
    assert len(found) == len(want) > 0 and found.keypoint_layout == want.keypoint_layout
    partner = np.abs(found.boxes[:, None] - want.boxes[None]).max(axis=-1).argmin(axis=1)
    distance = np.abs(found.keypoints - want.keypoints[partner]).max(axis=-1)
    # Two equally high peaks of random heatmaps may change places.
    assert (distance < 0.5).mean() > 0.9
