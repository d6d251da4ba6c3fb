"""Twins compute what their model computes, in every form."""

import keras
import numpy as np
import pytest

from kmrcnn.config.schema import BoxConfig, PoolerConfig
from kmrcnn.export.lowered_model import changed_config, lowered_model
from kmrcnn.structures.lowering import NATIVE, Lowering
from tests.tiny import tiny_config, tiny_inputs, tiny_model

INPUTS = tiny_inputs(sizes=((96, 128), (90, 100)))
FORMS = {
    "saved_model": Lowering("crop_and_resize", "combined"),
    "unrolled": Lowering("reference", "unrolled", 1000, static=True),
}
MODELS = {
    "aligned": {},
    "not aligned": {"pooler": PoolerConfig(aligned=False, sampling_ratio=2)},
    "class-agnostic boxes": {
        "box": BoxConfig(
            fc_channels=32, max_detections=12, score_threshold=0.1, class_agnostic=True
        )
    },
    "without masks": {"mask": None},
}


def detect(model, inputs=INPUTS):
    return {name: np.asarray(value) for name, value in model(inputs, training=False).items()}


def check_equal(found, wanted):
    assert found.keys() == wanted.keys()
    assert wanted["valid"].sum() >= 10
    np.testing.assert_array_equal(found["valid"], wanted["valid"])
    np.testing.assert_array_equal(found["classes"], wanted["classes"])
    np.testing.assert_allclose(found["boxes"], wanted["boxes"], atol=2e-3)
    np.testing.assert_allclose(found["scores"], wanted["scores"], atol=1e-5)
    if "masks" in wanted:
        np.testing.assert_allclose(found["masks"], wanted["masks"], atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("form", FORMS)
def test_forms_give_the_same_detections(name, form):
    model = tiny_model(**MODELS[name])
    check_equal(detect(lowered_model(model, FORMS[form])), detect(model))


def test_adaptive_sampling_and_the_kernel_form_with_a_fixed_batch():
    model = tiny_model(pooler=PoolerConfig(sampling_ratio=0))
    wanted = detect(model)
    check_equal(detect(lowered_model(model, Lowering("reference", "combined"))), wanted)


def test_a_twin_has_variables_of_its_own():
    model = tiny_model()
    twin = lowered_model(model, NATIVE)
    before = [np.array(weight) for weight in model.weights]
    for weight in twin.weights:
        weight.assign(keras.ops.zeros_like(weight))
    assert all((np.array(w) == b).all() for w, b in zip(model.weights, before))


def test_float16_computes_in_half_and_answers_in_float32():
    model = tiny_model()
    policy = keras.config.dtype_policy().name
    twin = lowered_model(model, FORMS["unrolled"], precision="float16")
    assert keras.config.dtype_policy().name == policy
    assert {str(weight.dtype) for weight in twin.weights} == {"float32"}
    assert twin.get_layer("backbone").compute_dtype == "float16"
    found, wanted = detect(twin), detect(model)
    assert found["boxes"].dtype == found["scores"].dtype == np.float32
    top = wanted["scores"][:, 0]
    assert 0 < np.abs(found["scores"][:, 0] - top).max() < 0.02


def test_policy_is_restored_after_a_failure(monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("no model")

    monkeypatch.setattr("kmrcnn.export.lowered_model.build_model", fail)
    policy = keras.config.dtype_policy().name
    with pytest.raises(RuntimeError, match="no model"):
        lowered_model(tiny_model(), NATIVE, precision="float16")
    assert keras.config.dtype_policy().name == policy


def test_changes_of_the_configuration():
    config = tiny_config()
    assert changed_config(config) == config
    changed = changed_config(
        config,
        score_threshold=0.0,
        nms_threshold=0.7,
        max_detections=3,
        sampling_ratio=1,
        pre_nms_top_n=60,
    )
    box = changed.box
    assert (box.score_threshold, box.nms_threshold, box.max_detections) == (0.0, 0.7, 3)
    assert (changed.pooler.sampling_ratio, changed.rpn.pre_nms_top_n) == (1, 60)
    assert changed.box.fc_channels == config.box.fc_channels
    with pytest.raises(ValueError, match="nms_threshold"):
        changed_config(config, nms_threshold=1.5)


def test_changes_reach_the_detections():
    twin = lowered_model(tiny_model(), NATIVE, score_threshold=0.2, max_detections=3)
    found = detect(twin)
    assert found["boxes"].shape == (2, 3, 4)
    assert (found["scores"][found["valid"]] > 0.2).all()
