"""Models with the parts that the paper's tables compare: saved, and lowered for exports."""

import dataclasses

import keras
import numpy as np
import pytest

from kmrcnn.models.build import build_model
from kmrcnn.structures.lowering import Lowering
from tests.tiny import spread_weights, tiny_config, tiny_inputs, tiny_targets


@pytest.fixture(scope="module")
def model():
    """Softmax over MLP masks, a non-local block."""
    config = tiny_config()
    mask = dataclasses.replace(config.mask, head="mlp", fc_channels=16, activation="softmax")
    backbone = dataclasses.replace(config.backbone, non_local_stage=4)
    model = build_model(dataclasses.replace(config, mask=mask, backbone=backbone), seed=0)
    return spread_weights(model)


def assert_equal(found, expected):
    assert np.asarray(expected["valid"]).any()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-3, err_msg=name)


def test_saved_model_finds_the_same(model, tmp_path):
    expected = model.predict_on_batch(tiny_inputs())
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.config == model.config
    assert_equal(again.predict_on_batch(tiny_inputs()), expected)


@pytest.mark.parametrize("block_cells", [None, 1000])
def test_lowered_model_finds_the_same(model, block_cells):
    lowering = Lowering(roi_align="reference", static=True, block_cells=block_cells)
    twin = build_model(model.config, lowering=lowering)
    twin.set_weights(model.get_weights())
    assert_equal(twin(tiny_inputs()), model(tiny_inputs()))


@pytest.mark.slow
def test_losses_are_finite_and_all_parts_learn(model):
    inputs = tiny_inputs()
    model.compile(keras.optimizers.SGD(0.001))
    before = {v.path: np.array(v) for v in model.trainable_variables}
    losses = model.train_on_batch({**inputs, "targets": tiny_targets(inputs)}, return_dict=True)
    assert np.isfinite(losses["loss_mask"]) and losses["loss_mask"] > 0
    changed = [v.path for v in model.trainable_variables if (before[v.path] != v.numpy()).any()]
    assert any("mask/head/fc1" in path for path in changed)
    assert any("non_local4/theta" in path for path in changed)
