"""The one function every format traces: its contract, and what it does not track."""

import numpy as np
import pytest
import tensorflow as tf

from kmrcnn.config.schema import InputConfig, KeypointConfig
from kmrcnn.export.lowered_model import lowered_model
from kmrcnn.export.serving_module import ServingModule
from kmrcnn.structures.lowering import Lowering
from tests.tiny import tiny_inputs, tiny_model

LOWERING = Lowering("crop_and_resize", "combined")
SIZES = ((96, 128), (90, 100), (40, 30))


@pytest.fixture(scope="module")
def model():
    return tiny_model()


@pytest.fixture(scope="module")
def module(model):
    return ServingModule(lowered_model(model, LOWERING))


def detect(module, inputs):
    sizes = tf.constant(inputs["image_sizes"], tf.int32)
    found = module.detect(tf.constant(inputs["images"]), sizes)
    return {name: value.numpy() for name, value in found.items()}


def test_outputs_are_as_documented(module):
    found = detect(module, tiny_inputs(SIZES))
    assert {name: (value.shape, str(value.dtype)) for name, value in found.items()} == {
        "boxes": ((3, 12, 4), "float32"),
        "scores": ((3, 12), "float32"),
        "classes": ((3, 12), "int32"),
        "num_detections": ((3,), "int32"),
        "masks": ((3, 12, 28, 28), "float32"),
    }


def test_equal_to_the_model(module, model):
    inputs = tiny_inputs(SIZES)
    found = detect(module, inputs)
    wanted = {name: np.asarray(value) for name, value in model(inputs).items()}
    np.testing.assert_array_equal(found["num_detections"], wanted["valid"].sum(axis=1))
    np.testing.assert_allclose(found["boxes"], wanted["boxes"], atol=2e-3)
    np.testing.assert_allclose(found["masks"], wanted["masks"], atol=1e-4)


def test_unused_slots_are_zero(module, model):
    middle = float(np.median(detect(module, tiny_inputs(SIZES))["scores"]))
    module = ServingModule(lowered_model(model, LOWERING, score_threshold=middle))
    found = detect(module, tiny_inputs(SIZES))
    unused = np.arange(12) >= found["num_detections"][:, None]
    assert unused.any() and not unused.all()
    for name in ("boxes", "scores", "classes", "masks"):
        assert not found[name][unused].any()


def test_a_picture_without_objects_and_one_without_content(model):
    module = ServingModule(lowered_model(model, LOWERING, score_threshold=0.99))
    images = np.zeros((2, 64, 64, 3), np.float32)
    found = detect(module, {"images": images, "image_sizes": np.array([[64, 64], [1, 1]])})
    assert found["num_detections"].tolist() == [0, 0]
    assert all(not value.any() and np.isfinite(value).all() for value in found.values())


def test_whole_numbers_are_pictures_too(module):
    inputs = tiny_inputs(SIZES)
    whole = inputs["images"].astype(np.uint8)
    found = detect(module, inputs | {"images": whole})
    wanted = detect(module, inputs | {"images": whole.astype(np.float32)})
    np.testing.assert_array_equal(found["boxes"], wanted["boxes"])


def test_clients_send_rgb_to_models_of_bgr():
    settings = InputConfig(short_side=96, long_side=160, channel_order="bgr")
    model = tiny_model(input=settings)
    inputs = tiny_inputs(SIZES)
    found = detect(ServingModule(lowered_model(model, LOWERING)), inputs)
    wanted = model(inputs | {"images": inputs["images"][..., ::-1]})
    np.testing.assert_allclose(found["boxes"], np.asarray(wanted["boxes"]), atol=2e-3)


def test_each_weight_is_tracked_once_and_no_keras_object(module, model):
    assert len(module.variables) == len(model.weights)
    assert len({id(variable) for variable in module.variables}) == len(model.weights)
    assert all(type(v).__module__.startswith("tensorflow") for v in module.variables)
    assert module.submodules == ()


def test_keypoints_without_their_heatmaps():
    model = tiny_model(mask=None, keypoint=KeypointConfig(num_convs=1, channels=16))
    inputs = tiny_inputs(SIZES)
    found = detect(ServingModule(lowered_model(model, LOWERING)), inputs)
    assert "keypoint_heatmaps" not in found and found["keypoints"].shape == (3, 12, 17, 3)
    wanted = np.asarray(model(inputs)["keypoints"])
    distance = np.abs(found["keypoints"] - wanted)[..., :2].max(axis=-1)
    assert (distance < 0.01).mean() > 0.99  # two equal peaks of a heatmap may change places
